"""The stream processing as one object: OTLP requests in, records for the tables out.

The worker drives it from the eventlog and `replay` drives it from files; neither adds a rule of its own, so that
both find the same things.

A worker has a pipeline for each of its partitions, which take a step together: spans are made canonical and traces are
judged by columns, where a few cost nearly as much as many. What a pipeline gives is the same as if it went alone.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise, zip_longest
from typing import Final, NamedTuple, TypeVar

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import structlog

from detectors.traces.assembly import Assembler
from detectors.traces.batch import Rows, TraceBatch
from detectors.traces.chunks import Whole
from detectors.traces.closed import Closed
from detectors.traces.late import RecentTraces, Summed
from detectors.traces.stage import Judged, judge_traces
from detectors.traces.status import with_first_look
from dimwatch import canary
from dimwatch.clock import NS_PER_SECOND
from dimwatch.records import CANARY, JUDGED
from dimwatch.settings import MIB, Settings
from ingest.normalize import Request, empty_spans, normalize_spans
from ingest.normalize_logs import CONTENT, join_content, normalize_logs
from ingest.prices import Prices

_TOGETHER_BYTES: Final = 32 * MIB
"""What pipelines take in and judge together at most: memory grows with it, and beyond it nothing is gained."""

_Item = TypeVar("_Item")

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
    """Not thread-safe. `recoverable`: snapshots of the assembler will be taken. `prices`: those of the settings, where
    they are loaded."""

    def __init__(self, settings: Settings, *, recoverable: bool = False, prices: Prices | None = None) -> None:
        self.prices = prices or Prices.load(settings.prices.file)
        self.lateness_ns = int(settings.detection.lateness_s * NS_PER_SECOND)
        self.assembler = Assembler(settings.assembly, recoverable=recoverable)
        self.recent = RecentTraces(settings.assembly.max_judged_traces)

    def add(
        self, traces: Sequence[Request], logs: Sequence[Request], *, now_ns: int, record: int, again: bool = False
    ) -> Output:
        """Take a step alone; see `Step`."""
        (output,) = advance([Step(self, traces, logs, now_ns=now_ns, record=record, again=again)])
        return output

    def flush(self) -> Output:
        """Judge everything that is open: the input has ended."""
        output = Output()
        for over in _closed(self, self.assembler.flush(), output):
            _judge([over])
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
        self.recent.remember(Summed.of(traces.take(pa.array(rows, pa.int64())), ids))


@dataclass(slots=True)
class Step:
    """What a pipeline takes in at once: export requests, and how far record time is with them.

    `record` is a number that grows with the log; `now_ns` is record time. `again`: the requests were taken in before
    the last snapshot, and what they gave at once is known; only traces that were not judged by then still need them.
    """

    pipeline: Pipeline
    traces: Sequence[Request]
    logs: Sequence[Request]
    now_ns: int
    record: int
    again: bool = False


def advance(steps: Sequence[Step]) -> list[Output]:
    """Take steps of different pipelines, which have the same settings, together: what each gives.

    The spans that requests hold come back at once, as far as each speaks for itself. Traces that are over are judged.
    """
    outputs = [Output() for _ in steps]
    # What came before the last snapshot was told then, whatever is wrong with it.
    at_once = [Output() if step.again else output for step, output in zip(steps, outputs, strict=True)]
    over: list[list[_Over]] = []
    for number, (spans, whole) in enumerate(_arrived(steps, at_once)):
        over.append(_taken_in(steps[number], spans, whole, at_once[number], outputs[number]))
    # A trace that is over twice is judged first as a whole, then with what came late.
    for together in zip_longest(*over):
        found = [one for one in together if one is not None]
        for group in _groups(found, [one.closed.spans.nbytes for one in found]):
            _judge(group)
    return outputs


class _Over(NamedTuple):
    """Traces that are over, and where what comes of them goes."""

    pipeline: Pipeline
    output: Output
    closed: Closed


def _arrived(steps: Sequence[Step], outputs: Sequence[Output]) -> list[tuple[pa.Table, Whole | None]]:
    """Canonical spans of each step, and what they are a slice of."""
    found: list[tuple[pa.Table, Whole | None]] = []
    sizes = [sum(len(request.body) for request in step.traces) for step in steps]
    for group in _groups(list(zip(steps, outputs, strict=True)), sizes):
        requests = [(request, output) for step, output in group for request in step.traces]
        if not requests:
            found += [(empty_spans(), None)] * len(group)
            continue
        spans, number = _canonical(requests, group[0][0].pipeline.prices)
        if len(group) == 1:
            found.append((spans, None))
            continue
        whole = Whole.of(spans)
        bounds = np.searchsorted(number, np.cumsum([0, *(len(step.traces) for step, _ in group)])).tolist()
        found += [(spans.slice(first, last - first), whole) for first, last in pairwise(bounds)]
    return found


def _canonical(requests: Sequence[tuple[Request, Output]], prices: Prices) -> tuple[pa.Table, Rows]:
    """Canonical spans of requests, and the number of the request of each. A request that nothing can be made of is put
    aside, not the ones with it."""
    try:
        normalized = normalize_spans([request for request, _ in requests])
        spans = with_first_look(prices.with_cost(normalized.spans))
    except Exception as error:  # whatever telemetry does to us, the next request goes on
        if len(requests) == 1:
            ((request, output),) = requests
            _log.exception("request can not be processed")
            output.malformed.append((request, f"can not be processed: {error!r}"))
            return empty_spans(), np.empty(0, dtype=np.int64)
        middle = len(requests) // 2
        (first, of_first), (second, of_second) = (
            _canonical(part, prices) for part in (requests[:middle], requests[middle:])
        )
        return pa.concat_tables([first, second]), np.concatenate([of_first, of_second + middle])
    output_of = {id(request): output for request, output in requests} if normalized.malformed else {}
    for request, reason in normalized.malformed:
        output_of[id(request)].malformed.append((request, reason))
    for (number, reason), count in normalized.dropped.items():
        requests[number][1].dropped["spans", reason] += count
    return spans, normalized.request


def _content(requests: Sequence[Request], output: Output) -> pa.Table:
    """Content rows of log requests, with the same care."""
    try:
        content, malformed = normalize_logs(requests)
    except Exception as error:  # as above
        if len(requests) == 1:
            _log.exception("request can not be processed")
            output.malformed.append((requests[0], f"can not be processed: {error!r}"))
            return CONTENT.empty_table()
        middle = len(requests) // 2
        return pa.concat_tables([_content(part, output) for part in (requests[:middle], requests[middle:])])
    output.malformed += malformed
    return content


def _taken_in(step: Step, spans: pa.Table, whole: Whole | None, at_once: Output, output: Output) -> list[_Over]:
    """Hand what arrived to the assembler; the traces that are over by the end of the step, in the order in which they
    are to be judged."""
    assembler = step.pipeline.assembler
    content = _content(step.logs, at_once) if step.logs else None
    at_once.arrived = spans.num_rows
    kept = _without_canaries(spans, at_once)
    if step.again:
        kept = assembler.unjudged(kept)
        content = None if content is None else assembler.unjudged(content)
    elif kept.num_rows:
        output.spans.append(kept)
    if whole is not None and kept is not spans:  # but a copy
        whole.left -= spans.num_rows
        whole = None
    over: list[_Over] = []
    while (rest := assembler.add(kept, content, record=step.record, whole=whole)) is not None:
        over += _closed(step.pipeline, assembler.close(rest.close_ns), output)
        kept, content, whole = rest.spans, rest.content, None
    if step.again:
        assembler.dropped.clear()
    return over + _closed(step.pipeline, assembler.close(step.now_ns), output)


def _closed(pipeline: Pipeline, closed: Closed | None, output: Output) -> list[_Over]:
    for reason, count in pipeline.assembler.dropped.items():
        output.dropped["logs" if reason == "content_without_span" else "spans", reason] += count
    pipeline.assembler.dropped.clear()
    if closed is None:
        return []
    output.closed += closed.cause
    return [_Over(pipeline, output, closed)]


def _judge(over: Sequence[_Over]) -> None:
    """Judge traces together. One that nothing can be made of is counted and left out, not the ones with it."""
    try:
        found = _judged(over)
    except Exception:  # whatever telemetry does to us, the next trace goes on
        (_, output, closed), *others = over
        if not others and closed.traces == 1:
            _log.exception("trace can not be judged", spans=len(closed.rows))
            output.dropped["traces", "can_not_be_judged"] += 1
            return
        middle = len(over) // 2
        parts = (
            (over[:middle], over[middle:]) if others else ([over[0]._replace(closed=half)] for half in closed.halves())
        )
        for part in parts:
            _judge(part)
        return
    for (pipeline, output, _), (judged, summed) in zip(over, found, strict=True):
        pipeline.recent.remember(summed)
        output.observations.append(judged.observations)
        output.traces.append(summed.traces)
        output.points.append(judged.points)
        output.sightings.append(judged.sightings)
        if judged.corrected_spans.num_rows:
            output.spans.append(judged.corrected_spans)


def _judged(over: Sequence[_Over]) -> list[tuple[Judged, Summed]]:
    """What comes of the traces of each, and their rows as they are to be written."""
    pipeline = over[0].pipeline
    closed = [_with_content(one.closed, pipeline.prices) for one in over]
    traces = [one.traces for one in closed]
    first_row = np.cumsum([0, *(one.spans.num_rows for one in closed)]).tolist()
    first = np.cumsum([0, *traces]).tolist()
    batch = TraceBatch(
        pa.concat_tables([one.spans for one in closed]) if len(closed) > 1 else closed[0].spans,
        np.concatenate([one.rows + at for one, at in zip(closed, first_row, strict=False)]),
        np.concatenate([one.trace + at for one, at in zip(closed, first, strict=False)]),
        np.concatenate([one.late for one in closed]),
        np.concatenate([one.forced for one in closed]),
    )
    due_ns = np.concatenate([one.due_ns for one in closed])
    owner = np.repeat(np.arange(len(over)), traces)
    judged = judge_traces(batch, due_ns, owner, pipeline.prices.with_cost, pipeline.lateness_ns)
    found = []
    for (one, _, own), mine, (begin, end) in zip(over, judged, pairwise(first), strict=True):
        bounds = batch.first[begin : end + 1]
        ids = batch.span_numbers[bounds[0] : bounds[-1]].copy()
        found.append((mine, one.recent.complete(Summed(mine.traces, ids, bounds - bounds[0]), own.late)))
    return found


def _with_content(closed: Closed, prices: Prices) -> Closed:
    """Spans with what log events say of them, looked at and priced anew."""
    if closed.content is None:
        return closed
    spans = closed.spans.take(pa.array(closed.rows))
    joined = join_content(spans, closed.content, pa.array(closed.due_ns[closed.trace] + JUDGED))
    return replace(
        closed, spans=with_first_look(prices.with_cost(joined)), rows=np.arange(len(closed.rows)), content=None
    )


def _without_canaries(spans: pa.Table, output: Output) -> pa.Table:
    """The spans that are telemetry of somebody's."""
    ours = pc.equal(spans["service"], canary.SERVICE)
    if not pc.any(ours).as_py():
        return spans
    found = spans.filter(ours)
    columns = [found[name] for name in ("tenant", "trace_id", "start_time", "received_time", "version")]
    output.canaries.append(pa.table(columns, schema=CANARY))
    return spans.filter(pc.invert(ours))


def _groups(items: Sequence[_Item], sizes: Sequence[int]) -> Iterator[list[_Item]]:
    """Neighbours of which the sizes are not too much together; one may be so alone."""
    group: list[_Item] = []
    held = 0
    for item, size in zip(items, sizes, strict=True):
        if group and held + size > _TOGETHER_BYTES:
            yield group
            group, held = [], 0
        group.append(item)
        held += size
    if group:
        yield group
