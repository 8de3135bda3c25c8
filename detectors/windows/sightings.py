"""What agents run on, as their traces show it: answered models, fingerprints, prompts, tools, releases, libraries.

Long values are hashed (64 bits, hex). Of a prompt numbers are left out first, so that a date in it makes no new one.
Prompts and tool lists are looked at once a trace and agent.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache
from typing import Final

import numpy as np
import orjson
import pyarrow as pa
import pyarrow.compute as pc
import xxhash

from detectors.traces.batch import Rows, TraceBatch
from detectors.traces.documents import unflattened
from detectors.traces.tools import read_tools
from detectors.windows.keys import Column, arrays, column, constant, grouped, stacked
from detectors.windows.minute import MINUTE_NS
from detectors.windows.model_calls import ModelCalls
from detectors.windows.where import Where
from dimwatch.records import SIGHTING

NAMES: Final = "names"
"""The key of `tools` under which the hash of the tools' names alone is kept; that of names and schemas is under ""."""

_ANSWERS: Final = ("request_model", "response_model", "system_fingerprint")
_NUMBERS: Final = r"\d+"
_PREFIX: Final = 8_192
"""Characters of a prompt or of messages that are looked at."""
_ROLE: Final = '"role"'
_SYSTEM: Final = r'^\s*:\s*"(?:system|developer)"'
"""What follows it where the message is the system's."""


def sightings(batch: TraceBatch, calls: ModelCalls, where: Where) -> tuple[pa.Table, Rows]:
    """The sightings of a batch, in windows of a minute, and the owner of each; a key may come several times."""
    seen = _Seen(batch, where)
    # A call that failed was answered by nobody: what it names is what was asked for.
    answered = np.flatnonzero(~calls.failed)
    asked, names, prints = (calls.column(name).at(answered) for name in _ANSWERS)
    seen.add("answered_model", calls.row[answered], asked, names)
    seen.add("fingerprint", calls.row[answered], calls.model.at(answered), prints)
    _prompts(batch, calls, seen)
    tools = seen.one_a_trace(np.flatnonzero(batch.present("tool_definitions") & batch.kind("llm", "agent")))
    offered = column(batch.take("tool_definitions", tools))
    hashes = [_tool_hashes(text) for text in offered.values.to_pylist()]
    for key, which in (("", 0), (NAMES, 1)):
        seen.add("tools", tools, constant(key, len(tools)), offered.renamed(_strings(pair[which] for pair in hashes)))
    rows = np.concatenate([calls.row, batch.root[~batch.late]])
    seen.add("release", rows, constant("", len(rows)), where.column("service_version").at(rows))
    seen.add("instrumentation", rows, where.column("scope_name").at(rows), where.column("scope_version").at(rows))
    return seen.table()


def _prompts(batch: TraceBatch, calls: ModelCalls, seen: _Seen) -> None:
    rows = seen.one_a_trace(np.flatnonzero(batch.present("system_instructions")))
    texts = column(_prefixes(batch.take("system_instructions", rows)))
    seen.add("prompt", rows, constant("", len(rows)), texts.renamed(_strings(_hashes(texts.values))))
    told = np.zeros(batch.traces, dtype=np.bool_)
    told[batch.trace[rows]] = True
    rest = seen.one_a_trace(calls.row[~told[batch.trace[calls.row]] & batch.present("input_messages")[calls.row]])
    # What is between the first role and the second is the first message.
    parts = pc.split_pattern(_prefixes(batch.take("input_messages", rest)), _ROLE, max_splits=2)
    rest = rest[pc.greater(pc.list_value_length(parts), 1).to_numpy(zero_copy_only=False).astype(np.bool_)]
    texts = column(parts.flatten().take(pa.array(_second(parts))))
    system = pc.match_substring_regex(texts.values, _SYSTEM).to_pylist()
    hashes = _strings(hashed if one else "" for hashed, one in zip(_hashes(texts.values), system, strict=True))
    seen.add("prompt", rest, constant("", len(rest)), texts.renamed(hashes))


def _second(parts: pa.ListArray) -> Rows:
    """Where the second elements of lists are, of those that have one."""
    offsets = parts.offsets.to_numpy().astype(np.int64) - parts.offsets[0].as_py()
    second: Rows = offsets[:-1][np.diff(offsets) > 1] + 1
    return second


def _prefixes(texts: pa.Array) -> pa.Array:
    longest = pc.max(pc.binary_length(texts)).as_py() or 0
    return texts if longest <= _PREFIX else pc.utf8_slice_codeunits(texts, 0, _PREFIX)


def _hashes(texts: pa.Array) -> list[str]:
    """The hash of each text, its numbers left out."""
    return [_hash(text) for text in pc.replace_substring_regex(texts, _NUMBERS, "0").to_pylist()]


def _strings(texts: Iterable[str]) -> pa.Array:
    return pa.array(list(texts), pa.string())


def _hash(text: str) -> str:
    return xxhash.xxh3_64_hexdigest(text.encode())


@lru_cache(maxsize=512)
def _tool_hashes(document: str) -> tuple[str, str]:
    """Hashes of the definitions and of the names of the tools that a document offers, whatever their order; "" for
    names where none is found."""
    names = sorted(read_tools(unflattened(document)))
    try:
        node = orjson.loads(document)
    except orjson.JSONDecodeError:
        node = document
    parts = node if isinstance(node, list) else [node]
    try:
        definitions = sorted(orjson.dumps(part, option=orjson.OPT_SORT_KEYS) for part in parts)
    except orjson.JSONEncodeError:  # nested deeper than JSON is written
        definitions = [document.encode()]
    return xxhash.xxh3_64_hexdigest(b"\x1f".join(definitions)), _hash("\x1f".join(names)) if names else ""


class _Seen:
    """Sightings under construction."""

    def __init__(self, batch: TraceBatch, where: Where) -> None:
        self._batch = batch
        self._where = where
        self._attributes: list[str] = []
        self._rows: list[Rows] = []
        self._keys: list[Column] = []
        self._values: list[Column] = []

    def one_a_trace(self, rows: Rows) -> Rows:
        """The first of `rows` of each trace and agent."""
        return np.sort(rows[grouped([self._where.agents.at(rows)], self._batch.trace[rows]).first])

    def add(self, attribute: str, rows: Rows, key: Column, value: Column) -> None:
        """Values seen on span rows; those that are "" were not seen."""
        said = np.flatnonzero(value.of != value.number(""))
        self._attributes.append(attribute)
        self._rows.append(rows[said])
        self._keys.append(key.at(said))
        self._values.append(value.at(said))

    def table(self) -> tuple[pa.Table, Rows]:
        """What was seen, and how often; and by whose traces."""
        rows = np.concatenate(self._rows)
        owner = self._where.owner(rows)
        times = self._where.window_ns(rows, self._batch.end[rows], MINUTE_NS)
        counts = [len(part) for part in self._rows]
        columns = {
            "tenant": self._where.column("tenant").at(rows),
            "agent": self._where.agents.at(rows),
            "attribute": Column(np.repeat(np.arange(len(counts)), counts), pa.array(self._attributes)),
            "key": stacked(self._keys),
            "value": stacked(self._values),
        }
        groups = grouped(columns.values(), times // MINUTE_NS, owner)
        values = arrays(columns, groups.first) | {
            "time": pa.array(times[groups.first]).cast(SIGHTING.field("time").type),
            "n": pa.array(np.bincount(groups.of).astype(np.float64)),
        }
        return pa.Table.from_arrays([values[name] for name in SIGHTING.names], schema=SIGHTING), owner[groups.first]
