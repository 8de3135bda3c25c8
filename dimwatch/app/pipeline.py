"""The stream processing as one object: OTLP requests in, records for the tables out.

The worker drives it from the eventlog and `replay` drives it from files; neither adds a rule of its own, so that
both find the same things.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import structlog

from detectors.traces.assembly import Assembler, Closed
from detectors.traces.batch import TraceBatch
from detectors.traces.late import RecentTraces
from detectors.traces.stage import judge_traces
from detectors.traces.status import with_first_look
from dimwatch import canary
from dimwatch.clock import NS_PER_SECOND
from dimwatch.records import CANARY, JUDGED
from dimwatch.settings import Settings
from ingest.normalize import Request, empty_spans, normalize_spans
from ingest.normalize_logs import CONTENT, join_content, normalize_logs
from ingest.prices import Prices

_log = structlog.get_logger()


@dataclass(slots=True)
class Output:
    """What one step gives. Spans come twice: as they arrive, and again where the whole trace says more."""

    arrived: int = 0
    """Spans that the step took in."""
    spans: list[pa.Table] = field(default_factory=list)
    traces: list[pa.Table] = field(default_factory=list)
    observations: list[pa.Table] = field(default_factory=list)
    points: list[pa.Table] = field(default_factory=list)
    sightings: list[pa.Table] = field(default_factory=list)
    """What the judged traces add to the windows of the fleet: parts, to be merged."""
    canaries: list[pa.Table] = field(default_factory=list)
    """Dimwatch's own spans, which are part of nothing else."""
    malformed: list[tuple[Request, str]] = field(default_factory=list)
    dropped: Counter[tuple[str, str]] = field(default_factory=Counter)
    """(signal, reason) to count."""
    closed: Counter[str] = field(default_factory=Counter)
    """Closed traces by cause."""


