"""What agents run on, as their traces show it: answered models, fingerprints, prompts, tools, releases, libraries.

Long values are hashed (64 bits, hex). Of a prompt numbers are left out first, so that a date in it makes no new one.
Prompts and tool lists are looked at once a trace and agent.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Final

import numpy as np
import orjson
import pyarrow as pa
import pyarrow.compute as pc
import xxhash

from detectors.traces.batch import NONE, Mask, Rows, TraceBatch
from detectors.traces.context import Context
from detectors.traces.documents import unflattened
from detectors.traces.tools import read_tools
from detectors.windows.keys import codes, grouped
from detectors.windows.minute import MINUTE_NS
from detectors.windows.model_calls import ModelCalls
from detectors.windows.points import NO_SIGHTINGS
from detectors.windows.where import Where
from dimwatch.records import SIGHTING

NAMES: Final = "names"
"""The key of `tools` under which the hash of the tools' names alone is kept; that of names and schemas is under ""."""

_NUMBERS: Final = r"\d+"
_PREFIX: Final = 8_192
"""Characters of a prompt or of messages that are looked at."""
_HEAD: Final = 300
"""Characters within which messages that begin with a system message say so."""
_SYSTEM: Final = r'"role"\s*:\s*"(system|developer)"'
_ROLE: Final = '"role"'


def sightings(context: Context, calls: ModelCalls, where: Where) -> pa.Table:
    """The sightings of a batch, in windows of a minute; a key may come several times."""
    batch = context.batch
    seen = _Seen(batch, where)
    asked, answered = calls.text("request_model"), calls.text("response_model")
    seen.add("answered_model", calls.row, asked, answered)
    model = pc.if_else(pc.equal(asked, ""), answered, asked)
    seen.add("fingerprint", calls.row, model, calls.text("system_fingerprint"))
    _prompts(batch, calls, seen)
    tools = seen.one_a_trace(np.flatnonzero(batch.present("tool_definitions") & batch.kind("llm", "agent")))
    definitions = _each(batch.take("tool_definitions", tools), lambda text: _tool_hashes(text)[0])
    names = _each(batch.take("tool_definitions", tools), lambda text: _tool_hashes(text)[1])
    seen.add("tools", tools, None, definitions)
    seen.add("tools", tools, pa.repeat(pa.scalar(NAMES), len(tools)), names)
    runs = batch.root[~batch.late]
    rows = np.concatenate([calls.row, context.calls.tool_row[context.calls.tool_row != NONE], runs])
    seen.add("release", rows, None, batch.take("service_version", rows))
    seen.add("instrumentation", rows, batch.take("scope_name", rows), batch.take("scope_version", rows))
    return seen.table()


def _prompts(batch: TraceBatch, calls: ModelCalls, seen: _Seen) -> None:
    rows = seen.one_a_trace(np.flatnonzero(batch.present("system_instructions")))
    seen.add("prompt", rows, None, _each(_prefix(batch.take("system_instructions", rows)), _hash))
    told = np.zeros(batch.traces, dtype=np.bool_)
    told[batch.trace[rows]] = True
    rest = seen.one_a_trace(calls.row[~told[batch.trace[calls.row]] & batch.present("input_messages")[calls.row]])
    texts = _prefix(batch.take("input_messages", rest))
    system = pc.match_substring_regex(pc.utf8_slice_codeunits(texts, 0, _HEAD), _SYSTEM)
    rest, texts = rest[system.to_numpy(zero_copy_only=False)], texts.filter(system)
    seen.add("prompt", rest, None, _each(texts, _first_message))


def _prefix(texts: pa.Array) -> pa.Array:
    """The beginnings of texts, their numbers left out."""
    encoded = texts.dictionary_encode()
    short = pc.utf8_slice_codeunits(encoded.dictionary, 0, _PREFIX)
    return pc.replace_substring_regex(short, _NUMBERS, "0").take(encoded.indices)


def _first_message(messages: str) -> str:
    """The hash of the text up to where the second message begins."""
    second = messages.find(_ROLE, messages.find(_ROLE) + len(_ROLE))
    return _hash(messages[: second if second > 0 else _PREFIX])


def _hash(text: str) -> str:
    return xxhash.xxh3_64_hexdigest(text.encode())


def _each(texts: pa.Array, hashed: Callable[[str], str]) -> pa.Array:
    """`hashed` of every text, worked out once for each distinct one."""
    encoded = texts.dictionary_encode()
    values = [hashed(text) for text in encoded.dictionary.to_pylist()]
    return pa.array(values, pa.string()).take(encoded.indices)


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
    definitions = sorted(orjson.dumps(part, option=orjson.OPT_SORT_KEYS) for part in parts)
    return xxhash.xxh3_64_hexdigest(b"\x1f".join(definitions)), _hash("\x1f".join(names)) if names else ""


class _Seen:
    """Sightings under construction."""

    def __init__(self, batch: TraceBatch, where: Where) -> None:
        self._batch = batch
        self._where = where
        self._tables: list[pa.Table] = []

    def one_a_trace(self, rows: Rows) -> Rows:
        """The first of `rows` of each trace and agent."""
        if not len(rows):
            return rows
        agents = codes(self._where.agents.take(pa.array(rows)))
        return np.sort(rows[grouped([codes(self._batch.trace[rows]), agents]).first])

    def add(self, attribute: str, rows: Rows, key: pa.Array | None, value: pa.Array) -> None:
        """Count values seen on span rows; those that are "" or null were not seen."""
        said: Mask = pc.fill_null(pc.not_equal(value, ""), False).to_numpy(zero_copy_only=False)
        if not said.any():
            return
        kept = pa.array(np.flatnonzero(said))
        rows, value = rows[said], value.take(kept)
        key = pa.repeat(pa.scalar(""), len(rows)) if key is None else key.take(kept)
        times = self._where.window_ns(rows, self._batch.end[rows], MINUTE_NS)
        columns = {
            "tenant": self._batch.take("tenant", rows),
            "agent": self._where.agents.take(pa.array(rows)),
            "key": key,
            "value": value,
        }
        groups = grouped([*(codes(column) for column in columns.values()), codes(times)])
        first = pa.array(groups.first)
        columns = {name: column.take(first) for name, column in columns.items()}
        columns |= {
            "attribute": pa.repeat(pa.scalar(attribute), len(groups.first)),
            "time": pa.array(times[groups.first]).cast(SIGHTING.field("time").type),
            "n": pa.array(np.bincount(groups.of).astype(np.float64)),
        }
        self._tables.append(pa.Table.from_arrays([columns[name] for name in SIGHTING.names], schema=SIGHTING))

    def table(self) -> pa.Table:
        """What was seen."""
        return pa.concat_tables(self._tables) if self._tables else NO_SIGHTINGS
