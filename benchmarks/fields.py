"""Canonical fields, held against what the requests really carry: `python -m benchmarks.fields PATH...`

For each folder a table: spans by kind, then for model calls and tool calls how many have each field and how many
carry the information somewhere on the span, its events or its log records (`have/carried`; `benchmarks.raw_look`
finds that out without knowing any convention; `!` and a number: so many have another value than is carried). Then a
check that no token is counted twice: the sums over counted spans and over trace rows must be the sum over distinct
model calls. A summary of the gaps ends the output; exit status 1 if tokens are counted twice or not at all.
"""

from __future__ import annotations

import sys
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence, Set
from dataclasses import dataclass, field
from itertools import product
from pathlib import Path
from typing import Any, Final

from rich.console import Console
from rich.table import Table

from benchmarks import raw_look
from benchmarks.raw_look import RawSpan
from dimwatch.app.pipeline import Output, Pipeline
from dimwatch.records import SPAN
from dimwatch.settings import MIB, Settings
from ingest.normalize import Request
from ingest.otlp.admission import Limits
from ingest.otlp.files import Recordings
from ingest.otlp.signals import LOGS, TRACES

Row = Mapping[str, Any]
Look = Callable[[RawSpan], object]


def _tokens(column: str) -> Look:
    return lambda span: raw_look.tokens(span).get(column)


MODEL_FIELDS: Final[dict[str, Look]] = {
    "provider": raw_look.providers,
    "request_model": raw_look.request_models,
    "response_model": raw_look.response_models,
    "finish_reason": raw_look.finish_reasons,
    "input_tokens": _tokens("input_tokens"),
    "output_tokens": _tokens("output_tokens"),
    "reasoning_tokens": _tokens("reasoning_tokens"),
    "cache_read_tokens": _tokens("cache_read_tokens"),
    "cache_write_tokens": _tokens("cache_write_tokens"),
    "time_to_first_token_ns": raw_look.first_token,
    "input_messages": raw_look.input_messages,
    "output_messages": raw_look.output_messages,
    "tool_definitions": raw_look.definitions,
}
TOOL_FIELDS: Final[dict[str, Look]] = {
    "tool": raw_look.tool_names,
    "tool_call_id": raw_look.call_ids,
    "tool_arguments": raw_look.arguments,
    "tool_result": raw_look.result,
}
_HELD_TO_BE_NO_CALL: Final = frozenset({"other", "setup", "http", "mcp", "tool"})
_COUNTED_TOKENS: Final = ("input_tokens", "output_tokens")


@dataclass(slots=True)
class FieldCount:
    """How many spans have a field, how many carry it, and which carry it and lack it, or have something else."""

    have: int = 0
    carried: int = 0
    gaps: list[str] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)

    @property
    def text(self) -> str:
        """`have/carried`, `!` and how many have another value than is carried; a dot where nobody carries it."""
        if not self.have and not self.carried:
            return "."
        return f"{self.have}/{self.carried}" + (f"!{len(self.wrong)}" if self.wrong else "")


@dataclass(slots=True)
class FolderReport:
    """One folder of recordings."""

    name: str
    kinds: Counter[str] = field(default_factory=Counter)
    fields: dict[str, FieldCount] = field(default_factory=dict)
    unseen: dict[str, list[str]] = field(default_factory=lambda: defaultdict(list))
    """Spans that are no model or tool calls and yet carry what those carry."""
    doubles: list[str] = field(default_factory=list)
    sums: dict[str, tuple[int, int, int]] = field(default_factory=dict)
    """By token column: over counted spans, in trace rows, and over distinct model calls."""

    @property
    def counted_once(self) -> bool:
        """Whether every token is counted once."""
        return not self.doubles and all(len(set(sums)) == 1 for sums in self.sums.values())

    unread: int = 0


def examine(folder: Path) -> FolderReport:
    """Run the recordings of one folder (or one file) through the pipeline and look at them raw as well."""
    report = FolderReport(folder.name)
    settings = Settings(data=Path("unused"))
    pipeline = Pipeline(settings)
    raw_traces: list[Any] = []
    raw_logs: list[Any] = []
    found = _Found()
    limits = Limits.of(settings.receiver)
    with Recordings(limits, 256 * MIB) as recordings:
        index = recordings.index([folder])
        report.unread = len(index.problems)
        for number, entry in enumerate(index.entries):
            if entry.signal not in (TRACES, LOGS):
                continue
            bodies = [piece.body for piece in recordings.read(entry).pieces]
            (raw_traces if entry.signal is TRACES else raw_logs).extend(map(entry.signal.parse, bodies))
            requests = [Request(body, entry.last_ns) for body in bodies]
            traces, logs = (requests, []) if entry.signal is TRACES else ([], requests)
            # One moment for all, so that a span's log records find it in whatever order the files come.
            found.collect(pipeline.add(traces, logs, now_ns=1, record=number))
        found.collect(pipeline.flush())
    raw = raw_look.raw_spans(raw_traces, raw_logs)
    _count_fields(report, found.spans, raw)
    _check_tokens(report, found, raw)
    return report


