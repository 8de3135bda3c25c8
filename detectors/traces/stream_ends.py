"""Instrumentations that record why an answer ended, of streamed answers too.

Where one of these records no reason, there was none: the stream broke off. Of any other, that nothing is recorded says
little by itself.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

import numpy as np

from detectors.traces.batch import Mask, Rows, TraceBatch

_ANY: Final[tuple[int, ...]] = ()
SINCE: Final[Mapping[str, tuple[int, ...]]] = {
    "ai": _ANY,
    "com.anthropic.sdk.python": _ANY,
    "gcp.vertex.agent": (2,),
    "opentelemetry.instrumentation.genai.anthropic": _ANY,
    "opentelemetry.instrumentation.genai.langchain": _ANY,
    "opentelemetry.instrumentation.genai.openai": _ANY,
    # `llm.finish_reason` is of 2026: pull requests 3056 and 3002 of Arize-ai/openinference.
    "openinference.instrumentation.openai": (0, 1, 46),
    "@arizeai/openinference-instrumentation-openai": (4, 1),
    "openinference.instrumentation.langchain": (0, 1, 80),
    "opentelemetry.instrumentation.openai.v1": (0, 40),
    "opentelemetry.instrumentation.anthropic": (0, 62),
}
"""Scope name to the first version that is known to: read off recorded telemetry, where nothing else is said."""
LANGFUSE: Final = ("langfuse-sdk", "OpenAI-generation", (5,))
"""One scope for all that Langfuse traces; the spans of this name are those of its wrapper around OpenAI's client."""
_NUMBER: Final = re.compile(r"\d{1,9}")  # a version may be anything, of any length
_NUMBERS: Final = 3


def recorded(batch: TraceBatch, rows: Rows) -> Mask:
    """Which of `rows`, model calls, come from an instrumentation that records why every answer ended."""
    columns = [batch.texts(name, rows) for name in ("scope_name", "scope_version", "name")]
    return np.array(
        [_is_known(*(text or "" for text in texts)) for texts in zip(*columns, strict=True)], dtype=np.bool_
    )


def _is_known(scope: str, version: str, name: str) -> bool:
    wrapper, wraps, since = LANGFUSE
    first = since if (scope, name) == (wrapper, wraps) else SINCE.get(scope)
    return first is not None and tuple(map(int, _NUMBER.findall(version)[:_NUMBERS])) >= first
