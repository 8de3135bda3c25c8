"""The canary: Dimwatch sends a span to its own receiver every minute, and looks for it in the store.

How long that takes is what everybody's telemetry takes to be readable. When none has arrived for some minutes, Dimwatch
is blind, whatever the reason: an incident of its own, written straight to the topic that the notifier reads, since the
stages in between may be what has failed. The notifier's heartbeat covers the case that this process is dead too.
"""

from __future__ import annotations

import secrets
import ssl
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final, Protocol

import httpx
import pyarrow as pa
import structlog
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from detectors.alerts import Node
from detectors.incidents import control
from detectors.incidents.case import Case
from detectors.incidents.control import Action
from detectors.incidents.incident import Incident, Kind, Severity, Status, blind_identity
from detectors.incidents.orders import Orders, Outcome
from detectors.incidents.summary import clock as hour
from dimwatch import records, telemetry
from dimwatch.app.ports import reachable_host
from dimwatch.canary import SERVICE
from dimwatch.clock import NS_PER_SECOND, Clock
from dimwatch.errors import DimwatchError, InvalidError
from dimwatch.eventlog.base import EventLog, NewRecord, TopicPartition
from dimwatch.settings import Settings
from dimwatch.store.client import StoreClient, Values

GROUP: Final = "canary"
_TICK_S: Final = 0.3
_POLL_S: Final = 0.2
_SEND_S: Final = 5.0
_LOOK_S: Final = 5.0
_SOON_NS: Final = 20 * NS_PER_SECOND
"""While the newest is younger than this it is looked for at every tick, then less often."""
_SELDOM_NS: Final = 10 * NS_PER_SECOND
_FIRST_NS: Final = 3 * NS_PER_SECOND
"""By then what started with it is there."""
_ON_THE_WAY: Final = 100
_FIND: Final = "SELECT trace_id FROM canaries WHERE sent_time >= fromUnixTimestamp64Nano({since:Int64})"
_LEFT: Final = (
    "SELECT * FROM incidents WHERE kind = 'blind' AND status NOT IN ('resolved', 'false') AND id != {id:String}"
)

_log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Seen:
    """How the last canary fared."""

    took_s: float | None = None
    """Of the last that arrived, from sending it to reading it."""
    arrived_ns: int | None = None
    blind: bool = False


class Readable(Protocol):
    """The store, as far as it is asked. Raises DimwatchError while it does not answer."""

    def rows(self, sql: str, values: Values | None = None) -> Sequence[Sequence[Any]]: ...
    def table(self, sql: str, values: Values | None = None) -> pa.Table: ...