@dataclass(slots=True)
class _Found:
    """The rows that people would see."""

    spans: dict[tuple[str, str], Row] = field(default_factory=dict)
    traces: dict[str, Row] = field(default_factory=dict)

    def collect(self, output: Output) -> None:
        for table in output.spans:
            for row in table.to_pylist():
                key = row["trace_id"], row["span_id"]
                if key not in self.spans or row["version"] >= self.spans[key]["version"]:
                    self.spans[key] = row
        for table in output.traces:
            self.traces.update((row["trace_id"], row) for row in table.to_pylist())


def _count_fields(
    report: FolderReport, canonical: Mapping[tuple[str, str], Row], raw: Mapping[tuple[str, str], RawSpan]
) -> None:
    for key, row in canonical.items():
        report.kinds[row["kind"]] += 1
        looks = MODEL_FIELDS if row["kind"] == "llm" else TOOL_FIELDS if row["kind"] == "tool" else {}
        span = raw[key]
        if row["kind"] in _HELD_TO_BE_NO_CALL:
            if raw_look.tokens(span):
                report.unseen["tokens"].append(f"{span.name} ({row['kind']}) {span.trace_id[:8]}/{span.span_id[:8]}")
            if raw_look.call_ids(span) and row["kind"] == "other":
                report.unseen["call ids"].append(f"{span.name} {span.trace_id[:8]}/{span.span_id[:8]}")
        for name, look in looks.items():
            count = report.fields.setdefault(name, FieldCount())
            value, said = row[name], look(span)
            # "" says something only where null is the word for nothing.
            has = value is not None if SPAN.field(name).nullable else value != ""
            carried = bool(said) and not _said_elsewhere(name, row, said)
            count.have += has
            count.carried += carried or has
            place = f"{span.name} {span.trace_id[:8]}/{span.span_id[:8]}"
            if carried and not has:
                count.gaps.append(place)
            elif has and isinstance(said, set) and said and not _agrees(name, value, span, said):
                count.wrong.append(f"{place}: {value!r}, carried {sorted(said)}")


def _said_elsewhere(name: str, row: Row, said: object) -> bool:
    """Whether a model's name that could be asked or answered is known as the answering one."""
    return name == "request_model" and isinstance(said, set) and said == {row["response_model"]}


def _agrees(name: str, value: object, span: RawSpan, said: Set[object]) -> bool:
    """Whether a canonical value is one of those carried, or follows from them."""
    if isinstance(value, int):
        if value in said:
            return True
        # Input includes cached, output includes reasoning: some senders keep them apart.
        apart = raw_look.tokens(span)
        parts = [apart.get(column, set()) for column in _PARTS.get(name, ())]
        return any(value - sum(extra) in said for extra in product(*(part | {0} for part in parts)))
    if name == "response_model":
        return any(str(value).lower() in str(item).lower() for item in said)
    return True


_PARTS: Final = {"input_tokens": ("cache_read_tokens", "cache_write_tokens"), "output_tokens": ("reasoning_tokens",)}


def _check_tokens(report: FolderReport, found: _Found, raw: Mapping[tuple[str, str], RawSpan]) -> None:
    """Counted spans and trace rows against distinct model calls.

    A call is what has one response id in the raw telemetry. Spans without one are the call that the model span
    below or above them is, or else a call of their own.
    """
    calls: dict[tuple[str, str], list[Row]] = defaultdict(list)
    models = {key: row for key, row in found.spans.items() if row["kind"] == "llm"}
    for key, row in models.items():
        calls[row["trace_id"], _call_of(key, models, raw)].append(row)
    for (trace_id, call), rows in calls.items():
        if sum(row["counted"] for row in rows) > 1:
            report.doubles.append(f"{call} of trace {trace_id[:8]}: {', '.join(row['name'] for row in rows)}")
    for column in _COUNTED_TOKENS:
        counted = sum(row[column] or 0 for row in models.values() if row["counted"])
        distinct = sum(max(row[column] or 0 for row in rows) for rows in calls.values())
        others = sum(row[column] or 0 for row in found.spans.values() if row["kind"] == "embedding" and row["counted"])
        in_traces = sum(row[column] for row in found.traces.values()) - others
        report.sums[column] = counted, in_traces, distinct


def _call_of(
    key: tuple[str, str], models: Mapping[tuple[str, str], Row], raw: Mapping[tuple[str, str], RawSpan]
) -> str:
    """The response id of a span or of the model span around it, else the id of the outermost model span."""
    while True:
        ids = raw_look.response_ids(raw[key])
        if len(ids) == 1:
            return ids.pop()
        above = key[0], str(models[key]["parent_span_id"])
        if above not in models or above == key:
            return _id_below(key, models, raw) or key[1]
        key = above


