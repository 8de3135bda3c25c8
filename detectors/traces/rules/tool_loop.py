"""An agent that calls the same tools with the same arguments again and again."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from detectors.traces.batch import Rows
from detectors.traces.calls import Calls
from detectors.traces.context import Context
from detectors.traces.failed_steps import steps_that_say
from detectors.traces.lookup import groups_of, members
from detectors.traces.rules.base import Finding, Rule, Severity
from detectors.traces.span_arguments import as_written

_REPEATS: Final = 3
"""Equal calls with equal results from which on a trace is looked at."""
_CERTAIN: Final = 5
_IDS: Final = (
    r"\b(call|toolu|run|msg|tool)[_-]{1,2}[\w-]{4,}|\b[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f-]{22}\b|\b[0-9a-f]{24,}\b"
)
"""Ids that wrappers put around a result, new for every call."""
_MASKED_REPEATS: Final = 4
_MASK: Final = "***"
"""In arguments it covers what may differ, as addresses of the same length: once more is asked for then."""
_WRAPPER: Final = r"^\s*\{\s*\"(input_str|args|kwargs|inputs?|name|arguments|type|id|tool_call)\""
_GAVE_UP: Final = (
    r"(?i)same (arguments?|input|parameters).{0,60}times|loop detect|(stuck|caught) in a loop|infinite loop"
    r"|(max(imum)?|too many|exceeded).{0,24}(iterations?|turns|steps|rounds|recursions?|tool calls)\b"
    r"|(iterations?|recursion|turns?|steps?) limit|MaxTurnsExceeded|GraphRecursionError|MaxIterations|StepLimit"
)
"""How frameworks say that they stopped a run that did not come to an end."""
_BLIND_REPEATS: Final = 5
"""The same where arguments are not captured: only the tool's name repeats."""


def find(context: Context) -> Iterator[Finding]:
    """Calls that repeat with the same arguments and bring nothing new: identical, alternating or in longer cycles."""
    looping = set()
    for finding in _repeated(context):
        looping.add(int(context.batch.trace[finding.row]))
        yield finding
    for row, text in steps_that_say(context, _GAVE_UP, "agent", "workflow", "chain", "other"):
        if int(context.batch.trace[row]) not in looping:
            sure = "same" in text.lower() or "loop" in text.lower()
            yield Finding(
                row, 0.85 if sure else 0.6, f"The run was stopped for going round: {text[:160]}", {"error": text}
            )


def _repeated(context: Context) -> Iterator[Finding]:
    calls = context.turn_calls
    named, of_name = np.unique(groups_of(calls.trace, calls.name), return_inverse=True)
    often = np.bincount(of_name, minlength=len(named)) >= _REPEATS
    looked_at = np.isin(calls.trace, calls.trace[often[of_name]])
    if not looked_at.any():
        return
    # Whatever else was called is new each time.
    codes = -1 - np.arange(len(calls))
    codes[looked_at] = _codes(calls.take(np.flatnonzero(looked_at)))
    blind = (~calls.arguments.is_valid().to_numpy(zero_copy_only=False)) & (
        ~calls.result.is_valid().to_numpy(zero_copy_only=False)
    )
    names = calls.name.to_pylist()
    first = np.zeros(len(codes), dtype=np.int64)
    first[np.unique(codes, return_index=True)[1]] = 1
    new_until = np.cumsum(first)
    for _, occurrences in members(codes, least=_REPEATS):
        positions = _without_progress(occurrences, new_until)
        if len(positions) < _REPEATS:
            continue
        yield from _loop(context, positions, names, bool(blind[positions[0]]))


def _codes(calls: Calls) -> Rows:
    """By call: a number that it shares with the calls of its trace that are equal in name, arguments and result, in
    the order in which they were made first."""
    arguments = _bare(pc.fill_null(calls.arguments, "\x00"))
    results = pc.replace_substring_regex(pc.fill_null(calls.result, "\x00"), _IDS, "")
    named = groups_of(groups_of(calls.trace, calls.name), arguments)
    equal = groups_of(np.unique(named, return_inverse=True)[1], results)
    _, first, number = np.unique(equal, return_index=True, return_inverse=True)
    rank: Rows = np.argsort(np.argsort(first))[number]
    return rank


