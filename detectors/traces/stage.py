"""The stage: closed traces in; observations, trace rows and corrected spans out.

Traces of several owners (partitions of the log) are judged together, because a few traces cost nearly as much as many.
What comes of them is told apart again: it is the same as if each owner's had been judged alone.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import numpy as np
import orjson
import pyarrow as pa
import pyarrow.compute as pc
import xxhash

from detectors.traces.batch import NONE, Mask, Rows, TraceBatch
from detectors.traces.context import Context
from detectors.traces.enrich import enrich
from detectors.traces.rules import RULES
from detectors.traces.rules.base import Finding, Rule, Severity
from detectors.traces.status import ERROR, replace
from detectors.traces.summary import outcomes, summarize
from detectors.windows.facts import facts
from dimwatch.records import JUDGED, OBSERVATION

_PRICED_BY: Final = (
    "kind", "request_model", "response_model", "input_tokens", "output_tokens", "cache_read_tokens", "cost_usd",
)  # fmt: skip
_SUMMARY_LENGTH: Final = 400
_EVIDENCE_TEXT: Final = 600
_EVIDENCE_ITEMS: Final = 40


@dataclass(slots=True)
class Judged:
    """What the closed traces of one owner come to."""

    observations: pa.Table
    traces: pa.Table
    corrected_spans: pa.Table
    """Spans whose row says more than the one written when they arrived."""
    points: pa.Table
    sightings: pa.Table
    """What the traces add to the windows of the fleet; see `detectors.windows.facts`."""


def judge_traces(
    batch: TraceBatch, due_ns: Rows, owner: Rows, price: Callable[[pa.Table], pa.Table], lateness_ns: int
) -> list[Judged]:
    """Apply every rule to whole traces; return what comes of those of each owner.

    `due_ns` (by trace) is the record time at which each was over; the versions of its rows follow from it. `owner` (by
    trace) is the number of its owner: ascending, from 0, none left out. `price` fills `cost_usd` of span rows.
    `lateness_ns` is how far before `due_ns` a window may lie that the trace adds to.
    """
    versions = due_ns + JUDGED
    version = versions[batch.trace]
    context = Context(batch)
    gained = enrich(batch, context.documents, version)
    if gained.any():
        _price(batch, gained, price)
    findings = [(rule, finding) for rule in RULES for finding in rule.find(context)]
    outcome = outcomes(context, findings)
    added = facts(context, findings, outcome, due_ns, lateness_ns, owner)
    observations, observed = _observations(context, findings, version)
    corrected, changed = _corrected(context, findings, version)
    owners = int(owner[-1]) + 1
    parts = (
        _by_owner(observations, owner[batch.trace[observed]], owners),
        _by_owner(summarize(context, findings, outcome, versions), owner, owners),
        _by_owner(corrected, owner[batch.trace[changed]], owners),
        _by_owner(added.points, added.owner_of_points, owners),
        _by_owner(added.sightings, added.owner_of_sightings, owners),
    )
    return [Judged(*tables) for tables in zip(*parts, strict=True)]


def _by_owner(rows: pa.Table, owner: Rows, owners: int) -> list[pa.Table]:
    """The rows of each owner: copies, so that none keeps those of others in memory."""
    if owners == 1:
        return [rows]
    return [rows.take(pa.array(np.flatnonzero(owner == number))) for number in range(owners)]


def _price(batch: TraceBatch, rows: Mask, price: Callable[[pa.Table], pa.Table]) -> None:
    """Price the model calls that have told their tokens only now."""
    at = np.flatnonzero(rows)
    table = pa.table({name: batch.take(name, at) for name in _PRICED_BY})
    costs = price(table)["cost_usd"].combine_chunks()
    batch.replace("cost_usd", pc.replace_with_mask(batch.column("cost_usd"), pa.array(rows), costs))


def observation_id(rule: str, trace_id: str, span_id: str, tool: str) -> str:
    """The same fact has the same id, however often it is found."""
    return xxhash.xxh3_128_hexdigest(f"{rule}\x1f{trace_id}\x1f{span_id}\x1f{tool}".encode())


def _observations(context: Context, findings: list[tuple[Rule, Finding]], version: Rows) -> tuple[pa.Table, Rows]:
    """Observations, and the span row of each."""
    batch = context.batch
    rows = np.array([finding.row for _, finding in findings], dtype=np.int64)
    pick = pa.array(rows)
    columns = {name: batch.take(name, pick).to_pylist() for name in _COPIED}
    agents, providers = batch.agent.take(pick).to_pylist(), batch.provider.take(pick).to_pylist()
    answered, asked = columns.pop("response_model"), columns.pop("request_model")
    tools, ends = columns.pop("tool"), batch.end[rows]
    found: dict[str, list[object]] = {field.name: [] for field in OBSERVATION}
    seen: set[str] = set()
    kept: list[int] = []
    for number, (rule, finding) in enumerate(findings):
        tool = finding.tool or tools[number] or ""
        id_ = observation_id(rule.name, columns["trace_id"][number], columns["span_id"][number], tool)
        if id_ in seen:
            continue
        seen.add(id_)
        kept.append(number)
        for name, values in columns.items():
            found[name].append(values[number])
        found["id"].append(id_)
        found["rule"].append(rule.name)
        found["severity"].append(str(finding.severity or rule.severity))
        found["confidence"].append(round(finding.confidence, 3))
        found["time"].append(int(ends[number]))
        found["agent"].append(agents[number] or "")
        found["provider"].append(providers[number] or "")
        found["model"].append(answered[number] or asked[number] or "")
        found["tool"].append(tool)
        found["summary"].append(finding.summary[:_SUMMARY_LENGTH])
        found["evidence"].append(_evidence(finding))
        found["version"].append(int(version[finding.row]))
    arrays = [pa.array(found[field.name], field.type) for field in OBSERVATION]
    return pa.Table.from_arrays(arrays, schema=OBSERVATION), rows[kept]


_COPIED: Final = (
    "tenant", "trace_id", "span_id", "service", "service_version", "response_model", "request_model", "tool",
)  # fmt: skip


def _evidence(finding: Finding) -> str:
    bounded = {
        key: value[:_EVIDENCE_TEXT] if isinstance(value, str) else value
        for key, value in list(finding.evidence.items())[:_EVIDENCE_ITEMS]
        if value is not None
    }
    return orjson.dumps(bounded, default=str).decode()


def _corrected(context: Context, findings: list[tuple[Rule, Finding]], version: Rows) -> tuple[pa.Table, Rows]:
    """Spans whose effective status or share in the sums the whole trace changes, and spans that have been added to; and
    their rows in the batch."""
    batch = context.batch
    status = batch.column("effective_status")
    failing: dict[int, str] = {}
    for rule, finding in findings:
        if rule.fails and (finding.severity or rule.severity) is not Severity.INFO and finding.row != NONE:
            failing.setdefault(finding.row, rule.name)
    worse = {row: rule for row, rule in failing.items() if status[row].as_py() != ERROR}
    received = pc.cast(batch.column("received_time"), pa.int64())
    enriched = pc.not_equal(batch.column("version"), received).to_numpy(zero_copy_only=False)
    recounted = batch.counted != batch.column("counted").to_numpy(zero_copy_only=False)
    changed = sorted(worse.keys() | set(np.flatnonzero(enriched | recounted).tolist()))
    rows = np.array(changed, dtype=np.int64)
    spans = batch.whole_rows(rows)
    if not changed:
        return spans, rows
    is_worse = pa.array([row in worse for row in changed])
    reason = pa.array([worse.get(row, "") for row in changed])
    spans = replace(spans, "effective_status", pc.if_else(is_worse, ERROR, spans["effective_status"]))
    spans = replace(spans, "effective_reason", pc.if_else(is_worse, reason, spans["effective_reason"]))
    spans = replace(spans, "counted", pa.array(batch.counted[rows]))
    return replace(spans, "version", pa.array(version[rows])), rows