def _id_below(
    key: tuple[str, str], models: Mapping[tuple[str, str], Row], raw: Mapping[tuple[str, str], RawSpan]
) -> str:
    """The response id of the one model span right below a span, "" if there is none or there are several."""
    below = [child for child, row in models.items() if child[0] == key[0] and row["parent_span_id"] == key[1]]
    ids = raw_look.response_ids(raw[below[0]]) if len(below) == 1 else set()
    return ids.pop() if len(ids) == 1 else ""


def _table(title: str, reports: Sequence[FolderReport], names: Iterable[str]) -> Table:
    table = Table(title=title, title_justify="left", pad_edge=False, box=None)
    table.add_column("folder", no_wrap=True)
    for name in names:
        table.add_column(_SHORT.get(name, name), justify="right", no_wrap=True)
    for report in reports:
        counts = [report.fields.get(name, FieldCount()) for name in names]
        cells = [f"[red]{count.text}[/]" if count.gaps or count.wrong else count.text for count in counts]
        table.add_row(report.name, *cells)
    return table


_SHORT: Final = {
    "request_model": "asked", "response_model": "answered", "finish_reason": "finish", "input_tokens": "in",
    "output_tokens": "out", "reasoning_tokens": "reason", "cache_read_tokens": "c.read",
    "cache_write_tokens": "c.write", "time_to_first_token_ns": "ttft", "input_messages": "asked with",
    "output_messages": "answer", "tool_definitions": "offered", "tool_call_id": "call id",
    "tool_arguments": "arguments", "tool_result": "result",
}  # fmt: skip


def _kinds(reports: Sequence[FolderReport]) -> Table:
    table = Table(title="Spans by kind", title_justify="left", pad_edge=False, box=None)
    table.add_column("folder", no_wrap=True)
    table.add_column("kinds")
    for report in reports:
        table.add_row(report.name, ", ".join(f"{kind} {count}" for kind, count in report.kinds.most_common()))
    return table


def _summary(console: Console, reports: Sequence[FolderReport]) -> bool:
    """Print totals, gaps and doubles; return whether all tokens are counted once."""
    total: dict[str, FieldCount] = defaultdict(FieldCount)
    for report in reports:
        for name, count in report.fields.items():
            total[name].have += count.have
            total[name].carried += count.carried
    console.print("\nOver all folders")
    for name, count in total.items():
        share = f"{count.have / count.carried:.1%}" if count.carried else "nowhere carried"
        console.print(f"  {name:<24}{count.have:>6} of {count.carried:<6} {share}")
    console.print("\nGaps (carried, not filled)")
    for report in reports:
        for name, count in report.fields.items():
            if count.gaps:
                console.print(f"  {report.name}: {name} on {len(count.gaps)} spans, as {count.gaps[0]}")
    console.print("\nOther values than those carried")
    for report in reports:
        for name, count in report.fields.items():
            if count.wrong:
                console.print(f"  {report.name}: {name} on {len(count.wrong)} spans, as {count.wrong[0]}")
    console.print("\nCarried by spans that are not held to be model or tool calls")
    for report in reports:
        for what, places in report.unseen.items():
            console.print(f"  {report.name}: {what} on {len(places)} spans, as {places[0]}")
    wrong = [report for report in reports if not report.counted_once]
    console.print("\nTokens counted twice, or not at all" if wrong else "\nEvery token is counted once")
    for report in wrong:
        for column, (counted, in_traces, distinct) in report.sums.items():
            console.print(
                f"  {report.name}: {column} on counted spans {counted}, in traces {in_traces}, sent {distinct}"
            )
        for double in report.doubles:
            console.print(f"  {report.name}: {double}")
    return not wrong


def folders(paths: Iterable[Path]) -> list[Path]:
    """Each path's folders of recordings: those directly below it, or itself."""
    found: list[Path] = []
    for path in paths:
        below = sorted(item for item in path.iterdir() if item.is_dir()) if path.is_dir() else []
        found += below or [path]
    return found


def main() -> None:
    """Examine what the command line names."""
    paths = [Path(name) for name in sys.argv[1:]]
    if not paths:
        raise SystemExit(__doc__)
    console = Console(width=max(160, Console().width), highlight=False)
    reports = [report for folder in folders(paths) if (report := examine(folder)).kinds]
    console.print(_kinds(reports))
    console.print(_table("\nModel calls: have/carried", reports, MODEL_FIELDS))
    console.print(_table("\nTool calls: have/carried", reports, TOOL_FIELDS))
    if not _summary(console, reports):
        raise SystemExit(1)


if __name__ == "__main__":
    main()
