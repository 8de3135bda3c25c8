"""What waits for the eventlog at the same time is appended together, and each request gets its own answer."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from dimwatch import records
from dimwatch.errors import BackpressureError, InvalidError
from dimwatch.eventlog.base import Batch, Record
from dimwatch.eventlog.memory import MemoryEventLog
from ingest.otlp.admission import Admitted, Piece
from ingest.otlp.commits import Commits, Prepared, together
from ingest.otlp.outline import PIECE_BYTES
from ingest.otlp.signals import LOGS, TRACES


class Held:
    """Appends to a log, the first time only when it is let; refuses records that say so."""

    def __init__(self) -> None:
        self.log = MemoryEventLog(partitions=4)
        self.begun, self.let = threading.Event(), threading.Event()
        self.groups: list[int] = []

    def append(self, batch: Batch) -> None:
        self.begun.set()
        assert self.let.wait(20)
        self.groups.append(sum(map(len, batch.values())))
        for record in (record for found in batch.values() for record in found):
            if b"full" in record.value:
                raise BackpressureError("full")
            if b"refused" in record.value:
                raise InvalidError("refused")
        self.log.append(batch)

    def stored(self) -> list[Record]:
        consumer = self.log.consumer("test", [records.OTLP_SPANS])
        return consumer.poll(max_records=1000, max_bytes=1 << 30, timeout_s=0)


def prepared(*names: str, partition: int | None = 0, now_ns: int = 1) -> Prepared:
    request = ExportTraceServiceRequest()
    scope = request.resource_spans.add().scope_spans.add()
    for name in names:
        scope.spans.add(name=name)
    piece = Piece(request.SerializeToString(), names[0].encode(), partition)
    return Prepared(TRACES, now_ns, Admitted([piece], len(names)))


def names(value: bytes) -> list[str]:
    request = ExportTraceServiceRequest.FromString(value)
    return [span.name for r in request.resource_spans for s in r.scope_spans for span in s.spans]


@contextmanager
def waiting(held: Held, *requests: Prepared) -> Iterator[dict[int, Exception | None]]:
    """The answers to requests, by number, all but the first of which were ready while that was being appended."""
    answers: dict[int, Exception | None] = {}
    commits = Commits(lambda group: held.append(together(group)))
    for number, request in enumerate(requests):
        commits.submit(request, partial(answers.__setitem__, number))
        assert held.begun.wait(20)
    assert not answers, "nothing is answered before it is durable"
    held.let.set()
    commits.close()
    yield answers


def test_what_is_ready_while_an_append_is_on_its_way_is_one_record_a_partition() -> None:
    held = Held()
    requests = [prepared(f"{n}a", f"{n}b", partition=n % 2, now_ns=n) for n in range(7)]
    with waiting(held, *requests) as answers:
        assert answers == dict.fromkeys(range(7))
    assert held.groups == [1, 2]
    by_partition: dict[int, list[str]] = {}
    stored = held.stored()
    assert max(record.timestamp_ns for record in stored) == 6
    for record in stored:
        assert records.HEADER_ADMITTED in record.headers
        by_partition.setdefault(record.partition, []).extend(names(record.value))
    assert by_partition == {
        0: ["0a", "0b", "2a", "2b", "4a", "4b", "6a", "6b"],
        1: ["1a", "1b", "3a", "3b", "5a", "5b"],
    }


@pytest.mark.parametrize(("word", "others"), [("refused", None), ("full", BackpressureError)])
def test_only_a_log_that_takes_no_more_refuses_all_that_wait(word: str, others: type[Exception] | None) -> None:
    held = Held()
    with waiting(held, prepared("first"), prepared("a"), prepared(word), prepared("b")) as answers:
        assert answers[0] is None
        assert isinstance(answers[2], InvalidError if others is None else others)
        for number in (1, 3):
            assert answers[number] is None if others is None else isinstance(answers[number], others)
    stored = [name for record in held.stored() for name in names(record.value)]
    assert stored == (["first", "a", "b"] if others is None else ["first"])


def test_records_stay_small_and_what_has_no_partition_stays_with_its_key() -> None:
    large = [prepared("x" * (PIECE_BYTES // 3), partition=1) for _ in range(5)]
    found = together(
        [*large, prepared("k", partition=None), prepared("k", partition=None), prepared("l", partition=None)]
    )
    sizes = [len(record.value) for record in found[records.OTLP_SPANS]]
    assert max(sizes) <= PIECE_BYTES
    assert [(record.partition, record.key) for record in found[records.OTLP_SPANS]][-2:] == [(None, b"k"), (None, b"l")]
    assert len(sizes) == 5


def test_signals_are_apart() -> None:
    logs = Prepared(LOGS, 1, Admitted([Piece(b"", b"", 0)]))
    assert set(together([prepared("a"), logs])) == {records.OTLP_SPANS, records.OTLP_LOGS}
