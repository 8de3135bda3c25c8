"""Requests for load tests: valid, whole, and no id twice."""

from __future__ import annotations

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from dimwatch.simulate.load import LoadPool
from dimwatch.simulate.models import NS

NOW = 1_770_000_000 * NS


def _spans(body: bytes) -> list[Span]:
    request = ExportTraceServiceRequest.FromString(body)
    return [span for resource in request.resource_spans for scope in resource.scope_spans for span in scope.spans]


def test_ids_are_distinct_over_many_requests() -> None:
    pool = LoadPool(100)
    spans = [span for _ in range(30) for span in _spans(pool.request(NOW)[0])]
    assert len({span.span_id for span in spans}) == len(spans)


def test_requests_hold_whole_traces_that_end_now() -> None:
    pool = LoadPool(100)
    for moment in (NOW, NOW + 5 * NS):
        body, count = pool.request(moment)
        spans = _spans(body)
        by_id = {span.span_id: span for span in spans}
        assert len(spans) == count >= 100
        assert max(span.end_time_unix_nano for span in spans) == moment
        for span in spans:
            assert span.start_time_unix_nano < span.end_time_unix_nano
            assert not span.parent_span_id or by_id[span.parent_span_id].trace_id == span.trace_id


def test_spans_are_of_about_one_kilobyte() -> None:
    assert 900 < LoadPool(512).bytes_per_span < 1_200


def test_seed_and_time_give_the_same_requests() -> None:
    first, second = LoadPool(64, seed=3), LoadPool(64, seed=3)
    assert [first.request(NOW) for _ in range(5)] == [second.request(NOW) for _ in range(5)]
