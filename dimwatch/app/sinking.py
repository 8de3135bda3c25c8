"""What the store role does in both of its modes: the sink on a thread, and the eventlog's retention."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable
from typing import Final

import structlog

from detectors.incidents import control
from dimwatch import records
from dimwatch.app.stopping import Stop
from dimwatch.clock import Clock
from dimwatch.errors import DimwatchError, RetryableError
from dimwatch.eventlog.base import EventLog
from dimwatch.settings import Settings
from dimwatch.store.sink import Sink, SinkLimits, Target

KEEP_EVERY_S: Final = 60.0
TURN_S: Final = 1.0
LINGER_S: Final = {"embedded": 0.4, "server": 2.0}
"""An insert of spans, with its views, costs some 60 ms of CPU, however few: where there is much, seldom is better."""
RESTART_S: Final = 0.5
RESTART_MAX_S: Final = 30.0
STEADY_S: Final = 60.0
"""A sink that ran for so long was well; when it stops then, it is tried again at once."""
DRAIN_S: Final = 10.0
TRIMMED: Final = (
    records.OTLP_SPANS,
    records.OTLP_LOGS,
    records.POINTS,
    records.SIGHTINGS,
    *records.SCHEMAS,
    records.DEAD_LETTERS,
    control.TOPIC,
)
"""Topics under retention. `checkpoints` is not: its newest record counts however old it is; nor are metrics, which the
collector bounds by itself."""
DEAD_LETTERS_SHARE: Final = 16
"""Only people read dead letters, so that they get that part of the eventlog. They were counted as drops already."""

_log = structlog.get_logger()


class Sinking:
    """Runs a sink. If it gives up, nothing is lost and it is tried again, later each time."""

    def __init__(self, eventlog: EventLog, target: Target, clock: Clock, limits: SinkLimits) -> None:
        self._stopped = threading.Event()
        self._sink = Sink(eventlog, target, clock, limits)
        self._thread = threading.Thread(target=self._run, name="sink")

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    @property
    def alive(self) -> bool:
        """Whether the thread runs: it ends only when it is stopped, or by an error that nobody expects."""
        return self._thread.is_alive()

    def stop(self) -> None:
        """Finish the batch at hand."""
        self._stopped.set()
        self._sink.stop()
        self._thread.join(DRAIN_S)

    def _run(self) -> None:
        wait_s = RESTART_S
        while not self._stopped.is_set():
            started = time.monotonic()
            try:
                self._sink.run()
            except DimwatchError as error:
                if self._stopped.is_set():
                    return
                wait_s = RESTART_S if time.monotonic() - started > STEADY_S else wait_s
                _log.error("the sink has stopped", error=str(error), again_in_s=wait_s)
                self._stopped.wait(wait_s)
                wait_s = min(2 * wait_s, RESTART_MAX_S)


def sink_limits(settings: Settings, *, parallel: int) -> SinkLimits:
    """The sink's limits as the settings say."""
    store = settings.store
    linger_s = LINGER_S[store.mode] if store.linger_s is None else store.linger_s
    return SinkLimits(batch_bytes=int(store.batch_bytes), linger_s=linger_s, parallel=parallel)


def trim(eventlog: EventLog, settings: Settings, clock: Clock) -> None:
    """Remove what is old enough; a lock or a full disk is for the next time."""
    keep_ns = int(settings.eventlog.keep_hours * 3600e9)
    try:
        for topic in TRIMMED:
            # Where somebody reads, no bound by bytes: that would remove unread records, and the eventlog makes room by
            # itself.
            unread = topic == records.DEAD_LETTERS
            keep_bytes = int(settings.eventlog.max_bytes) // DEAD_LETTERS_SHARE if unread else sys.maxsize
            eventlog.trim(topic, keep_ns=keep_ns, keep_bytes=keep_bytes, now_ns=clock.now_ns())
    except RetryableError as error:
        _log.warning("the eventlog could not be trimmed now", error=str(error))


def keep_house(eventlog: EventLog, settings: Settings, clock: Clock, stop: Stop, each_turn: Callable[[], None]) -> None:
    """Trim the eventlog every minute until `stop`, and call `each_turn` every second."""
    due = time.monotonic() + KEEP_EVERY_S
    while not stop.sleep(TURN_S):
        each_turn()
        if time.monotonic() >= due:
            trim(eventlog, settings, clock)
            due = time.monotonic() + KEEP_EVERY_S