class Canary:
    """Not thread-safe, but for `seen`."""

    def __init__(
        self,
        settings: Settings,
        eventlog: EventLog,
        clock: Clock,
        send: Callable[[bytes], None] | None = None,
        store: Readable | None = None,
    ) -> None:
        """`send` hands an export request to the receiver; it raises OSError or httpx.HTTPError if that is not taken.
        Without it and `store`: those of the settings."""
        self.seen = Seen()
        self._every_ns = int(settings.canary.every_s * NS_PER_SECOND)
        self._blind_ns = int(settings.canary.blind_after_s * NS_PER_SECOND)
        self._eventlog = eventlog
        self._clock = clock
        self._store = store or StoreClient(settings, timeout_s=_LOOK_S)
        self._send = send or Sender(settings).send
        self._consumer = eventlog.consumer(GROUP, (control.TOPIC,))
        self._orders = Orders()
        self._sent: dict[str, int] = {}
        """Those on the way: when each was sent."""
        self._refused = ""
        self._store_away = ""
        self._last_ns = clock.now_ns()
        """When the newest that arrived was sent."""
        self._next_ns = self._last_ns + _FIRST_NS
        self._looked_ns = 0
        self._case: Case | None = None
        self._alone = False
        """Whether incidents that an earlier canary left open are resolved."""

    def run(self, stop: threading.Event) -> None:
        """Work until told to stop."""
        while not stop.wait(_TICK_S):
            try:
                self.step(_POLL_S)
            except DimwatchError as error:
                _log.warning("canary", error=str(error))
            except Exception:  # a canary that ended would be taken for one that lives
                _log.exception("the canary failed by a fault of ours")
        self._consumer.close()

    def step(self, timeout_s: float = 0.0) -> None:
        """Do what is due, and wait so long for orders. Raises DimwatchError when the eventlog is in trouble; then it is
        done later."""
        now_ns = self._clock.now_ns()
        self._orders.step(now_ns)
        if now_ns >= self._next_ns:
            self._next_ns = now_ns + self._every_ns
            self._chirp(now_ns)
        self._look(now_ns)
        self._judge(now_ns)
        self._hear(timeout_s)

    def _chirp(self, now_ns: int) -> None:
        trace_id = secrets.token_bytes(16)
        try:
            self._send(_request(trace_id, now_ns))
        except (OSError, httpx.HTTPError, ssl.SSLError) as error:
            self._refused = str(error) or type(error).__name__
            telemetry.CANARIES.labels("refused").inc()
            _log.warning("the receiver does not take the canary", error=self._refused)
            return
        self._refused = ""
        self._sent[trace_id.hex()] = now_ns
        while len(self._sent) > _ON_THE_WAY:
            del self._sent[next(iter(self._sent))]

    def _look(self, now_ns: int) -> None:
        if not self._sent:
            return
        young = now_ns - max(self._sent.values()) < _SOON_NS
        if not young and now_ns - self._looked_ns < _SELDOM_NS:
            return
        self._looked_ns = now_ns
        try:
            rows = self._store.rows(_FIND, {"since": min(self._sent.values())})
        except DimwatchError as error:
            self._store_away = str(error)
            return
        self._store_away = ""
        found = {str(row[0]) for row in rows} & self._sent.keys()
        if not found:
            return
        sent_ns = max(self._sent[trace_id] for trace_id in found)
        took_s = max(self._clock.now_ns() - sent_ns, 0) / NS_PER_SECOND
        for trace_id in [trace_id for trace_id, at_ns in self._sent.items() if at_ns <= sent_ns]:
            telemetry.CANARIES.labels("seen" if trace_id in found else "lost").inc()
            del self._sent[trace_id]
        telemetry.CANARY_SECONDS.set(took_s)
        telemetry.CANARY_SEEN_SECONDS.set(now_ns / NS_PER_SECOND)
        self._last_ns = max(self._last_ns, sent_ns)
        self.seen = Seen(took_s, now_ns, self.seen.blind)

    def _judge(self, now_ns: int) -> None:
        arrived = self.seen.arrived_ns is not None
        blind = now_ns - self._last_ns >= self._blind_ns
        if blind != self.seen.blind:
            self.seen = Seen(self.seen.took_s, self.seen.arrived_ns, blind)
        if blind and self._case is None:
            self._case = _case(self._last_ns, now_ns)
        if self._case is not None:
            if self._case.open and blind:
                self._case.incident.summary = self._summary(now_ns)
            elif self._case.open:
                self._case.resolve(now_ns)
            self._tell(now_ns)
            if not blind:
                self._case = None
        if arrived and not self._alone:
            self._tidy(now_ns)

    def _summary(self, now_ns: int) -> str:
        minutes = max((now_ns - self._last_ns) // (60 * NS_PER_SECOND), 1)
        told = f"Dimwatch is blind: nothing that was sent since {hour(self._last_ns)} UTC ({minutes} min) is readable. "
        if self._refused:
            return f"{told}The receiver refuses it: {self._refused}."
        if self._store_away:
            return f"{told}The store does not answer."
        return f"{told}The receiver takes it, and it does not arrive in the store: look at `dimwatch status` for lag."

    def _hear(self, timeout_s: float) -> None:
        """Obey what people say of the incident."""
        batch = self._consumer.poll(max_records=256, max_bytes=1 << 20, timeout_s=timeout_s)
        if not batch:
            return
        offsets: dict[TopicPartition, int] = {}
        changed: list[Incident] = []
        answered: list[dict[str, object]] = []
        for record in batch:
            offsets[TopicPartition(record.topic, record.partition)] = record.offset + 1
            try:
                order = control.read(record.value)
            except InvalidError:
                continue  # the fleet stage counts it
            own = self._case is not None and order.incident == self._case.incident.id
            answer = self._orders.obey(order, [] if self._case is None else [self._case])
            changed += answer.changed
            ended = order.action is Action.END_SILENCE and answer.outcome is Outcome.OBEYED
            if (own and order.action is not Action.LABEL) or ended:
                # Of silences the fleet stage has its own word: this one is the newer.
                answered.append(order.row(answer.outcome.value, answer.tenant, record.timestamp_ns + 1))
        try:
            self._consumer.commit(offsets, self._outputs(changed, answered))
        except DimwatchError:
            self._untold()
            raise

    def _tell(self, now_ns: int) -> None:
        assert self._case is not None
        self._case.follow(self._orders.silences, now_ns)
        if self._case.news(now_ns):
            try:
                self._eventlog.append(self._outputs([self._case.copy()], []))
            except DimwatchError:
                self._untold()
                raise
            _log.warning("blind", status=self._case.incident.status.value, summary=self._case.incident.summary)

    def _untold(self) -> None:
        """The eventlog did not take it: what the incident is like is told again at the next step."""
        if self._case is not None:
            self._case.told = ""

    def _outputs(
        self, changed: Sequence[Incident], answered: Sequence[dict[str, object]]
    ) -> dict[str, list[NewRecord]]:
        now_ns = self._clock.now_ns()
        tables = {
            records.INCIDENTS: records.table_from_rows(records.INCIDENT, (incident.row() for incident in changed)),
            records.ORDERS: records.table_from_rows(records.ORDER, answered),
        }
        return {topic: [NewRecord(records.encode(table), now_ns)] for topic, table in tables.items() if table.num_rows}

    def _tidy(self, now_ns: int) -> None:
        """Resolve what a canary before this one left open."""
        own = self._case.incident.id if self._case else ""
        try:
            left = self._store.table(_LEFT, {"id": own}).to_pylist()
        except DimwatchError:
            return
        for row in left:
            row |= {"status": Status.RESOLVED.value, "resolved_at": now_ns, "version": row["version"] + 1}
        self._alone = True
        if left:
            table = records.table_from_rows(records.INCIDENT, left)
            self._eventlog.append({records.INCIDENTS: [NewRecord(records.encode(table), now_ns)]})


class Sender:
    """Hands export requests to the receiver of the settings, as any exporter would."""

    def __init__(self, settings: Settings) -> None:
        receiver = settings.receiver
        scheme = "http" if receiver.tls_cert is None else "https"
        own = f"{scheme}://{reachable_host(receiver.host)}:{receiver.http_port}"
        self._url = f"{(settings.canary.endpoint or own).rstrip('/')}/v1/traces"
        self._headers = {"Content-Type": "application/x-protobuf"}
        if receiver.token is not None:
            self._headers["Authorization"] = f"Bearer {receiver.token.get_secret_value()}"
        self._tls = ssl.create_default_context()
        if settings.canary.endpoint is None and receiver.tls_cert is not None:
            # Its own certificate, which need not be made out to the name of the loopback.
            self._tls.load_verify_locations(receiver.tls_cert)
            self._tls.check_hostname = False

    def send(self, body: bytes) -> None:
        """Raises httpx.HTTPError when it is not taken."""
        with httpx.Client(verify=self._tls, timeout=_SEND_S, trust_env=False) as client:
            client.post(self._url, content=body, headers=self._headers).raise_for_status()


def possible(settings: Settings) -> bool:
    """Whether there is a receiver to send it to: that of this machine, unless senders need certificates, or the one
    that is named."""
    here = settings.eventlog.backend == "sqlite" and settings.receiver.tls_client_ca is None
    return settings.canary.enabled and (settings.canary.endpoint is not None or here)


def _case(started_ns: int, now_ns: int) -> Case:
    incident = Incident(
        blind_identity(started_ns), "", Kind.BLIND, Severity.CRITICAL, Status.OPEN, Node(), now_ns, started_ns
    )
    return Case(incident, frozenset(), set())


def _request(trace_id: bytes, now_ns: int) -> bytes:
    request = ExportTraceServiceRequest()
    resource = request.resource_spans.add()
    resource.resource.attributes.add(key="service.name").value.string_value = SERVICE
    span = resource.scope_spans.add().spans.add()
    span.trace_id, span.span_id, span.name = trace_id, trace_id[:8], "canary"
    span.start_time_unix_nano = span.end_time_unix_nano = now_ns
    encoded: bytes = request.SerializeToString()
    return encoded
