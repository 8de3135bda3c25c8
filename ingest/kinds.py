"""What kind of span is it? The conventions' kind attributes first, then what it carries, then its name."""

from __future__ import annotations

from functools import cache
from typing import Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from dimwatch.records import SPAN_KINDS
from ingest.conventions import KIND_ORDER
from ingest.conventions.base import Convention
from ingest.fields import FieldReader

Codes = npt.NDArray[np.int16]

KIND_CODE: Final = {kind: code for code, kind in enumerate(SPAN_KINDS)}
_OTHER: Final = KIND_CODE["other"]
_KINDS: Final = pa.array(SPAN_KINDS, pa.string())
_CONVENTIONS: Final = pa.array([convention.name for convention in KIND_ORDER] + [""], pa.string())
_NO_CONVENTION: Final = len(KIND_ORDER)


@cache
def _kind_of(convention: Convention, value: str) -> int | None:
    """The code that `value` of the convention's kind attribute means, None if it says nothing."""
    word = value.strip().lower()
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


def kinds_of(reader: FieldReader, names: pa.Array) -> tuple[Codes, pa.Array, pa.Array]:
    """Kind codes, kinds and deciding conventions of the spans called `names`."""
    count = len(names)
    codes = np.full(count, _OTHER, dtype=np.int16)
    by = np.full(count, _NO_CONVENTION, dtype=np.int16)
    for number, convention in reversed(list(enumerate(KIND_ORDER))):
        for pattern, kind in reversed(list(convention.span_names.items())):
            matched = pc.match_substring_regex(names, pattern).to_numpy(zero_copy_only=False)
            codes[matched], by[matched] = KIND_CODE[kind], number
        for attribute, kind in reversed(list(convention.kind_if_present.items())):
            owners, _ = reader.rows_with(attribute)
            codes[owners], by[owners] = KIND_CODE[kind], number
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
    # The Agent Development Kit wraps calls that run in parallel in a span that is called like a tool.
    merged = pc.match_substring(names, "(merged").to_numpy(zero_copy_only=False)
    codes[merged] = KIND_CODE["chain"]
    return codes, _KINDS.take(pa.array(codes)), _CONVENTIONS.take(pa.array(by))
