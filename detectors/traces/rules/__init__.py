"""Every rule, in the order in which people read them."""

from __future__ import annotations

from typing import Final

from detectors.traces.rules import (
    empty_output,
    empty_tool_result,
    filtered_output,
    incomplete_trace,
    interrupted_stream,
    invalid_tool_call,
    llm_error,
    model_mismatch,
    rescued_failure,
    silent_tool_failure,
    stalled_trace,
    tool_error,
    tool_loop,
    truncated_output,
)
from detectors.traces.rules.base import Rule

RULES: Final[tuple[Rule, ...]] = (
    tool_error.RULE,
    silent_tool_failure.RULE,
    empty_tool_result.RULE,
    invalid_tool_call.RULE,
    tool_loop.RULE,
    llm_error.RULE,
    rescued_failure.RULE,
    truncated_output.RULE,
    filtered_output.RULE,
    empty_output.RULE,
    interrupted_stream.RULE,
    model_mismatch.RULE,
    stalled_trace.RULE,
    incomplete_trace.RULE,
)
