"""What the rules look at: one batch of traces, its tool calls, and what its payloads say, each worked out once."""

from __future__ import annotations

from functools import cached_property
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from detectors.traces.batch import NONE, Mask, Rows, TraceBatch
from detectors.traces.calls import Calls, calls_of
from detectors.traces.dependencies import Failures, failed_dependencies
from detectors.traces.documents import Documents
from detectors.traces.results import ResultVerdicts, judge

_SHORT: Final = 40
"""Bytes up to which every answer document is read; a longer one only if it shows a sign of being empty."""
_EMPTY_SIGN: Final = (
    r"(?i)(content|text|parts|output|message|value|generations|choices|replies)[\\\"']*\s*:\s*"
    r"([\\]*\"[\\]*\"|''|\[\s*\]|null|None)|refus"
)


class Context:
    """Shared, lazily computed views of one batch."""

    def __init__(self, batch: TraceBatch) -> None:
        self.batch = batch
        self.documents = Documents(batch)

    @cached_property
    def turn_calls(self) -> Calls:
        """Every tool call of the batch, with those of earlier traces of the same turn that histories tell of."""
        return calls_of(self.batch, self.documents)

    @cached_property
    def calls(self) -> Calls:
        """Every tool call of the batch."""
        every = self.turn_calls
        return every if every.fresh.all() else every.take(np.flatnonzero(every.fresh))

    @cached_property
    def verdicts(self) -> ResultVerdicts:
        """What each call's result says, by call."""
        return judge(self.calls.result)

    @cached_property
    def call_failed(self) -> Mask:
        """Calls whose tool span reports an error."""
        rows = self.calls.tool_row
        failed: Mask = (rows != NONE) & self.batch.failed[np.maximum(rows, 0)] if len(self.batch) else rows != NONE
        return failed

    def call_errors(self, calls: Rows) -> pa.Array:
        """What the tool spans of some calls say about their failure: type and message."""
        rows = self.calls.tool_row[calls]
        pick = pa.array(rows, mask=rows == NONE)
        kind, message = (
            self.batch.take("error_type", pick),
            self.batch.take("status_message", pick),
        )
        return pc.binary_join_element_wise(pc.fill_null(kind, ""), pc.fill_null(message, ""), ": ")

    @cached_property
    def maybe_empty(self) -> Mask:
        """Model calls that did not fail and whose answer is captured and may say nothing."""
        batch = self.batch
        captured = batch.present("output_messages") | batch.mask("output_messages", "")
        rows = np.flatnonzero(batch.model_calls & ~batch.failed & captured)
        texts = batch.take("output_messages", rows)
        maybe = pc.or_(pc.less(pc.binary_length(texts), _SHORT), pc.match_substring_regex(texts, _EMPTY_SIGN))
        result = np.zeros(len(batch), dtype=np.bool_)
        result[rows] = maybe.to_numpy(zero_copy_only=False)
        return result

    @cached_property
    def failures(self) -> Failures:
        """Failed dependencies, by the tool that swallowed them."""
        tools = np.zeros(len(self.batch), dtype=np.bool_)
        rows = self.turn_calls.tool_row
        tools[rows[rows != NONE]] = True
        return failed_dependencies(self.batch, tools)

    @cached_property
    def final_model_call(self) -> Rows:
        """By trace: its last model call, NONE if it has none."""
        rows = np.flatnonzero(self.batch.model_calls)
        result = np.full(self.batch.traces, NONE, dtype=np.int64)
        result[self.batch.trace[rows]] = rows
        return result
