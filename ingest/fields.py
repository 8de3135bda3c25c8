"""From tidy attributes to one column a field, by the priority lists of the conventions."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Final

import numpy as np
import orjson
import pyarrow as pa
import pyarrow.compute as pc

from ingest.conventions import FIELD_ORDER
from ingest.otlp.attributes import Attributes, Indices

MISSING: Final = -1


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

    `attributes` win over `fallback` (attributes of span events), whatever the convention.
    """

    def __init__(self, count: int, attributes: Attributes, fallback: Attributes | None = None) -> None:
        self._count = count
        self._layers = [attributes] if fallback is None or not len(fallback) else [fallback, attributes]
        self._rows = [dict(layer.by_key()) for layer in self._layers]

    def names(self) -> Iterable[str]:
        """Every attribute name that occurs on the rows themselves."""
        return self._rows[-1].keys()

    def names_of_fallback(self) -> Iterable[str]:
        """Every attribute name that occurs in the fallback."""
        return self._rows[0].keys() if len(self._rows) > 1 else ()

    def rows_with(self, key: str) -> tuple[Indices, Indices]:
        """Owners and attribute rows of `key` on the rows themselves."""
        rows = self._rows[-1].get(key, np.empty(0, dtype=np.int64))
        return self._layers[-1].owner[rows], rows

    def values(self, key: str) -> tuple[Indices, pa.Array]:
        """Owners and text values of `key`."""
        owners, rows = self.rows_with(key)
        return owners, self._layers[-1].text(rows)

    def text(self, names: Iterable[str]) -> pa.Array:
        """One string a row: the value of the first of `names` that the row carries, else null."""
        result = pa.nulls(self._count, pa.string())
        ordered = list(names)
        for layer, rows_by_key in zip(self._layers, self._rows, strict=True):
            pick = np.full(self._count, MISSING, dtype=np.int64)
            documents: list[pa.Array] = []
            base = len(layer)
            for name in reversed(ordered):
                if name.endswith(".*"):
                    owners, joined = _flattened(layer, rows_by_key, name[:-1])
                    if len(owners):
                        pick[owners] = np.arange(base, base + len(owners))
                        documents.append(joined)
                        base += len(owners)
                elif (rows := rows_by_key.get(name)) is not None:
                    pick[layer.owner[rows]] = rows
            if (pick == MISSING).all():
                continue
            direct = np.where((pick >= 0) & (pick < len(layer)), pick, MISSING)
            picked = layer.text(_indices(direct)) if (direct >= 0).any() else pa.nulls(self._count, pa.string())
            if documents:
                joined_rows = np.where(pick >= len(layer), pick - len(layer), MISSING)
                picked = pc.coalesce(picked, pa.concat_arrays(documents).take(_indices(joined_rows)))
            result = picked if result.null_count == self._count else pc.coalesce(picked, result)
        return result

    def number(self, names: Iterable[str]) -> pa.Array:
        """One double a row: the first of `names` that the row carries as a number, else null."""
        return self._scaled(dict.fromkeys(names, 1.0))

    def duration_ns(self, units: Mapping[str, float]) -> pa.Array:
        """One double a row, in nanoseconds; `units` gives each name's unit."""
        return self._scaled(units)

    def _scaled(self, units: Mapping[str, float]) -> pa.Array:
        result = pa.nulls(self._count, pa.float64())
        layer, rows_by_key = self._layers[-1], self._rows[-1]
        for name in reversed(list(units)):
            if (rows := rows_by_key.get(name)) is None:
                continue
            values = pc.multiply(layer.number(rows), units[name])
            result = pc.coalesce(_scatter(self._count, layer.owner[rows], values), result)
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
        layer, rows_by_key = self._layers[-1], self._rows[-1]
        known = sources()
        kept = [
            rows for key, rows in rows_by_key.items() if key not in known.claimed and not key.startswith(known.prefixes)
        ]
        return attribute_map(self._count, layer, kept)


def attribute_map(count: int, attributes: Attributes, groups: list[Indices]) -> pa.MapArray:
    """The given attribute rows as one map<string, string> a row."""
    rows = np.concatenate(groups) if groups else np.empty(0, dtype=np.int64)
    rows = rows[np.argsort(attributes.owner[rows], kind="stable")]
    offsets = np.searchsorted(attributes.owner[rows], np.arange(count + 1)).astype(np.int32)
    values = pc.fill_null(attributes.text(rows), "")
    return pa.MapArray.from_arrays(pa.array(offsets), attributes.key.take(rows), values)


def whole_numbers(values: pa.Array, type_: pa.DataType) -> pa.Array:
    """Doubles rounded to an integer type; null where they are negative, no number, or too large for it."""
    fits = pc.and_(pc.greater_equal(values, 0.0), pc.less(values, 2.0 ** (type_.bit_width - 1)))
    return pc.cast(pc.if_else(fits, pc.round(values), None), type_)


def _indices(pick: Indices) -> pa.Array:
    return pa.array(pick, mask=pick < 0)


def _scatter(count: int, owners: Indices, values: pa.Array) -> pa.Array:
    """Put `values` at rows `owners` of a column of `count` rows; the rest is null, the last one of a row wins."""
    pick = np.full(count, MISSING, dtype=np.int64)
    pick[owners] = np.arange(len(owners))
    return values.take(_indices(pick))


def _flattened(layer: Attributes, rows_by_key: Mapping[str, Indices], prefix: str) -> tuple[Indices, pa.Array]:
    """Join the attributes under `prefix` into one JSON object of dotted keys a row: {"0.role": "user", ...}."""
    keys = [key for key in rows_by_key if key.startswith(prefix) and key[len(prefix) : len(prefix) + 1].isdigit()]
    if not keys:
        return np.empty(0, dtype=np.int64), pa.array([], pa.string())
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
