"""What kind of span is it? The conventions' kind attributes first, then what it carries, then its name."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from dimwatch.records import SPAN_KINDS
from ingest.conventions import KIND_ORDER
from ingest.conventions.base import Convention
from ingest.fields import FieldReader, Mask
from ingest.guess import KINDS, MODEL_NAMES, SPAN_NAMES

Codes = npt.NDArray[np.int16]

KIND_CODE: Final = {kind: code for code, kind in enumerate(SPAN_KINDS)}
_OTHER: Final = KIND_CODE["other"]
_KINDS: Final = pa.array(SPAN_KINDS, pa.string())
_CONVENTIONS: Final = pa.array([convention.name for convention in KIND_ORDER] + [""], pa.string())
_NO_CONVENTION: Final = len(KIND_ORDER)
_TOOL: Final = KIND_CODE["tool"]
_STEPS: Final = (KIND_CODE["chain"], _OTHER)
_NAMES_A_TOOL: Final = ("tool.name", "gen_ai.tool.name", "tool_name")
_WORDS_OF_MODELS: Final = (
    "input_tokens",
    "output_tokens",
    "input_messages",
    "output_messages",
    "finish_reason",
    "output",
)


@cache
def _kind_of(convention: Convention, value: str) -> int | None:
    """The code that `value` of the convention's kind attribute means, None if it says nothing."""
    word = value.strip(' "').lower()
    kind = convention.kinds.get(word)
    if kind is None:
        matches = [
            (len(pattern), mapped)
            for pattern, mapped in convention.kinds.items()
            if (pattern.endswith("*") and word.startswith(pattern[:-1]))
            or (pattern.startswith("*") and len(pattern) > 1 and word.endswith(pattern[1:]))
        ]
        kind = max(matches)[1] if matches else None
    return None if kind is None or kind == "other" else KIND_CODE[kind]


class Names:
    """The names of a batch of spans, each distinct one looked at once: there are few."""

    def __init__(self, names: pa.Array) -> None:
        encoded = names.dictionary_encode()
        self.distinct = encoded.dictionary
        self._codes = encoded.indices

    def __len__(self) -> int:
        return len(self._codes)

    def matching(self, pattern: str) -> Mask:
        """Spans whose name matches a regular expression (RE2)."""
        distinct = pc.match_substring_regex(self.distinct, pattern).to_numpy(zero_copy_only=False)
        matched: Mask = distinct[self._codes.to_numpy()]
        return matched

    def replaced(self, distinct: pa.Array) -> pa.Array:
        """By span, what `distinct` has in the place of its name."""
        return distinct.take(self._codes)


def kinds_of(
    reader: FieldReader, names: Names, guesses: Mapping[str, tuple[str, ...]]
) -> tuple[Codes, pa.Array, pa.Array]:
    """Kind codes, kinds and deciding conventions of the spans called `names`; `guesses` for what no convention
    decides."""
    count = len(names)
    codes = np.full(count, _OTHER, dtype=np.int16)
    by = np.full(count, _NO_CONVENTION, dtype=np.int16)
    for number, convention in reversed(list(enumerate(KIND_ORDER))):
        for pattern, kind in reversed(list(convention.span_names.items())):
            matched = names.matching(pattern)
            codes[matched], by[matched] = KIND_CODE[kind], number
        for attribute, kind in reversed(list(convention.kind_if_present.items())):
            owners, _ = reader.rows_with(attribute)
            codes[owners], by[owners] = KIND_CODE[kind], number
    _guess(reader, names, guesses, codes, by)
    for number, convention in reversed(list(enumerate(KIND_ORDER))):
        owners, values = reader.values(convention.kind_attribute)
        if not len(owners):
            continue
        encoded = values.fill_null("").dictionary_encode()
        meanings = [_kind_of(convention, value) for value in encoded.dictionary.to_pylist()]
        meant = np.array([-1 if meaning is None else meaning for meaning in meanings], dtype=np.int16)
        value_codes = meant[encoded.indices.to_numpy(zero_copy_only=False)]
        known = value_codes >= 0
        codes[owners[known]], by[owners[known]] = value_codes[known], number
    for attribute in _NAMES_A_TOOL:  # a step that names its tool is the tool's
        owners, _ = reader.rows_with(attribute)
        codes[owners[np.isin(codes[owners], _STEPS)]] = _TOOL
    # The Agent Development Kit wraps calls that run in parallel in a span that is called like a tool.
    codes[names.matching(r"\(merged")] = KIND_CODE["chain"]
    return codes, _KINDS.take(pa.array(codes)), _CONVENTIONS.take(pa.array(by))


def _guess(reader: FieldReader, names: Names, guesses: Mapping[str, tuple[str, ...]], codes: Codes, by: Codes) -> None:
    """Kinds of spans that no convention knows: from what they say their kind is, from what they carry, from their
    name."""
    unknown = codes == _OTHER
    if unknown.any():
        for pattern, kind in SPAN_NAMES:
            matched = unknown & names.matching(pattern)
            codes[matched], by[matched] = KIND_CODE[kind], _NO_CONVENTION
        words = _rows(reader, guesses, _WORDS_OF_MODELS, len(names))
        named = unknown & words & names.matching(MODEL_NAMES)
        talks = unknown & words & _rows(reader, guesses, ("request_model", "response_model"), len(names))
        codes[named | talks], by[named | talks] = KIND_CODE["llm"], _NO_CONVENTION
        payload = _rows(reader, guesses, ("tool_arguments", "tool_result"), len(names))
        called = unknown & payload & _rows(reader, guesses, ("tool",), len(names))
        codes[called], by[called] = _TOOL, _NO_CONVENTION
    for key in reversed(guesses.get("kind", ())):
        owners, values = reader.values(key)
        encoded = values.fill_null("").dictionary_encode()
        words_of = [KINDS.get(value.strip(' "').lower()) for value in encoded.dictionary.to_pylist()]
        meant = np.array([-1 if word is None else KIND_CODE[word] for word in words_of], dtype=np.int16)
        value_codes = meant[encoded.indices.to_numpy(zero_copy_only=False)]
        known = value_codes >= 0
        codes[owners[known]], by[owners[known]] = value_codes[known], _NO_CONVENTION


def _rows(
    reader: FieldReader, guesses: Mapping[str, tuple[str, ...]], columns: tuple[str, ...], count: int
) -> npt.NDArray[np.bool_]:
    """Rows that carry an attribute which may hold one of these columns."""
    rows = np.zeros(count, dtype=np.bool_)
    for column in columns:
        for key in guesses.get(column, ()):
            rows[reader.rows_with(key)[0]] = True
    return rows
