"""A request is stored so that each trace is on one partition, and nothing of it is lost or changed."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from dimwatch.eventlog.partitioning import partition_of, partitions_of_traces
from ingest.otlp.admission import Piece
from ingest.otlp.outline import PIECE_BYTES
from ingest.otlp.signals import LOGS, METRICS, TRACES
from ingest.otlp.spread import spread

trace_ids = st.binary(min_size=16, max_size=16).filter(any)
shapes = st.lists(st.lists(st.lists(st.integers(0, 5), max_size=6), max_size=3), min_size=1, max_size=3)
"""The trace of each item, by resource and scope."""


def traces_request(shape: list[list[list[int]]], ids: list[bytes]) -> ExportTraceServiceRequest:
    request = ExportTraceServiceRequest()
    number = 0
    for r, scopes in enumerate(shape):
        resource = request.resource_spans.add(schema_url=f"resource {r}")
        resource.resource.attributes.add(key="r").value.int_value = r
        for s, items in enumerate(scopes):
            scope = resource.scope_spans.add(schema_url=f"scope {s}")
            scope.scope.name = f"scope {s}"
            for item in items:
                number += 1
                scope.spans.add(trace_id=ids[item], span_id=number.to_bytes(8, "big"), name=f"span {number}" * number)
    return request


def contents(request: Any) -> list[tuple[str, str, bytes, bytes]]:
    """Every span with the resource and the scope that it is in."""
    return [
        (resource.resource.SerializeToString(), scope.scope.SerializeToString() + scope.schema_url.encode(),
         span.trace_id, span.SerializeToString())
        for resource in request.resource_spans
        for scope in resource.scope_spans
        for span in scope.spans
    ]  # fmt: skip


@given(shape=shapes, ids=st.lists(trace_ids, min_size=6, max_size=6), partitions=st.integers(2, 20))
@settings(max_examples=60, deadline=None)
def test_every_span_is_on_the_partition_of_its_trace_as_it_was(
    shape: list[list[list[int]]], ids: list[bytes], partitions: int
) -> None:
    request = traces_request(shape, ids)
    wanted = contents(request)
    pieces = spread([Piece(request.SerializeToString(), b"")], TRACES, partitions)
    found: list[tuple[str, str, bytes, bytes]] = []
    for piece in pieces if wanted else ():
        part = contents(ExportTraceServiceRequest.FromString(piece.body))
        assert {partition_of(span[2].hex().encode(), partitions) for span in part} == {piece.partition}
        assert piece.key == part[0][2].hex().encode()
        found += part
    assert sorted(found) == sorted(wanted)
    assert len({piece.partition for piece in pieces}) == len(pieces)
    for trace in ids:  # in the order in which they came
        assert [span for span in found if span[2] == trace] == [span for span in wanted if span[2] == trace]


@given(ids=st.lists(trace_ids, min_size=1, max_size=50), partitions=st.integers(1, 1000))
def test_many_traces_at_once_go_where_each_goes_by_itself(ids: list[bytes], partitions: int) -> None:
    rows = np.frombuffer(b"".join(ids), np.uint8).reshape(-1, 16)
    found = partitions_of_traces(rows, partitions).tolist()
    assert found == [partition_of(trace.hex().encode(), partitions) for trace in ids]


@pytest.mark.parametrize(
    ("key", "of_12"),
    [(b"", 3), (b"foobar", 0), (b"0af7651916cd43dd8448eb211c80319c", 7)],
)
def test_keys_go_where_the_collector_puts_them(key: bytes, of_12: int) -> None:
    # FNV-1a: offset basis 0x811c9dc5 for the empty key, and 0xbf9cf968 for foobar (the published test vectors);
    # both are negative as signed numbers, whose remainder sarama takes without the sign.
    assert partition_of(key, 12) == of_12


def test_log_records_are_with_their_traces_and_others_with_the_first() -> None:
    request = ExportLogsServiceRequest()
    scope = request.resource_logs.add().scope_logs.add()
    traces = [bytes([n]) * 16 for n in range(1, 9)]
    scope.log_records.add(event_name="of no trace")
    for trace in traces:
        scope.log_records.add(event_name="of a trace", trace_id=trace).attributes.add(key="k")
    pieces = spread([Piece(request.SerializeToString(), b"")], LOGS, 5)
    assert len(pieces) > 1
    records = [
        (record.trace_id, piece.partition)
        for piece in pieces
        for record in ExportLogsServiceRequest.FromString(piece.body).resource_logs[0].scope_logs[0].log_records
    ]
    of = {trace: partition_of(trace.hex().encode(), 5) for trace in traces}
    assert sorted(records) == sorted([*of.items(), (b"", of[traces[0]])])


def test_what_is_of_no_trace_stays_as_it_is() -> None:
    request = ExportLogsServiceRequest()
    request.resource_logs.add().scope_logs.add().log_records.add(event_name="of no trace")
    logs = Piece(request.SerializeToString(), b"")
    assert spread([logs], LOGS, 4) == [logs]
    assert spread([Piece(b"metrics", b"")], METRICS, 4) == [Piece(b"metrics", b"")]
    assert spread([Piece(b"one partition", b"k")], TRACES, 1) == [Piece(b"one partition", b"k")]


def test_a_span_without_anything_in_it_is_passed_on() -> None:
    request = traces_request([[[0, 1]]], [b"\1" * 16, b"\2" * 16])
    scope = request.resource_spans.add().scope_spans.add()
    scope.spans.add()
    scope.spans.add()
    pieces = spread([Piece(request.SerializeToString(), b"")], TRACES, 12)
    found = [span for piece in pieces for span in contents(ExportTraceServiceRequest.FromString(piece.body))]
    assert sorted(found) == sorted(contents(request))


def test_pieces_of_a_large_request_are_gathered_by_partition() -> None:
    ids = [bytes([n]) * 16 for n in range(1, 41)]
    pieces = []
    for _ in range(8):
        request = traces_request([[list(range(40))]], ids)
        for span in request.resource_spans[0].scope_spans[0].spans:
            span.name = "x" * 20_000
        pieces.append(Piece(request.SerializeToString(), b""))
    found = spread(pieces, TRACES, 4)
    assert sum(len(piece.body) for piece in found) < sum(len(piece.body) for piece in pieces) + 4096
    assert all(len(piece.body) <= PIECE_BYTES for piece in found)
    assert len(found) <= 12  # 6.4 MB on 4 partitions, and not 8 times 4
