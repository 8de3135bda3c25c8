"""Spans to traces: whatever the order of arrival, the batches and the restarts, the same traces come out."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from detectors.traces import checkpoint
from detectors.traces.assembly import Assembler
from detectors.traces.closed import Closed
from dimwatch.clock import NS_PER_SECOND as S
from dimwatch.settings import MIB, Assembly

SETTINGS = Assembly(linger_s=6.0, idle_s=60.0, max_idle_s=600.0)
START = 1_760_000_000 * S
CONTENT = pa.schema([("trace_id", pa.string()), ("span_id", pa.string()), ("received_time", pa.timestamp("ns", "UTC"))])
SPANS = pa.schema([*CONTENT, ("parent_span_id", pa.string()), ("service", pa.string())])
"""What the assembler looks at."""
Part = tuple[str, frozenset[str], bool, int, int]
"""A trace that was handed out: its id, its spans, whether they came late, its content rows, when it was over."""


@dataclass(frozen=True)
class Arrival:
    """One record: a span, or what a log event says of one."""

    at: int  # ns since START
    trace: str
    span: str
    root: bool = False
    service: str = "shop"
    content: bool = False


def tables(arrivals: Sequence[Arrival]) -> tuple[pa.Table, pa.Table]:
    rows: dict[bool, list[dict[str, object]]] = {False: [], True: []}
    for arrival in arrivals:
        row = {"trace_id": arrival.trace, "span_id": arrival.span, "received_time": START + arrival.at}
        row |= (
            {} if arrival.content else {"parent_span_id": "" if arrival.root else "f" * 16, "service": arrival.service}
        )
        rows[arrival.content].append(row)
    return pa.Table.from_pylist(rows[False], SPANS), pa.Table.from_pylist(rows[True], CONTENT)


def parts(closed: Closed | None) -> list[Part]:
    if closed is None:
        return []
    of_trace: dict[int, list[tuple[str, str]]] = defaultdict(list)
    ids = zip(
        *(closed.spans[name].take(pa.array(closed.rows)).to_pylist() for name in ("trace_id", "span_id")), strict=True
    )
    for number, (trace, span) in zip(closed.trace.tolist(), ids, strict=True):
        of_trace[number].append((trace, span))
    assert sorted(of_trace) == list(range(closed.traces)), "every trace has spans"
    told = closed.content["trace_id"].to_pylist() if closed.content is not None else []
    return [
        (
            rows[0][0],
            frozenset(span for _, span in rows),
            bool(closed.late[number]),
            told.count(rows[0][0]),
            int(closed.due_ns[number]) - START,
        )
        for number, rows in of_trace.items()
    ]


class Run:
    """What the worker does with records, reduced to the assembler."""

    def __init__(self, options: Assembly = SETTINGS) -> None:
        self.assembler = Assembler(options, recoverable=True)
        self.parts: list[Part] = []

    def feed(self, arrivals: Sequence[Arrival], record: int, *, again: bool = False) -> None:
        spans, content = tables(arrivals)
        if again:
            spans, content = self.assembler.unjudged(spans), self.assembler.unjudged(content)
        while (rest := self.assembler.add(spans, content, record=record)) is not None:
            self.parts += parts(self.assembler.close(rest.close_ns))
            spans, content, _ = rest
        self.parts += parts(self.assembler.close(START + max(arrival.at for arrival in arrivals)))

    def finish(self) -> list[Part]:
        self.parts += parts(self.assembler.close(1 << 62))
        return self.parts


def undisturbed(arrivals: Sequence[Arrival], options: Assembly = SETTINGS) -> list[Part]:
    """One record at a time."""
    run = Run(options)
    for number, arrival in enumerate(arrivals):
        run.feed([arrival], number)
    return run.finish()


@st.composite
def arrival_lists(draw: st.DrawFn) -> list[Arrival]:
    """A few traces in order of record time: doubles, late ones, several roots or none, log events."""
    count = draw(st.integers(1, 25))
    gaps = st.sampled_from([1, 1, S // 10, S, 5 * S, 6 * S, 7 * S, 50 * S, 61 * S, 150 * S, 181 * S])
    at = 0
    arrivals = []
    for _ in range(count):
        at += draw(gaps)  # no two records of one moment
        trace = draw(st.sampled_from(["a", "b", "c"])) * 32
        span = f"{draw(st.integers(1, 12)):016x}"
        root, content = draw(st.integers(0, 5)) == 0, draw(st.integers(0, 4)) == 0
        arrivals.append(Arrival(at, trace, span, root, draw(st.sampled_from(["shop", "desk"])), content))
    return arrivals


def batches(arrivals: Sequence[Arrival], cuts: Iterable[int]) -> list[Sequence[Arrival]]:
    bounds = sorted({0, len(arrivals), *(cut % (len(arrivals) + 1) for cut in cuts)})
    return [arrivals[begin:end] for begin, end in pairwise(bounds)]


@given(arrival_lists(), st.lists(st.integers(0, 30), max_size=6))
@settings(max_examples=150, deadline=None)
def test_batches_make_no_difference(arrivals: list[Arrival], cuts: list[int]) -> None:
    run = Run()
    for number, batch in enumerate(batches(arrivals, cuts)):
        run.feed(batch, number)
    assert sorted(map(repr, run.finish())) == sorted(map(repr, undisturbed(arrivals)))


@given(st.data())
@settings(max_examples=50, deadline=None)
def test_any_order_of_arrival_gives_whole_traces(data: st.DataObject) -> None:
    wanted = {
        letter * 32: {f"{number:016x}" for number in range(1, data.draw(st.integers(2, 8)))} | {f"{99:016x}"}
        for letter in "abcd"
    }
    events = [(trace, span) for trace, spans in wanted.items() for span in sorted(spans)]
    order = data.draw(st.permutations(events))
    steps = data.draw(st.lists(st.sampled_from([1, S // 100, S // 10]), min_size=len(order), max_size=len(order)))
    arrivals = [
        Arrival(int(at), trace, span, root=span == f"{99:016x}")
        for (trace, span), at in zip(order, np.cumsum(steps).tolist(), strict=True)
    ]
    found = undisturbed(arrivals)
    assert {trace: spans for trace, spans, *_ in found} == wanted
    assert len(found) == len(wanted)


@given(
    arrival_lists(),
    st.lists(st.integers(0, 30), max_size=6),
    st.lists(st.integers(0, 30), max_size=6),
    st.integers(0, 6),
    st.integers(0, 6),
    st.integers(0, 200),
)
@settings(max_examples=250, deadline=None)
def test_a_restart_makes_no_difference(
    arrivals: list[Arrival], cuts: list[int], later_cuts: list[int], at: int, lost: int, park_s: int
) -> None:
    """A checkpoint after some batches, some more that are forgotten in a crash, and the log read again.

    Waits are not learned here: what judged traces taught in the records that are read again is not learned twice.
    """
    fixed = SETTINGS.model_copy(update={"max_idle_s": SETTINGS.idle_s})
    first = Run(fixed)
    done = batches(arrivals, cuts)
    snapped = at % (len(done) + 1)
    for number, batch in enumerate(done[:snapped]):
        first.feed(batch, number)
    began = {number: batch[0].at for number, batch in enumerate(done[:snapped])}
    now = max((arrival.at for batch in done[:snapped] for arrival in batch), default=0)
    young = next((number for number, start in began.items() if start >= now - park_s * S), snapped)
    oldest = first.assembler.oldest_record(since=young)
    base = snapped if oldest is None else oldest
    value = checkpoint.encode(first.assembler.snapshot(base, 0), {})
    known = list(first.parts)
    for number, batch in enumerate(done[snapped : snapped + lost], snapped):
        first.feed(batch, number)  # what comes of it is written, and written again below
    written = set(first.parts)

    second = Run(fixed)
    second.assembler.restore(checkpoint.read(value)[0])
    before, offset = sum(map(len, done[:base])), sum(map(len, done[:snapped]))
    number = 0
    for again, region in ((True, arrivals[before:offset]), (False, arrivals[offset:])):
        for batch in batches(region, later_cuts) if region else []:
            second.feed(batch, number, again=again)
            number += 1
    expected = set(undisturbed(arrivals, fixed))
    assert set(known) | set(second.finish()) == expected
    assert written <= expected


def test_what_comes_again_after_its_trace_was_judged_is_no_news() -> None:
    first = Arrival(0, "a" * 32, f"{1:016x}", root=True)
    second = Arrival(S, "a" * 32, f"{2:016x}")
    again = Arrival(60 * S, first.trace, first.span, root=True)
    news = Arrival(60 * S, first.trace, f"{3:016x}")
    assert [part[1:3] for part in undisturbed([first, second, again])] == [
        (frozenset({first.span, second.span}), False)
    ]
    assert [part[1:3] for part in undisturbed([first, second, again, news])] == [
        (frozenset({first.span, second.span}), False),
        (frozenset({news.span}), True),
    ]


def test_log_events_without_a_span_are_counted_and_make_no_trace() -> None:
    run = Run()
    run.feed([Arrival(0, "a" * 32, "1" * 16, content=True), Arrival(0, "b" * 32, "2" * 16, root=True)], 0)
    assert [part[0] for part in run.finish()] == ["b" * 32]
    assert run.assembler.dropped["content_without_span"] == 1


def test_the_wait_for_a_root_is_learned_from_the_service() -> None:
    def slow(trace: str, at: int) -> list[Arrival]:
        return [Arrival(at, trace, "1" * 16), Arrival(at + 50 * S, trace, "2" * 16)]

    # Three times the longest gap: the third span comes in time where it would not have otherwise.
    late = Arrival(190 * S, "a" * 32, "3" * 16)
    assert len(undisturbed([*slow("a" * 32, 0), late])) == 1
    assert len(undisturbed([Arrival(50 * S, "a" * 32, "2" * 16), late])) == 2


def test_too_many_spans_of_one_trace_are_counted() -> None:
    run = Run(SETTINGS.model_copy(update={"max_trace_spans": 10}))
    for number in range(4):
        batch = [Arrival(number * S, "a" * 32, f"{4 * number + place:016x}") for place in range(1, 5)]
        run.feed(batch, number)
    (trace,) = run.finish()
    assert len(trace[1]) == 10
    assert run.assembler.dropped["trace_too_long"] == 6


@pytest.mark.parametrize("limit", ["traces", "bytes"])
def test_open_traces_are_bounded_and_none_is_lost(limit: str) -> None:
    bound = {"max_open_traces": 1_000} if limit == "traces" else {"max_open_bytes": MIB // 4}
    run = Run(SETTINGS.model_copy(update=bound))
    most = 0
    for number in range(20):
        run.feed([Arrival(number, f"{number:016x}{place:016x}", "1" * 16) for place in range(500)], number)
        most = max(most, run.assembler.open_traces)
        assert run.assembler.open_bytes <= (MIB // 4 if limit == "bytes" else 1 << 40)
    assert most <= (1_000 if limit == "traces" else 5_000)
    assert len({part[0] for part in run.finish()}) == 10_000


def test_a_checkpoint_names_every_judged_trace_whose_records_come_again() -> None:
    count = 50_200  # more than are named for the sake of what comes late
    ids = pa.array([f"{number:032x}" for number in range(count)])
    received = pa.array(START + np.arange(count)).cast(SPANS.field("received_time").type)
    spans = pa.table([ids, pa.repeat("a" * 16, count), received, pa.repeat("", count), pa.repeat("s", count)], SPANS)
    assembler = Assembler(SETTINGS, recoverable=True)
    assembler.add(spans, record=0)
    closed = assembler.close(START + 60 * S)
    assert closed is not None
    assert closed.traces == count
    for since_ns, named in ((START, count), (START + 100, count - 100), (START + 60 * S, 50_000)):
        judged = assembler.snapshot(1, since_ns).judged
        assert judged.num_rows == named
        assert f"{count - 1:032x}" in judged["trace_id"].to_pylist()
