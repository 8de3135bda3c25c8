"""Whether Dimwatch keeps up: what heartbeats stand for."""

from __future__ import annotations

from typing import Final

import structlog

from detectors.incidents import control
from dimwatch import records
from dimwatch.clock import NS_PER_SECOND
from dimwatch.errors import DimwatchError
from dimwatch.eventlog.base import EventLog
from dimwatch.store import sink

STAGES: Final = {
    "worker": (records.OTLP_SPANS, records.OTLP_LOGS),
    "fleet": (control.TOPIC, records.SIGHTINGS, records.POINTS),
    sink.GROUP: tuple(sink.TABLES),
}
"""What each stage reads, by its group. Their modules would bring their libraries with them."""
_LOOK_NS: Final = 15 * NS_PER_SECOND
_log = structlog.get_logger()


class Wellness:
    """Looks at how far every stage is behind, four times a minute."""

    def __init__(self, log: EventLog, lag_m: float) -> None:
        """`lag_m`: minutes that a stage may be behind."""
        self._most_s = lag_m * 60
        self._stages = {group: log.consumer(group, topics) for group, topics in STAGES.items()}
        self._looked_ns: int | None = None
        self._well = True

    def well(self, now_ns: int) -> bool:
        """Whether every stage keeps up."""
        if self._looked_ns is None or not 0 <= now_ns - self._looked_ns < _LOOK_NS:
            self._looked_ns = now_ns
            behind = self._behind()
            if behind and self._well:
                _log.warning("heartbeats stop", because=behind)
            elif not behind and not self._well:
                _log.info("heartbeats go on")
            self._well = not behind
        return self._well

    def close(self) -> None:
        """Release what it looks with."""
        for consumer in self._stages.values():
            consumer.close()

    def _behind(self) -> str:
        for group, consumer in self._stages.items():
            try:
                lags = consumer.lag()
            except DimwatchError as error:
                return f"{group}: {error}"
            worst = max((lag.seconds for lag in lags.values() if lag.records), default=0.0)
            if worst > self._most_s:
                return f"{group} is {worst / 60:.0f} minutes behind"
        return ""
