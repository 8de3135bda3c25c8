"""A sender that knows what it sent: every span and log record that was acknowledged, and the requests themselves."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from dimwatch.clock import NS_PER_SECOND
from dimwatch.simulate.export import Export
from dimwatch.simulate.fleet import Fleet
from dimwatch.simulate.load import LoadPool
from dimwatch.simulate.scenario import Effect, Kind, Scenario
from dimwatch.simulate.send import Delivery, GrpcSender, HttpSender, Sender

SpanKey = tuple[str, str]
"""Trace id and span id, hexadecimal."""

_LOAD_SPANS: Final = 256
_CONNECTIONS: Final = 8
_PROVIDER: Final = "openai"
_OUTAGE: Final = (0.1, 0.6)
"""Of the time."""


def traffic(
    start_ns: int, seconds: float, *, traces_per_s: float, load_spans_per_s: float = 0.0, outage: bool = False
) -> list[Export]:
    """Requests of a fleet with faults, spread over spans and logs as SDKs batch them, and plain load between.

    `outage`: for half of the time nearly all calls to a provider fail.
    """
    begin_ns, end_ns = (start_ns + int(share * seconds * NS_PER_SECOND) for share in _OUTAGE)
    effects = (Effect(Kind.OUTAGE, _PROVIDER, begin_ns, end_ns),) if outage else ()
    fleet = Fleet(7, start_ns, start_ns + int(seconds * NS_PER_SECOND), traces_per_s, scenario=Scenario(effects))
    exports = list(fleet.requests())
    if load_spans_per_s:
        pool = LoadPool(_LOAD_SPANS)
        every_ns = int(_LOAD_SPANS / load_spans_per_s * NS_PER_SECOND)
        for due_ns in range(start_ns, start_ns + int(seconds * NS_PER_SECOND), every_ns):
            body, spans = pool.request(due_ns)
            exports.append(Export(due_ns, "traces", "load", spans, body))
    return sorted(exports, key=lambda export: export.due_ns)


@dataclass(slots=True)
class Sent:
    """What came of it."""

    requests: int = 0
    spans: int = 0
    log_records: int = 0
    retries: int = 0
    given_up: int = 0
    rejected: int = 0
    seconds: float = 0.0


class Oracle:
    """Sends on threads of its own; half of the services by gRPC, half by HTTP, with an exporter's retries.

    Requests are written to `folder` under their number and when they were due, in that order: `dimwatch replay` can
    read them.
    """

    def __init__(self, http: str, grpc: str, folder: Path) -> None:
        self.acknowledged: set[SpanKey] = set()
        self.folder = folder
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._deliveries = [
            Delivery(_Remembering(HttpSender(http), self), _CONNECTIONS),
            Delivery(_Remembering(GrpcSender(grpc), self), _CONNECTIONS),
        ]
        self._thread: threading.Thread | None = None
        self._seconds = 0.0

    def start(self, exports: Sequence[Export]) -> None:
        """Begin to send, as fast as the requests fall due."""
        self.folder.mkdir(parents=True)
        self._thread = threading.Thread(target=self._send, args=(exports,), name="oracle")
        self._thread.start()

    @property
    def sending(self) -> bool:
        """Whether there is still something to send."""
        return self._thread is not None and self._thread.is_alive()

    def finish(self, *, now: bool = False) -> Sent:
        """Wait until all is sent (or start nothing more, `now`) and answered."""
        assert self._thread is not None
        if now:
            self._stop.set()
        self._thread.join()
        for delivery in self._deliveries:
            delivery.close(drain=True)
        tallies = [delivery.tally for delivery in self._deliveries]
        return Sent(
            sum(tally.requests for tally in tallies),
            sum(tally.spans for tally in tallies),
            sum(tally.log_records for tally in tallies),
            sum(tally.retries for tally in tallies),
            sum(tally.lost for tally in tallies),
            sum(tally.rejected for tally in tallies),
            self._seconds,
        )

    def remember(self, export: Export) -> None:
        """Note an acknowledged request."""
        if export.signal == "traces":
            keys = list(span_keys(export.body))
            with self._lock:
                self.acknowledged.update(keys)

    def _send(self, exports: Sequence[Export]) -> None:
        started, first_ns = time.monotonic(), exports[0].due_ns
        services: dict[str, int] = {}
        for number, export in enumerate(exports):
            due = started + (export.due_ns - first_ns) / NS_PER_SECOND
            if self._stop.wait(max(0.0, due - time.monotonic())):
                break
            ending = ".pb" if export.signal == "traces" else ".logs.pb"
            (self.folder / f"{number:07}-{export.due_ns}{ending}").write_bytes(export.body)
            transport = services.setdefault(export.service, len(services) % 2)
            self._deliveries[transport].submit(export)
        self._seconds = time.monotonic() - started


class _Remembering:
    """A sender that tells the oracle of each success."""

    def __init__(self, inner: Sender, oracle: Oracle) -> None:
        self._inner = inner
        self._oracle = oracle

    def send(self, export: Export) -> int:
        rejected = self._inner.send(export)
        self._oracle.remember(export)
        return rejected

    def close(self) -> None:
        self._inner.close()


def span_keys(body: bytes) -> Iterator[SpanKey]:
    """The spans of a request."""
    for resource in ExportTraceServiceRequest.FromString(body).resource_spans:
        for scope in resource.scope_spans:
            for span in scope.spans:
                yield span.trace_id.hex(), span.span_id.hex()
