"""A tool call that is green and yet failed: the error is in its result, or below it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import numpy as np
import pyarrow as pa

from detectors.traces.batch import NONE
from detectors.traces.context import Context
from detectors.traces.dependencies import is_refusal
from detectors.traces.prose import text_suggests_failure
from detectors.traces.results import State
from detectors.traces.rules.base import Finding, Rule, Severity

_FLAGGED: Final = 0.97
_SWALLOWED: Final = 0.8
_STRAY: Final = 0.65
_REFUSED: Final = 0.4
"""A dependency said no (not found, conflict): tools often ask just that."""
_SURE: Final = 0.5
"""Below this a result is suspicious, not failed: said as information."""


def find(context: Context) -> Iterator[Finding]:
    """Errors in results (structure, text, flags, HTML, stack traces) and failing children that nobody reported."""
    calls, verdicts = context.calls, context.verdicts
    flagged = calls.is_error.fill_null(False).to_numpy(zero_copy_only=False)
    wrong = (verdicts.state == State.ERROR) | flagged
    child = np.where(calls.tool_row != NONE, context.failures.by_tool[np.maximum(calls.tool_row, 0)], NONE)
    candidates = np.flatnonzero((wrong | (child != NONE)) & ~context.call_failed)
    for call, noticed in zip(candidates.tolist(), _noticed(context, candidates), strict=True):
        tool = calls.name[call].as_py() or "tool"
        evidence: dict[str, object] = {"arguments": calls.arguments[call].as_py(), "agent_noticed": noticed}
        if wrong[call]:
            confidence = max(float(verdicts.confidence[call]), _FLAGGED if flagged[call] else 0.0)
            kind, snippet = verdicts.kind(call) or "is_error_flag", verdicts.snippet(call)
            evidence |= {"kind": kind, "result": snippet}
            summary = f"{tool} returned an error in a successful span ({kind}): {snippet[:120]}"
        else:
            row = int(child[call])
            name, status = (
                context.batch.texts("name", [row])[0],
                context.batch.take("http_status", [row])[0].as_py(),
            )
            confidence = _REFUSED if is_refusal(status) else _SWALLOWED
            evidence |= {"kind": "swallowed_child", "child": name, "http_status": status}
            summary = f"{tool} reports success, but {name} below it failed" + (f" with {status}" if status else "")
        severity = Severity.INFO if confidence < _SURE else None
        if noticed is False and severity is None:
            summary += "; the agent went on as if nothing had happened"
        yield Finding(int(calls.row[call]), confidence, summary, evidence, severity, tool=tool)
    yield from _strays(context)


def _strays(context: Context) -> Iterator[Finding]:
    """Failed requests below an agent whose tools have no spans: those of the tool that was asked for last."""
    batch, calls, failures = context.batch, context.calls, context.failures
    told = batch.any_by_trace(batch.kind("llm"))
    for row, above in zip(failures.stray.tolist(), failures.above.tolist(), strict=True):
        asked = (calls.trace == batch.trace[row]) & (calls.tool_row == NONE)
        # Calls that only an agent's output tells of have the time at which the agent ended.
        asked &= (calls.time <= batch.start[row]) | ~batch.kind("llm")[np.maximum(calls.asked_row, 0)]
        status, name = batch.take("http_status", [row])[0].as_py(), batch.texts("name", [row])[0]
        reason = f"{name} below it failed" + (f" with {status}" if status else "")
        evidence = {"kind": "swallowed_child", "child": name, "http_status": status}
        confidence = _REFUSED if is_refusal(status) else _STRAY
        if asked.any():
            call = int(np.flatnonzero(asked)[-1])
            tool = calls.name[call].as_py() or "tool"
            severity = Severity.INFO if confidence < _SURE else None
            yield Finding(above, confidence, f"{tool} reports success, but {reason}", evidence, severity, tool=tool)
        elif not told[batch.trace[row]] and not batch.failed[above]:
            yield Finding(
                above, min(confidence, 0.5), f"The agent reports success, but {reason}", evidence, Severity.INFO
            )


def _noticed(context: Context, candidates: np.ndarray[tuple[int], np.dtype[np.int64]]) -> list[bool | None]:
    """Did the agent's last answer admit a failure? None where the answer was not captured."""
    final = context.final_model_call[context.calls.trace[candidates]]
    known = final != NONE
    facts = iter(context.documents.read("output_messages", final[known]))
    texts = [next(facts).text if is_known else None for is_known in known.tolist()]
    admits = text_suggests_failure(pa.array(texts, pa.string())).to_pylist()
    return [None if not text else bool(admitted) for text, admitted in zip(texts, admits, strict=True)]


RULE = Rule(
    name="silent_tool_failure",
    severity=Severity.WARNING,
    find=find,
    detects="A tool call that is reported as a success and yet failed: an error in the result (flag, error object, "
    "text, HTML page, stack trace), or a failing dependency below it that the tool swallowed.",
    needs=("tool_result",),
    fails=True,
    kinds=("tool",),
    blind_spots="Results that are not captured; errors that read like data.",
)
