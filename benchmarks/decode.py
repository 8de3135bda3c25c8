"""Decode to observations on one core: OTLP bytes in, span rows, traces and observations out."""

from __future__ import annotations

import gc
import resource
import time
from collections.abc import Iterator

import pyarrow as pa

from benchmarks.figures import Figure
from dimwatch.app.pipeline import Pipeline
from dimwatch.clock import NS_PER_SECOND
from dimwatch.settings import Settings
from dimwatch.simulate.load import LoadPool
from ingest.normalize import Request

_REQUESTS_A_STEP = 24
_SPANS_A_REQUEST = 512
_STEPS = 24
_START_NS = 1_760_000_000 * NS_PER_SECOND


def run() -> Iterator[Figure]:
    """Feed the pipeline as the worker does, a second of record time a step, and take processor time."""
    pa.set_cpu_count(1)
    pa.set_io_thread_count(1)
    load = LoadPool(_SPANS_A_REQUEST)
    steps = [
        [
            Request(load.request(_START_NS + step * NS_PER_SECOND)[0], _START_NS + step * NS_PER_SECOND)
            for _ in range(_REQUESTS_A_STEP)
        ]
        for step in range(_STEPS)
    ]
    pipeline = Pipeline(Settings())
    spans = observations = traces = 0
    warm = _STEPS // 3
    started = 0.0
    for number, requests in enumerate(steps):
        if number == warm:
            gc.collect()
            spans = 0
            started = time.process_time()
        output = pipeline.add(requests, (), now_ns=requests[0].received_ns, record=number)
        spans += output.arrived
        traces += sum(table.num_rows for table in output.traces)
        observations += sum(table.num_rows for table in output.observations)
    seconds = time.process_time() - started
    yield Figure("decode_to_observations_spans_per_s_core", spans / seconds, "spans/s")
    yield Figure("decode_bytes_per_span", load.bytes_per_span, "B")
    yield Figure("decode_resident_memory", resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, "MiB")
