"""Both doors of the collector, served in this process on free ports."""

from __future__ import annotations

import asyncio
import contextlib
import os
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from dimwatch import records
from dimwatch.app.collector import Doors, serving
from dimwatch.clock import SystemClock
from dimwatch.eventlog.base import EventLog, Record
from dimwatch.eventlog.memory import MemoryEventLog
from dimwatch.settings import Receiver, Settings


@dataclass
class Collector:
    """A collector that serves, and what it has stored."""

    doors: Doors
    eventlog: EventLog
    _stored: list[Record] = field(default_factory=list)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.doors.http_port}"

    @property
    def grpc(self) -> str:
        return f"127.0.0.1:{self.doors.grpc_port}"

    def stored(self, topic: str = records.OTLP_SPANS) -> list[Record]:
        """Everything on a topic so far."""
        consumer = self.eventlog.consumer(f"test-{os.urandom(4).hex()}", [topic])
        try:
            return consumer.poll(max_records=10_000, max_bytes=1 << 30, timeout_s=0)
        finally:
            consumer.close()

    def drops(self) -> dict[tuple[str, str], int]:
        """Drops by (signal, reason)."""
        found: dict[tuple[str, str], int] = {}
        for record in self.stored(records.DROPS):
            for row in records.decode(record.value).to_pylist():
                key = (row["signal"], row["reason"])
                found[key] = found.get(key, 0) + row["count"]
        return found


Serve = Callable[..., contextlib.AbstractContextManager[Collector]]


@pytest.fixture
def serve(tmp_path: Path) -> Serve:
    """Start a collector: `with serve(token=...) as collector`."""

    @contextlib.contextmanager
    def start(eventlog: EventLog | None = None, **receiver: object) -> Iterator[Collector]:
        settings = Settings(
            data=tmp_path, receiver=Receiver.model_validate({"grpc_port": 0, "http_port": 0, **receiver})
        )
        log = MemoryEventLog() if eventlog is None else eventlog
        doors: Future[Doors] = Future()
        stop: Future[tuple[asyncio.AbstractEventLoop, asyncio.Event]] = Future()

        async def main() -> None:
            event = asyncio.Event()
            stop.set_result((asyncio.get_running_loop(), event))
            try:
                async with serving(settings, log, SystemClock()) as opened:
                    doors.set_result(opened)
                    await event.wait()
            except BaseException as error:
                if doors.done():
                    raise
                doors.set_exception(error)

        thread = threading.Thread(target=asyncio.run, args=(main(),))
        thread.start()
        try:
            yield Collector(doors.result(timeout=60), log)
        finally:
            loop, event = stop.result(timeout=60)
            if thread.is_alive():
                loop.call_soon_threadsafe(event.set)
            thread.join(timeout=60)
            assert not thread.is_alive()

    return start


@pytest.fixture
def collector(serve: Serve) -> Iterator[Collector]:
    """A collector with default settings."""
    with serve() as started:
        yield started


MakeRequest = Callable[..., ExportTraceServiceRequest]


@pytest.fixture
def make_request() -> MakeRequest:
    """Build a request of sound spans."""

    def build(spans: int = 1, text: str = "hello") -> ExportTraceServiceRequest:
        request = ExportTraceServiceRequest()
        scope = request.resource_spans.add().scope_spans.add()
        now = time.time_ns()  # noqa: TID251 - these stand for a sender
        for _ in range(spans):
            span = scope.spans.add(trace_id=os.urandom(16), span_id=os.urandom(8), name="chat")
            span.start_time_unix_nano, span.end_time_unix_nano = now - 1_000, now
            span.attributes.add(key="content").value.string_value = text
        return request

    return build
