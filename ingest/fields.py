"""From tidy attributes to one column a field, by the priority lists of the conventions."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Final

import numpy as np
import numpy.typing as npt
import orjson
import pyarrow as pa
import pyarrow.compute as pc

from ingest.conventions import FIELD_ORDER
from ingest.otlp.attributes import NO_ROW, Attributes, Indices

Numbers = npt.NDArray[np.float64]
Mask = npt.NDArray[np.bool_]

_NO_ROWS: Final = np.empty(0, dtype=np.int64)
_NO_TEXTS: Final = pa.array([], pa.string())


@dataclass(frozen=True, slots=True)
class _Sources:
    """Attribute names by field, best first, over all conventions."""

    texts: Mapping[str, tuple[str, ...]]
    numbers: Mapping[str, tuple[str, ...]]
    durations: Mapping[str, Mapping[str, float]]
    times: Mapping[str, tuple[str, ...]]
    json_texts: Mapping[str, Mapping[str, str]]
    json_numbers: Mapping[str, Mapping[str, str]]
    error_flags: Mapping[str, str]
    first_token_events: frozenset[str]
    claimed: frozenset[str]
    prefixes: tuple[str, ...]


@cache
def sources() -> _Sources:
    """The merged priority lists; a name that two conventions use keeps its best place."""
    texts: dict[str, dict[str, None]] = {}
    numbers: dict[str, dict[str, None]] = {}
    durations: dict[str, dict[str, float]] = {}
    times: dict[str, dict[str, None]] = {}
    json_texts: dict[str, Mapping[str, str]] = {}
    json_numbers: dict[str, Mapping[str, str]] = {}
    flags: dict[str, str] = {}
    first_token: set[str] = set()
    kind_attributes: set[str] = set()
    for convention in FIELD_ORDER:
        for merged, own in (
            (texts, convention.texts),
            (numbers, convention.numbers),
            (times, convention.times),
        ):
            for field, names in own.items():
                merged.setdefault(field, {}).update(dict.fromkeys(names))
        for field, units in convention.durations.items():
            durations.setdefault(field, {}).update(units)
        json_texts.update(convention.json_texts)
        json_numbers.update(convention.json_numbers)
        flags.update(convention.error_flags)
        first_token.update(convention.first_token_events)
        kind_attributes.add(convention.kind_attribute)
    known = {name for group in (texts, numbers, times, durations) for field in group.values() for name in field}
    known |= json_texts.keys() | json_numbers.keys() | flags.keys() | kind_attributes
    return _Sources(
        texts={field: tuple(keys) for field, keys in texts.items()},
        numbers={field: tuple(keys) for field, keys in numbers.items()},
        durations=durations,
        times={field: tuple(keys) for field, keys in times.items()},
        json_texts=json_texts,
        json_numbers=json_numbers,
        error_flags=flags,
        first_token_events=frozenset(first_token),
        claimed=frozenset(name for name in known if name and not name.endswith(".*")),
        prefixes=tuple(name[:-1] for name in known if name.endswith(".*")),
    )


class FieldReader:
    """Reads canonical columns of `count` rows from their attributes.

    `attributes` win over `fallback` (attributes of span events), whatever the convention. What no row carries is None,
    so that nobody works on columns that say nothing.
    """

    def __init__(self, count: int, attributes: Attributes, fallback: Attributes | None = None) -> None:
        self._count = count
        self._own = attributes
        self._layers = [attributes] if fallback is None or not len(fallback) else [fallback, attributes]

    def names(self) -> Iterable[str]:
        """Every attribute name that occurs on the rows themselves."""
        return self._own.by_key.keys()

    def names_of_fallback(self) -> Iterable[str]:
        """Every attribute name that occurs in the fallback."""
        return self._layers[0].by_key.keys() if len(self._layers) > 1 else ()

    def rows_with(self, key: str) -> tuple[Indices, Indices]:
        """Owners and attribute rows of `key` on the rows themselves."""
        rows = self._own.by_key.get(key, _NO_ROWS)
        return self._own.owner[rows], rows

    def values(self, key: str) -> tuple[Indices, pa.Array]:
        """Owners and text values of `key`."""
        owners, rows = self.rows_with(key)
        return owners, self._own.text(rows) if len(rows) else _NO_TEXTS

    def text(self, names: Iterable[str]) -> pa.Array:
        """One string a row: the value of the first of `names` that the row carries, else null."""
        found = self.find(names)
        return pa.nulls(self._count, pa.string()) if found is None else found

    def find(self, names: Iterable[str]) -> pa.Array | None:
        """`text`, or None if no row carries any of the names."""
        result = None
        ordered = list(names)[::-1]
        for layer in self._layers:
            result = first_of(self._text_in(layer, ordered), result)
        return result

    def _text_in(self, layer: Attributes, names: Iterable[str]) -> pa.Array | None:
        """`names`: best last."""
        pick: Indices | None = None
        documents: list[pa.Array] = []
        base = len(layer)
        for name in names:
            if name.endswith(".*"):
                owners, joined = _flattened(layer, name[:-1])
                rows = np.arange(base, base + len(owners))
                documents.append(joined)
                base += len(owners)
            else:
                rows = layer.by_key.get(name, _NO_ROWS)
                owners = layer.owner[rows]
            if len(owners):
                pick = np.full(self._count, NO_ROW, dtype=np.int64) if pick is None else pick
                pick[owners] = rows
        if pick is None:
            return None
        if base == len(layer):
            return layer.text(pick)
        direct = layer.text(np.where(pick < len(layer), pick, NO_ROW))
        joined_rows = pa.array(pick - len(layer), mask=pick < len(layer))
        return first_of(direct, pa.concat_arrays(documents).take(joined_rows))

    def number(self, names: Iterable[str]) -> Numbers:
        """One double a row: the first of `names` that the row carries as a number, else NaN."""
        return self.scaled(dict.fromkeys(names, 1.0))

    def scaled(self, units: Mapping[str, float]) -> Numbers:
        """The same for names whose numbers are in units of their own."""
        result = np.full(self._count, np.nan)
        for name in reversed(list(units)):
            owners, rows = self.rows_with(name)
            if len(rows):
                values = self._own.number(rows) * units[name]
                known = ~np.isnan(values)
                result[owners[known]] = values[known]
        return result

    def from_json(self, attribute: str, paths: Mapping[str, str]) -> dict[str, pa.Array]:
        """Values inside a JSON attribute, as strings, by canonical column; the first path that is there wins."""
        owners, texts = self.values(attribute)
        if not len(owners):
            return {}
        encoded = texts.dictionary_encode()
        documents = [_loads(text) for text in encoded.dictionary.to_pylist()]
        found: dict[str, list[str | None]] = {column: [None] * len(documents) for column in paths.values()}
        for number, document in enumerate(documents):
            for path, column in paths.items():
                if found[column][number] is None:
                    found[column][number] = _at(document, path)
        return {
            column: _scatter(self._count, owners, pa.array(values, pa.string()).take(encoded.indices))
            for column, values in found.items()
            if any(value is not None for value in values)
        }

    def unclaimed(self) -> pa.MapArray:
        """What no convention reads, as a map a row."""
        known = sources()
        return attribute_map(
            self._count, self._own, lambda key: key not in known.claimed and not key.startswith(known.prefixes)
        )


def attribute_map(count: int, attributes: Attributes, wanted: Callable[[str], bool]) -> pa.MapArray:
    """The attributes of wanted keys as one map<string, string> a row."""
    rows = attributes.rows_with(wanted)
    offsets = np.searchsorted(attributes.owner[rows], np.arange(count + 1)).astype(np.int32)
    values = pc.fill_null(attributes.text(rows), "")
    return pa.MapArray.from_arrays(pa.array(offsets), attributes.key.take(pa.array(rows)), values)


def first_of(*columns: pa.Array | None) -> pa.Array | None:
    """By row the first value that there is. None is a column without any, as is the result."""
    result: pa.Array | None = None
    for column in columns:
        if column is not None and column.null_count < len(column):
            if result is not None:
                column = pc.coalesce(result, column)
            result = column
            if not column.null_count:
                break
    return result


def only(column: pa.Array | None, rows: Mask) -> pa.Array | None:
    """The values of a column at some rows, null elsewhere; None if there are none."""
    if column is None or not rows.any():
        return None
    if rows.all():
        return column
    known = valid(column)
    if not (known & rows).any():
        return None
    if not (known & ~rows).any():
        return column  # documents are not copied for nothing
    return pc.if_else(pa.array(rows), column, None)


def valid(column: pa.Array | None) -> Mask | np.bool_:
    """By row: is there a value?"""
    if column is None:
        return np.False_
    rows: Mask = column.is_valid().to_numpy(zero_copy_only=False)
    return rows


def holds(condition: pa.Array) -> Mask:
    """By row: does it hold? Null does not."""
    mask: Mask = pc.fill_null(condition, False).to_numpy(zero_copy_only=False).astype(np.bool_, copy=False)
    return mask


def whole_numbers(values: Numbers, type_: pa.DataType) -> pa.Array:
    """Doubles rounded to an integer type; null where they are negative, no number, or too large for it."""
    fits = (values >= 0.0) & (values < 2.0 ** (type_.bit_width - 1))
    rounded = np.round(np.where(fits, values, 0.0)).astype(type_.to_pandas_dtype())
    return pa.array(rounded, type_, mask=~fits)


def _scatter(count: int, owners: Indices, values: pa.Array) -> pa.Array:
    """Put `values` at rows `owners` of a column of `count` rows; the rest is null, the last one of a row wins."""
    pick = np.full(count, NO_ROW, dtype=np.int64)
    pick[owners] = np.arange(len(owners))
    return values.take(pa.array(pick, mask=pick < 0))


def _flattened(layer: Attributes, prefix: str) -> tuple[Indices, pa.Array]:
    """Join the attributes under `prefix` into one JSON object of dotted keys a row: {"0.role": "user", ...}."""
    rows_by_key = layer.by_key
    keys = [key for key in rows_by_key if key.startswith(prefix) and key[len(prefix) : len(prefix) + 1].isdigit()]
    if not keys:
        return _NO_ROWS, _NO_TEXTS
    rows = np.concatenate([rows_by_key[key] for key in keys])
    labels = np.repeat(np.arange(len(keys)), [len(rows_by_key[key]) for key in keys])
    # Attribute order within a row is the sender's, which lists messages in order.
    order = np.argsort(rows, kind="stable")
    rows, labels = rows[order], labels[order]
    names = pa.array([f'"{orjson.dumps(key[len(prefix) :])[1:-1].decode()}":' for key in keys])
    members = pc.binary_join_element_wise(names.take(pa.array(labels)), json_strings(layer.text(rows)), "")
    owners, starts = np.unique(layer.owner[rows], return_index=True)
    offsets = pa.array(np.append(starts, len(rows)).astype(np.int32))
    joined = pc.binary_join(pa.ListArray.from_arrays(offsets, members), ",")
    return owners, pc.binary_join_element_wise("{", joined, "}", "")


def json_strings(texts: pa.Array) -> pa.Array:
    """Each text as a JSON string literal; null becomes the literal `null`."""
    control = pc.match_substring_regex(texts, r"[\x00-\x08\x0b\x0c\x0e-\x1f]")
    if pc.any(control).as_py():
        literals = [orjson.dumps(text).decode() for text in texts.to_pylist()]
        return pa.array(literals, pa.string())
    escaped = texts
    for plain, literal in (("\\", "\\\\"), ('"', '\\"'), ("\n", "\\n"), ("\r", "\\r"), ("\t", "\\t")):
        escaped = pc.replace_substring(escaped, plain, literal)
    return pc.fill_null(pc.binary_join_element_wise('"', escaped, '"', ""), "null")


def _loads(text: str | None) -> object:
    try:
        return orjson.loads(text) if text else None
    except orjson.JSONDecodeError:
        return None


def _at(document: object, path: str) -> str | None:
    for step in path.split("."):
        if not isinstance(document, dict):
            return None
        document = document.get(step)
    if document is None or isinstance(document, dict | list | bool):
        return None
    return str(document)
