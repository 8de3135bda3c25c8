"""Fills canonical columns from attributes that no convention names, where their names say what they hold."""

from __future__ import annotations

from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ingest.fields import FieldReader, Mask, Numbers, first_of, holds, json_strings, only, sources
from ingest.guess import NUMBERS, PAYLOADS, guesses
from ingest.kinds import KIND_CODE, Codes
from ingest.otlp.attributes import Indices

_TOOLS: Final = tuple(KIND_CODE[kind] for kind in ("tool", "retriever", "reranker", "memory"))
_MODELS: Final = tuple(KIND_CODE[kind] for kind in ("llm", "embedding"))
_SPEAKERS: Final = (*_MODELS, *(KIND_CODE[kind] for kind in ("agent", "workflow", "chain", "guardrail")))
_ANYWHERE: Final = ("conversation_id", "user_id", "workflow")
_OF_SPEAKERS: Final = ("agent", "tool_definitions")
_OF_MODELS: Final = ("request_model", "response_model", "response_id", "provider", "finish_reason")
_NO_ERROR: Final = pa.array(["", "false", "none", "null", "0", "[]", "{}", "no", "no error", "n/a", "ok"])


class Fallback:
    """Guesses for one batch of spans."""

    def __init__(self, reader: FieldReader, count: int) -> None:
        known = sources()
        self._reader = reader
        self._count = count
        keys = (key for key in reader.names() if not key.startswith(known.prefixes))
        self.names = guesses(keys, known.claimed)
        on_events = guesses(reader.names_of_fallback(), known.claimed)
        for column in PAYLOADS.intersection(on_events):
            own = self.names.get(column, ())
            self.names[column] = (*own, *(name for name in on_events[column] if name not in own))

    def fill(self, found: dict[str, pa.Array | None], kinds: Codes) -> None:
        """Add to columns of text what conventions left empty, on spans of the kinds that it can belong to."""
        if not self.names:
            return
        tools, models, speakers = np.isin(kinds, _TOOLS), np.isin(kinds, _MODELS), np.isin(kinds, _SPEAKERS)
        agentic = tools | speakers
        for columns, rows in (
            (_ANYWHERE, agentic), (_OF_SPEAKERS, speakers), (_OF_MODELS, models),
            (("tool", "tool_call_id", "tool_schema"), tools), (("status_message",), agentic),
        ):  # fmt: skip
            for column in columns:
                self._add(found, column, self._text(column), rows)
        for side, of_tool, of_model in (
            ("input", "tool_arguments", "input_messages"),
            ("output", "tool_result", "output_messages"),
        ):
            self._add(found, side, self._text(of_tool), tools)
            self._add(found, side, self._text(of_model), speakers)
            if side == "output":
                self._add(found, side, self._answer(), models)
            self._add(found, side, self._text(side), agentic)

    def number(self, column: str, own: Numbers, kinds: Codes) -> Numbers:
        """`own`, and on model calls a guess where it says nothing."""
        names = self.names.get(column) if column in NUMBERS else None
        if not names:
            return own
        return np.where(np.isin(kinds, _MODELS) & np.isnan(own), self._reader.number(names), own)

    def failed(self, kinds: Codes) -> Indices:
        """Tool and model spans that say that they failed, whatever their status."""
        rows: list[Indices] = []
        for column, bad in (("failed_if_true", "true"), ("failed_if_false", "false")):
            for key in self.names.get(column, ()):
                owners, values = self._reader.values(key)
                rows.append(owners[holds(pc.equal(pc.utf8_lower(values), bad))])
        for key in self.names.get("failed_if_said", ()):
            owners, values = self._reader.values(key)
            said = pc.is_in(pc.utf8_lower(pc.utf8_trim_whitespace(values)), value_set=_NO_ERROR)
            rows.append(owners[holds(pc.and_(pc.invert(said), pc.is_valid(values)))])
        found = np.concatenate(rows) if rows else np.empty(0, dtype=np.int64)
        return found[np.isin(kinds[found], (*_TOOLS, *_MODELS))]

    def _answer(self) -> pa.Array | None:
        """A model's text and its tool calls, where they are two attributes."""
        calls, text = self._text("output_calls"), self._text("output")
        if calls is None:
            return None
        if text is None:
            text = pa.nulls(self._count, pa.string())
        listed = pc.starts_with(pc.utf8_ltrim_whitespace(pc.fill_null(calls, "")), "[")
        content = pc.fill_null(json_strings(text), "null")
        document = pc.binary_join_element_wise(
            '[{"role":"assistant","content":', content, ',"tool_calls":', pc.fill_null(calls, "null"), "}]", ""
        )
        return pc.if_else(listed, document, None)

    def _text(self, column: str) -> pa.Array | None:
        names = self.names.get(column)
        return self._reader.find(names) if names else None

    @staticmethod
    def _add(found: dict[str, pa.Array | None], column: str, guess: pa.Array | None, rows: Mask) -> None:
        found[column] = first_of(found.get(column), only(guess, rows))
