"""The fleet process: points and sightings from the workers in; closed windows, changes and incidents out.

State changes only by records, never by the clock, so that what is read again gives the same. Something comes out only
when a minute closes: then one transaction appends it together with the state and commits the group's offsets, so that a
crash at any point repeats or loses nothing. docs/adr/0010 says more.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from typing import Final

import pyarrow as pa
import structlog
import xxhash

from detectors.fleet import Fleet, FleetOutput
from detectors.incidents import control
from detectors.incidents.incident import is_blind
from detectors.incidents.orders import Outcome
from detectors.windows.hours import Hours
from detectors.windows.minute import Minute
from detectors.windows.points import split
from dimwatch import records, telemetry
from dimwatch.app.demo import learned
from dimwatch.app.standalone import Health
from dimwatch.app.stopping import Stop
from dimwatch.clock import NS_PER_SECOND, Clock, SystemClock
from dimwatch.errors import InvalidError, PermanentError
from dimwatch.eventlog import open_eventlog
from dimwatch.eventlog.base import EventLog, NewRecord, Record, TopicPartition
from dimwatch.eventlog.newest import newest
from dimwatch.settings import MIB, Settings
from dimwatch.tracing import span

GROUP: Final = "fleet"
SOURCES: Final = (control.TOPIC, records.SIGHTINGS, records.POINTS)
_PLACES: Final = frozenset(map(TopicPartition, SOURCES))
_POLL_RECORDS: Final = 256
_POLL_BYTES: Final = 16 * MIB
_POLL_S: Final = 0.25
_PENDING_MINUTES: Final = 240
"""While it catches up, so many closed minutes are written at once."""
_IDLE_NS: Final = 60 * NS_PER_SECOND
"""Offsets are committed after that also where no minute has closed."""
_STATE_BYTES_PER_NS: Final = 8 * MIB / NS_PER_SECOND
"""A state of this many bytes more is written a nanosecond later: large ones must not fill the log."""
_ROWS: Final = 100_000
"""Of a record of windows."""

_log = structlog.get_logger()


class FleetStage:
    """The fleet stage over one eventlog."""

    def __init__(
        self, settings: Settings, log: EventLog, clock: Clock, beginning: Callable[[], bytes | None] = lambda: None
    ) -> None:
        """`beginning` gives a snapshot of a `Fleet` to begin with where there is no state yet.

        Raises PermanentError when it can not be used.
        """
        self._log = log
        self._clock = clock
        self._settings = settings.detection
        self._beginning = beginning
        self._consumer = log.consumer(GROUP, SOURCES)
        self._active = False
        """Whether it is this process's turn; others stand by."""
        self._stale = False
        """Whether another one may have gone on with the state since."""
        self._written_ns = clock.now_ns()
        self._pause_ns = 0
        """The state is written again so long after `_written_ns`."""
        self._go_on(dict(self._consumer.committed()))

    def _go_on(self, committed: dict[TopicPartition, int]) -> None:
        """Begin where the last checkpoint was; `committed` are the offsets of the group."""
        self._next = committed
        self._fleet = Fleet(self._settings)
        self._hours = Hours()
        self._pending = FleetOutput()
        self._windows: list[pa.Table] = []
        """What closed windows add to the table, not written yet."""
        self._drops: Counter[tuple[str, str]] = Counter()
        self._told: dict[tuple[str, str], int] = {}
        """Of what is counted in the state, how much was told before."""
        self._answers: list[dict[str, object]] = []
        """What became of orders, not written yet."""
        self._read = False
        """Whether anything was read since the last commit."""
        if not self._restore() and (state := self._beginning()) is not None:
            self._begin(state)
        self._told = self._totals()

    def step(self, timeout_s: float = _POLL_S) -> int:
        """Read and process one batch; return how many records it had."""
        batch = self._consumer.poll(max_records=_POLL_RECORDS, max_bytes=_POLL_BYTES, timeout_s=timeout_s)
        if not self._take_turns():
            # Part of them alone is nothing to go on with: it comes again with the rest.
            self._consumer.seek({TopicPartition(of.topic, of.partition): of.offset for of in reversed(batch)})
            return 0
        if batch:
            self._read = True
            with telemetry.STAGE_SECONDS.labels("fleet").time(), span("fleet.batch"):
                self._take(batch)
        now_ns = self._clock.now_ns()
        minutes = len(self._pending.minutes)
        if self._answers or (minutes and (self._due(now_ns, self._pause_ns) or minutes >= _PENDING_MINUTES)):
            self.checkpoint()  # somebody who has said something waits for it to be seen
        elif self._read and self._due(now_ns, self._pause_ns + _IDLE_NS):
            self.checkpoint()  # no minute closes while nobody sends, and the log must not fill with heartbeats
        self._measure(now_ns)
        return len(batch)

    def _take_turns(self) -> bool:
        """Take over where another process left off, or let go of what another one has taken over, as in a crash."""
        if not self._consumer.assignment() >= _PLACES:
            if self._active:
                _log.info("another fleet process has taken over")
            self._stale = self._stale or self._active
            self._active = False
        elif not self._active:
            committed = dict(self._consumer.committed())
            if self._stale or committed != self._next:  # else nobody was at it since this process began
                self._go_on(committed)
            self._active, self._stale = True, False
        return self._active

    def _due(self, now_ns: int, pause_ns: int) -> bool:
        # A clock that was set back must not put it off by as much.
        return not 0 <= now_ns - self._written_ns < pause_ns

    def checkpoint(self) -> None:
        """Write what has come out, the state after it, and the offsets that it came from."""
        now_ns = self._clock.now_ns()
        state = _encode(self._fleet.snapshot(), self._hours.snapshot())
        outputs = self._outputs(now_ns)
        outputs[records.FLEET_CHECKPOINTS] = [NewRecord(state, now_ns)]
        self._consumer.commit(self._next, outputs)
        self._read = False
        self._pending = FleetOutput()
        self._windows.clear()
        self._answers.clear()
        self._drops.clear()
        self._log.trim(records.FLEET_CHECKPOINTS, keep_ns=60 * NS_PER_SECOND, keep_bytes=512 * MIB, now_ns=now_ns)
        self._written_ns, self._pause_ns = now_ns, int(len(state) / _STATE_BYTES_PER_NS)

    def close(self) -> None:
        """Write the state, if it is this process that has the newest, and leave the group."""
        if self._active:
            self.checkpoint()
        self._consumer.close()

    def _take(self, batch: Sequence[Record]) -> None:
        windower = self._fleet.windower
        for (topic, source), tables in self._parts(batch).items():
            together = pa.concat_tables(tables)
            points, sightings = (together, None) if topic == records.POINTS else (None, together)
            windower.add(points, sightings, source)
        self._keep(self._fleet.close())

    def _parts(self, batch: Sequence[Record]) -> dict[tuple[str, str], list[pa.Table]]:
        """Tables by topic and worker. On the way, takes note of how far each has judged, and obeys orders."""
        parts: dict[tuple[str, str], list[pa.Table]] = {}
        for record in batch:
            self._next[TopicPartition(record.topic, record.partition)] = record.offset + 1
            try:
                if record.topic == control.TOPIC:
                    self._obey(control.read(record.value), record.timestamp_ns)
                    continue
                table = records.decode(record.value)
            except InvalidError as error:
                _log.error("record passed over", topic=record.topic, offset=record.offset, error=str(error))
                self._drops[record.topic, "unreadable"] += 1
                continue
            source = record.headers.get(records.HEADER_SOURCE, "")
            sources = record.headers.get(records.HEADER_SOURCES, "")
            count = int(sources) if sources.isdecimal() else 0
            behind = records.HEADER_BEHIND in record.headers
            self._fleet.windower.tell(record.topic, source, record.timestamp_ns, count, behind=behind)
            parts.setdefault((record.topic, source), []).append(table)
        return parts

    def _obey(self, order: control.Order, version: int) -> None:
        answer = self._fleet.tell(order)
        if answer.outcome is Outcome.REPEATED:
            return
        if answer.outcome is Outcome.UNKNOWN_INCIDENT and is_blind(order.incident):
            return  # the canary's, which answers for itself
        if answer.outcome is not Outcome.OBEYED:
            _log.warning("order not obeyed", order=order.id, action=order.action.value, outcome=answer.outcome.value)
            self._drops[control.TOPIC, answer.outcome.value] += 1
        self._answers.append(order.row(answer.outcome.value, answer.tenant, version))
        self._pending.incidents += answer.changed

    def _keep(self, output: FleetOutput) -> None:
        if output.leapt:
            self._hours.leap()
        if output.went_back:
            self._hours.go_back()
        for minute in output.minutes:
            self._windows += _windows(minute, self._hours.add(minute))
        self._pending.minutes += output.minutes
        self._pending.changes += output.changes
        self._pending.incidents += output.incidents
        self._pending.shadow += output.shadow
        telemetry.CLOSED_WINDOWS.inc(len(output.minutes))
        for incident in output.incidents:
            if incident.version == 1:
                telemetry.INCIDENTS_FOUND.labels(incident.kind.value).inc()
        for alert in output.shadow:
            if not alert.final:
                telemetry.SHADOW_ALERTS.labels(alert.plugin).inc()

    def _outputs(self, now_ns: int) -> dict[str, list[NewRecord]]:
        """What has come out, by topic."""
        pending = self._pending
        tables = {
            records.WINDOWS: split(pa.concat_tables(self._windows), _ROWS) if self._windows else [],
            records.WINDOW_SIGHTINGS: [minute.sightings for minute in pending.minutes],
            records.CHANGES: [records.table_from_rows(records.CHANGE, (change.row() for change in pending.changes))],
            records.INCIDENTS: [
                records.table_from_rows(records.INCIDENT, (incident.row() for incident in pending.incidents))
            ],
            records.ORDERS: [records.table_from_rows(records.ORDER, self._answers)],
            records.SHADOW_ALERTS: [records.table_from_rows(records.SHADOW_ALERT, (of.row() for of in pending.shadow))],
            records.DROPS: [self._drop_rows(now_ns)],
        }
        return {
            topic: [NewRecord(records.encode(part), now_ns) for part in parts if part.num_rows]
            for topic, parts in tables.items()
        }

    def _drop_rows(self, now_ns: int) -> pa.Table:
        """What was passed over or found no room since the last checkpoint."""
        totals = self._totals()
        for key, total in totals.items():
            self._drops[key] += total - self._told.get(key, 0)
        self._told = totals
        rows: list[dict[str, object]] = []
        for (signal_name, reason), count in sorted((+self._drops).items()):
            telemetry.DROPPED.labels(GROUP, signal_name, reason).inc(count)
            rows.append(
                {
                    "id": xxhash.xxh3_128_hexdigest(f"fleet\x1f{now_ns}\x1f{signal_name}\x1f{reason}".encode()),
                    "time": now_ns,
                    "tenant": "",
                    "stage": GROUP,
                    "signal": signal_name,
                    "reason": reason,
                    "count": count,
                    "version": now_ns,
                }
            )
        return records.table_from_rows(records.DROP, rows)

    def _totals(self) -> dict[tuple[str, str], int]:
        """What found no room since the state began."""
        return {
            (records.POINTS, "too_many_series"): self._fleet.engine.refused,
            (records.CHANGES, "too_many_changes"): self._fleet.ledger.dropped,
            (records.POINTS, "not_compared"): self._fleet.ledger.sums.dropped,
        }

    def _measure(self, now_ns: int) -> None:
        fleet = self._fleet
        telemetry.OPEN_INCIDENTS.set(fleet.open)
        telemetry.WATCHED_STREAMS.set(fleet.engine.streams)
        telemetry.FLEET_SERIES.set(fleet.engine.series)
        telemetry.PAGE_THRESHOLD.set(fleet.engine.threshold)
        telemetry.LATE_POINTS.set(fleet.windower.counts.late)
        telemetry.WINDOWS_TAKEN_BACK.set(fleet.windower.counts.taken_back)
        telemetry.OTHER_SERIES.set(fleet.windower.counts.folded)
        if fleet.windower.watermark_ns is not None:
            telemetry.WATERMARK_LAG_SECONDS.set((now_ns - fleet.windower.watermark_ns) / NS_PER_SECOND)

    def _restore(self) -> bool:
        """Go on from the last checkpoint; whether there was one that could be used."""
        found = newest(self._log, records.FLEET_CHECKPOINTS, 1, max_bytes=_POLL_BYTES)
        if found:
            try:
                fleet, hours = decode(found[-1].value)
                self._fleet.restore(fleet)
                self._hours.restore(hours)
            except (
                InvalidError,
                LookupError,
                TypeError,
                ValueError,
            ) as error:  # as another version may have written it
                _log.error("the state is not used: what is normal is learned anew", error=str(error))
                self._drops[records.FLEET_CHECKPOINTS, "unreadable"] += 1
                self._fleet, self._hours = Fleet(self._settings), Hours()
            else:
                _log.info("fleet restored", series=self._fleet.engine.series, incidents=self._fleet.open)
                return True
        return False

    def _begin(self, state: bytes) -> None:
        try:
            self._fleet.begin(state)
        except (InvalidError, LookupError, TypeError, ValueError) as error:
            raise PermanentError(
                f"the state to begin with (detection.state) is not one that this version wrote: {error}; write it anew "
                "with `dimwatch replay PATH... --state FILE`, or leave it out"
            ) from error
        _log.info("fleet begins with what was learned before", series=self._fleet.engine.series)