class Pipeline:
    """Not thread-safe. `record` is a number that grows with the log; `now_ns` is record time.

    `recoverable`: snapshots of the assembler will be taken. `prices`: those of the settings, where they are loaded.
    """

    def __init__(self, settings: Settings, *, recoverable: bool = False, prices: Prices | None = None) -> None:
        self._prices = prices or Prices.load(settings.prices.file)
        self._recent = RecentTraces()
        self._lateness_ns = int(settings.detection.lateness_s * NS_PER_SECOND)
        self.assembler = Assembler(settings.assembly, recoverable=recoverable)

    def add(
        self, traces: Sequence[Request], logs: Sequence[Request], *, now_ns: int, record: int, again: bool = False
    ) -> Output:
        """Take in export requests, and judge the traces that are over at `now_ns`.

        The spans that the requests hold come back at once, as far as each speaks for itself. `again`: the requests
        were taken in before the last snapshot, and what they gave at once is known; only traces that were not judged
        by then still need them.
        """
        output = Output()
        content = self._content(logs, output) if logs else None
        spans = self._arrived(traces, output) if traces else empty_spans()
        output.arrived = spans.num_rows
        spans = _without_canaries(spans, output)
        if again:
            output = Output()
            spans = self.assembler.unjudged(spans)
            content = None if content is None else self.assembler.unjudged(content)
        elif spans.num_rows:
            output.spans.append(spans)
        while (rest := self.assembler.add(spans, content, record=record)) is not None:
            self._judge(self.assembler.close(rest.close_ns), output)
            spans, content, _ = rest
        if again:
            self.assembler.dropped.clear()
        self._judge(self.assembler.close(now_ns), output)
        return output

    def flush(self) -> Output:
        """Judge everything that is open: the input has ended."""
        output = Output()
        self._judge(self.assembler.flush(), output)
        return output

    def remember(self, traces: pa.Table) -> None:
        """Take up trace rows that were written before a restart, for late spans to be added to: only those of the
        last time that the trace was judged before the snapshot."""
        rows, ids = [], []
        names = zip(traces["trace_id"].to_pylist(), traces["version"].to_pylist(), strict=True)
        for row, (trace_id, version) in enumerate(names):
            past = self.assembler.judged(trace_id)
            if past is not None and past.until_ns + JUDGED == version:
                rows.append(row)
                ids.append(np.frombuffer(past.ids, dtype=np.uint64))
        self._recent.remember(traces.take(pa.array(rows, pa.int64())), ids)

    def _arrived(self, requests: Sequence[Request], output: Output) -> pa.Table:
        """Canonical spans of requests. A request that nothing can be made of is put aside, not the ones with it."""
        try:
            normalized = normalize_spans(requests)
            spans = with_first_look(self._prices.with_cost(normalized.spans))
        except Exception as error:  # whatever telemetry does to us, the next request goes on
            if len(requests) == 1:
                _log.exception("request can not be processed")
                output.malformed.append((requests[0], f"can not be processed: {error!r}"))
                return empty_spans()
            middle = len(requests) // 2
            parts = (requests[:middle], requests[middle:])
            return pa.concat_tables([self._arrived(part, output) for part in parts])
        output.malformed += normalized.malformed
        for reason, count in normalized.dropped.items():
            output.dropped["spans", reason] += count
        return spans

    def _content(self, requests: Sequence[Request], output: Output) -> pa.Table:
        """Content rows of log requests, with the same care."""
        try:
            content, malformed = normalize_logs(requests)
        except Exception as error:  # as above
            if len(requests) == 1:
                _log.exception("request can not be processed")
                output.malformed.append((requests[0], f"can not be processed: {error!r}"))
                return CONTENT.empty_table()
            middle = len(requests) // 2
            parts = (requests[:middle], requests[middle:])
            return pa.concat_tables([self._content(part, output) for part in parts])
        output.malformed += malformed
        return content

    def _judge(self, closed: Closed | None, output: Output) -> None:
        if closed is not None:
            output.closed += closed.cause
            self._judge_part(closed, output)
        for reason, count in self.assembler.dropped.items():
            output.dropped["logs" if reason == "content_without_span" else "spans", reason] += count
        self.assembler.dropped.clear()

    def _judge_part(self, closed: Closed, output: Output) -> None:
        """Judge traces. One that nothing can be made of is counted and left out, not the ones with it."""
        try:
            spans, rows = closed.spans, closed.rows
            if closed.content is not None:
                spans = self._joined(
                    spans.take(pa.array(rows)), closed.content, pa.array(closed.due_ns[closed.trace] + JUDGED)
                )
                rows = np.arange(len(rows))
            batch = TraceBatch(spans, rows, closed.trace, closed.late, closed.forced)
            judged = judge_traces(batch, closed.due_ns, self._prices.with_cost, self._lateness_ns)
            traces = self._recent.complete(judged.traces, batch)
        except Exception:  # whatever telemetry does to us, the next trace goes on
            if closed.traces == 1:
                _log.exception("trace can not be judged", spans=len(closed.rows))
                output.dropped["traces", "can_not_be_judged"] += 1
                return
            for part in closed.halves():
                self._judge_part(part, output)
            return
        output.observations.append(judged.observations)
        output.traces.append(traces)
        output.points.append(judged.points)
        output.sightings.append(judged.sightings)
        if judged.corrected_spans.num_rows:
            output.spans.append(judged.corrected_spans)

    def _joined(self, spans: pa.Table, content: pa.Table, version: pa.Array) -> pa.Table:
        """Spans with what log events say of them, looked at and priced anew."""
        return with_first_look(self._prices.with_cost(join_content(spans, content, version)))


def _without_canaries(spans: pa.Table, output: Output) -> pa.Table:
    """The spans that are telemetry of somebody's."""
    ours = pc.equal(spans["service"], canary.SERVICE)
    if not pc.any(ours).as_py():
        return spans
    found = spans.filter(ours)
    columns = [found[name] for name in ("tenant", "trace_id", "start_time", "received_time", "version")]
    output.canaries.append(pa.table(columns, schema=CANARY))
    return spans.filter(pc.invert(ours))
