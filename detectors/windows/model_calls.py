"""The model calls of a batch as facts: each call once, whatever number of nested spans told of it."""

from __future__ import annotations

from functools import cached_property
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from detectors.traces.batch import NONE, Mask, Rows, TraceBatch
from detectors.windows.keys import Column, either
from detectors.windows.points import Floats
from detectors.windows.where import Where

_DATE: Final = r"[-@]20\d{2}-?[01]\d-?[0-3]\d$"
"""At the end of a model's name, as claude-sonnet-4-5-20250929 or gpt-4.1-2025-04-14."""


class ModelCalls:
    """Calls by number. A call's row is the span that tells most of its tokens; what that span does not say is taken
    from the others of its nest."""

    def __init__(self, batch: TraceBatch, where: Where) -> None:
        self._batch = batch
        self._where = where
        self.row: Rows = np.flatnonzero(batch.counted)
        """By call: its span row."""
        self.is_answer: Mask = batch.kind("llm")[self.row]
        """By call: not an embedding."""
        rows, top, _ = batch.nests
        number = np.full(len(batch), NONE, dtype=np.int64)
        number[self.row] = np.arange(len(self.row))
        call_of_top = np.full(len(batch), NONE, dtype=np.int64)
        outermost = np.full(len(batch), NONE, dtype=np.int64)
        outermost[rows] = top
        answers = self.row[self.is_answer]
        call_of_top[outermost[answers]] = number[answers]
        number[rows] = call_of_top[top]
        self.number: Rows = number
        """By span row: its call, NONE if it belongs to none."""
        member = rows[(number[rows] != NONE) & (self.row[np.maximum(number[rows], 0)] != rows)]
        self._members = member
        """Other spans of calls, in order."""

    def __len__(self) -> int:
        return len(self.row)

    def marked(self, rows: Mask) -> Mask:
        """By call: does any of its spans hold?"""
        numbers = self.number[np.flatnonzero(rows)]
        held: Mask = np.bincount(numbers[numbers != NONE], minlength=len(self)) > 0
        return held

    def said(self, name: str) -> pa.Array:
        """A column by call: of the call's own span, or else of the first other one that says it."""
        return self._batch.take(name, self._speaker(name))

    def column(self, name: str) -> Column:
        """A string column by call, "" where nothing is said."""
        return self._where.column(name).at(self._speaker(name))

    def numbers(self, name: str) -> Floats:
        """A column of numbers by call, NaN where nothing is said."""
        values: Floats = self.said(name).cast(pa.float64()).to_numpy(zero_copy_only=False)
        return values

    def present(self, name: str) -> Mask:
        """By call: does any of its spans say it?"""
        return self.marked(self._batch.present(name))

    @cached_property
    def model(self) -> Column:
        """The model that was asked for, or where that is not said the one that answered, without its date:
        a call that failed names what it asked for, and belongs to the same series."""
        return either(self.column("request_model"), _undated(self.column("response_model")))

    @cached_property
    def failed(self) -> Mask:
        """Calls that failed, made good later or not: by their own word, or because they ended with an error."""
        batch = self._batch
        return self.marked(batch.failed & batch.kind("llm", "embedding") | batch.mask("finish_reason", "error"))

    @cached_property
    def duration_ns(self) -> Floats:
        """How long each call took."""
        return (self._batch.end - self._batch.start)[self.row].astype(np.float64)

    def _speaker(self, name: str) -> Rows:
        if not len(self._members):
            return self.row
        present = self._batch.present(name)
        rows = self.row.copy()
        others = self._members[present[self._members]][::-1]
        others = others[~present[self.row[self.number[others]]]]
        rows[self.number[others]] = others
        return rows


def _undated(models: Column) -> Column:
    return models.renamed(pc.replace_substring_regex(models.values, pattern=_DATE, replacement=""))