def _windows(minute: Minute, hour: pa.Table | None) -> Iterator[pa.Table]:
    """Rows of `dimwatch.records.WINDOW`."""
    for width_s, points in zip(records.WINDOW_WIDTHS_S, (minute.fine, minute.points, hour), strict=True):
        if points is not None and points.num_rows:
            column = pa.array([width_s], pa.uint32()).take(pa.array([0] * points.num_rows))
            yield points.append_column(records.WINDOW.field("width_s"), column)


def _encode(fleet: bytes, hours: bytes) -> bytes:
    return b"".join([len(fleet).to_bytes(8, "big"), fleet, hours])


def decode(state: bytes) -> tuple[bytes, bytes]:
    """The snapshots of the `Fleet` and of the `Hours` in a record of `fleet_checkpoints`."""
    end = 8 + int.from_bytes(state[:8], "big")
    return state[8:end], state[end:]


def run(settings: Settings, health: Health, *, demo: bool = False) -> None:
    """Work until SIGTERM or SIGINT, then write the state. `demo`: begin with what is normal in the simulated fleet."""
    stop = Stop.by_signals()
    log, clock = open_eventlog(settings), SystemClock()

    def beginning() -> bytes | None:
        return learned(settings, clock.now_ns(), health.beat, lambda: stop.requested) if demo else _recorded(settings)

    stage = FleetStage(settings, log, clock, beginning)
    try:
        while not stop.requested:
            stage.step()
            health.beat()
        health.drain()
        stage.close()
    finally:
        log.close()


def _recorded(settings: Settings) -> bytes | None:
    path = settings.detection.state
    try:
        return None if path is None else path.read_bytes()
    except OSError as error:
        raise PermanentError(f"detection.state: {path} can not be read: {error.strerror}") from error