def _without_progress(occurrences: Rows, new_until: Rows) -> Rows:
    """The longest run of equal calls between which nothing new was called: tests that are run again after every edit
    are work, not a loop. What lies between the first two may be new, it may be the rest of the cycle."""
    longest = run = [int(occurrences[0])]
    for position in occurrences[1:].tolist():
        progress = new_until[position - 1] > new_until[run[-1]]
        run = [run[-1], position] if progress else [*run, position]
        longest = max(longest, run, key=len)
    return np.array(longest, dtype=np.int64)


def _bare(arguments: pa.Array) -> pa.Array:
    """Arguments without wrappers: these hold ids and step numbers, new for every call."""
    wrapped = pc.match_substring_regex(arguments, _WRAPPER)
    if not pc.any(wrapped).as_py():
        return arguments
    bare = [as_written(text, None) or text for text in arguments.filter(wrapped).to_pylist()]
    return pc.replace_with_mask(arguments, wrapped, pa.array(bare, pa.string()))


def _loop(
    context: Context,
    positions: np.ndarray[tuple[int], np.dtype[np.int64]],
    names: Sequence[str],
    blind: bool,
) -> Iterator[Finding]:
    calls = context.turn_calls
    repeats = len(positions)
    if not calls.fresh[positions[-1]]:
        return  # said of the trace in which it was called last
    if blind and (repeats < _BLIND_REPEATS or not _in_turn(context, positions)):
        return
    name = calls.name[int(positions[0])].as_py() or "a tool"
    last = int(positions[-1])
    arguments = calls.arguments[last].as_py()
    if repeats < _MASKED_REPEATS and _MASK in (arguments or ""):
        return
    shape, members = _shape(names, positions)
    if shape == "cycle" and members[0] != name:
        return  # said once, at the first tool of the cycle
    confidence = min(0.95, 0.6 + 0.1 * (repeats - _REPEATS)) if not blind else 0.5
    severity = Severity.INFO if repeats < _REPEATS + 1 or blind else None
    if repeats >= _CERTAIN and not blind:
        confidence = max(confidence, 0.9)
    yield Finding(
        row=int(calls.row[last]),
        confidence=confidence,
        summary=f"{' ⇄ '.join(members)} called {repeats} times with the same arguments and the same result",
        evidence={
            "shape": shape,
            "repeats": repeats,
            "arguments": arguments,
            "arguments_captured": not blind,
        },
        severity=severity,
        tool=name,
    )


def _shape(
    names: Sequence[str],
    positions: np.ndarray[tuple[int], np.dtype[np.int64]],
) -> tuple[str, list[str]]:
    steps = np.diff(positions)
    period = int(np.median(steps))
    if period == 1:
        return "identical", [names[int(positions[0])]]
    first = int(positions[0])
    cycle = [names[index] for index in range(first, min(first + period, len(names)))]
    return ("alternating" if period == 2 else "cycle"), cycle


def _in_turn(context: Context, positions: np.ndarray[tuple[int], np.dtype[np.int64]]) -> bool:
    """Did each call begin after the one before was over? Calls in parallel are a fan-out, not a loop."""
    batch, rows = context.batch, context.turn_calls.row[positions]
    return bool((batch.start[rows[1:]] >= batch.end[rows[:-1]]).all())


RULE = Rule(
    name="tool_loop",
    severity=Severity.WARNING,
    find=find,
    detects="The same tool called with the same arguments and the same result several times in one run: at once, "
    "alternating with another, or in longer cycles; and a run that its framework stopped for going round.",
    needs=("tool_arguments",),
    kinds=("tool",),
    blind_spots="Loops whose arguments change a little each time; without captured arguments only long runs of one "
    "tool are seen, as information.",
)
