"""Judges tool results by the column: a screen over all of them in native code, then the suspicious few one by one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from detectors.traces.failure_text import SCREEN
from detectors.traces.verdicts import OK, State, Verdict, judge_one

__all__ = ("ResultVerdicts", "State", "Verdict", "judge", "judge_one")

_MAYBE_EMPTY: Final = (
    r"(?i:^[\s\"'\[\](){}<]*(?:null|none|nil|undefined|nan|empty|no output|set|dict|list)?[\s\"'\[\](){}>]*$"
    r"|^\W*(?:sorry|there |no |zero|0 |nothing|none|the |your |keine|aucun|sin |没有|未|could ?n|did ?n"
    r"|empty data)"
    r"|redact|\*\*\*|masked|hidden|elided|filtered|omitted|removed|scrubbed|not (?:specified|captured|recorded)"
    r"|見つかりません)"
)
_EMPTY: Final = r"(?:[nN]ull|None|'null'|'None'|\"\"|''|\"null\"|\"None\"|\"\[\]\"|\"\{\}\"|\[\s*\]|\{\s*\})"
_EMPTY_WRAPPER: Final = (
    r"(?:results?|outputs?|content|response|text|message|value|body|observation|answer|payload|data|items|records|rows"
    r"|documents|matches|hits|entries|list|values|files|events|objects|messages|parts|blocks|json|resources|nodes"
    rf"|edges|structured_?[cC]ontent)[\"']?\s*[:=]\s*{_EMPTY}|^\s*[\[{{][^:]*:\s*{_EMPTY}|^\s*\[+\s*{_EMPTY}"
)
_SAID_BELOW: Final = (
    r"Traceback \(most|[\"'](?:error|err|errors|Error|Err|fault|tool_error|exception|traceback|stack_?[tT]race"
    r"|error_?[mM]essage|error_?[mM]sg|error_description)[\"']\s*:\s*(?:[\"'][^\"']|[\[{]\s*[^\]}\s]|[tT]rue)"
    r"|[\"'](?:is_?[eE]rror|tool_call_error)[\"']\s*:\s*[\"']?[tT]rue|[\"']type[\"']\s*:\s*[\"'](?:tool[-_])?error"
    r"|[\"'](?:success|ok|succeeded|successful|is_?[sS]uccess)[\"']\s*:\s*[\"']?[fF]alse"
    r"|[\"']status[\"']\s*:\s*[\"'](?i:error|fail|exception|timeout|timed)"
    r"|[\"'](?:status|status_?[cC]ode|http_?[sS]tatus|httpCode|code)[\"']\s*:\s*[\"']?[45]\d\d\b"
    r"|[\"'](?:type|loc|msg)[\"']\s*:\s*\[?[\"'](?:missing|extra_forbidden)"
)
_SCREEN_SHORT: Final = rf"{SCREEN}|{_MAYBE_EMPTY}|{_EMPTY_WRAPPER}"
_HEAD: Final = 400
"""Characters; longer than an empty result in most wrappers, and than what a failure says before it says so."""
_WRAPPED: Final = 4000
"""Bytes; longer than an empty result in what frameworks serialise around it."""


class ResultVerdicts:
    """The verdicts on a column of results, by position."""

    def __init__(
        self, state: npt.NDArray[np.uint8], confidence: npt.NDArray[np.float32], said: dict[int, Verdict]
    ) -> None:
        self.state = state
        """`State` codes."""
        self.confidence = confidence
        """How sure the state is, 0..1."""
        self._said = said

    def __len__(self) -> int:
        return len(self.state)

    @property
    def is_error(self) -> npt.NDArray[np.bool_]:
        """Results that say that the tool failed, more likely than not."""
        errors: npt.NDArray[np.bool_] = (self.state == State.ERROR) & (self.confidence >= 0.5)
        return errors

    def kind(self, position: int) -> str:
        """The kind of evidence: error_text, error_object, is_error_flag, http_error, …; "" for none."""
        return self._said.get(position, OK).kind

    def snippet(self, position: int) -> str:
        """At most 200 characters of the evidence, "" for none."""
        return self._said.get(position, OK).snippet

    def table(self) -> pa.Table:
        """The verdicts as columns: state, error_kind, confidence, snippet."""
        positions = range(len(self))
        return pa.table(
            {
                "state": pa.array(self.state),
                "error_kind": pa.array([self.kind(p) for p in positions], pa.string()).dictionary_encode(),
                "confidence": pa.array(self.confidence),
                "snippet": pa.array([self.snippet(p) for p in positions], pa.string()),
            }
        )


def judge(results: pa.Array | pa.ChunkedArray | Sequence[str | None]) -> ResultVerdicts:
    """Judge results as captured; null is a missing result."""
    column = _one_array(results)
    missing = column.is_null().to_numpy(zero_copy_only=False)
    state = np.where(missing, np.uint8(State.MISSING), np.uint8(State.OK)).astype(np.uint8)
    confidence = np.ones(len(column), dtype=np.float32)
    said: dict[int, Verdict] = {}
    suspicious = np.flatnonzero(_screen(column) & ~missing)
    for position, text in zip(suspicious.tolist(), column.take(pa.array(suspicious)).to_pylist(), strict=True):
        verdict = judge_one(text)
        if verdict is not OK:
            state[position], confidence[position] = verdict.state, verdict.confidence
            said[position] = verdict
    return ResultVerdicts(state, confidence, said)


def _one_array(results: pa.Array | pa.ChunkedArray | Sequence[str | None]) -> pa.Array:
    if isinstance(results, pa.ChunkedArray):
        results = results.combine_chunks()
    if not isinstance(results, pa.Array):
        results = pa.array(results, pa.string())
    if pa.types.is_dictionary(results.type):
        results = results.dictionary_decode()
    return results


def _screen(column: pa.Array) -> npt.NDArray[np.bool_]:
    """Results that may be anything but fine.

    A text says at its beginning that it is a failure; an object may say so anywhere.
    """
    long = _mask(pc.greater(pc.binary_length(column), _HEAD))
    if not long.any():
        return _matches(column, _SCREEN_SHORT)
    suspicious = np.zeros(len(column), dtype=np.bool_)
    positions = np.flatnonzero(~long)
    suspicious[positions] = _matches(column.take(pa.array(positions)), _SCREEN_SHORT)
    positions = np.flatnonzero(long)
    texts = column.take(pa.array(positions))
    suspicious[positions] = _matches(pc.utf8_slice_codeunits(texts, 0, _HEAD), SCREEN) | _matches(texts, _SAID_BELOW)
    positions = positions[_mask(pc.less(pc.binary_length(texts), _WRAPPED)) & ~suspicious[positions]]
    suspicious[positions] = _matches(column.take(pa.array(positions)), _EMPTY_WRAPPER)
    return suspicious


def _matches(column: pa.Array, pattern: str) -> npt.NDArray[np.bool_]:
    return _mask(pc.match_substring_regex(column, pattern))


def _mask(column: Any) -> npt.NDArray[np.bool_]:
    mask: npt.NDArray[np.bool_] = pc.fill_null(column, False).to_numpy(zero_copy_only=False).copy()
    return mask
