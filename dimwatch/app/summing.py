"""Keeps the store's sums for the dashboard up to date, on a thread: nothing else waits for it."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Final

import structlog

from dimwatch import telemetry
from dimwatch.app.stopping import Stop
from dimwatch.errors import DimwatchError
from dimwatch.store.rollup import RollUp, Tables

_EVERY_S: Final = 60.0
_REST: Final = 9.0
"""Times as long as the sums took: where calls come late all the time, large hours are summed again and again."""
_SELDOM_S: Final = 1800.0
"""After errors, later each time: what takes too long would else keep a core busy."""

_log = structlog.get_logger()


class Summing:
    """Sums every minute until `stop`, or less often where that takes long."""

    def __init__(
        self, tables: Tables, stop: Stop, close: Callable[[], None] = lambda: None, every_s: float = _EVERY_S
    ) -> None:
        """`close`: what the thread does at its end, to give its connection back."""
        self._roll_up = RollUp(tables)
        self._every_s = every_s
        self._stop, self._close = stop, close
        self._thread = threading.Thread(target=self._run, name="sums")

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def join(self) -> None:
        """Wait for the statement at hand, which is bounded in time, once `stop` is requested."""
        self._thread.join()

    def _run(self) -> None:
        wait_s = self._every_s
        while not self._stop.sleep(wait_s):
            began = time.monotonic()
            try:
                self._roll_up.run(lambda: self._stop.requested)
                wait_s = max(self._every_s, _REST * (time.monotonic() - began))
            except Exception as error:  # whatever it is: without this thread nobody would sum any more
                wait_s = min(2 * wait_s, _SELDOM_S)
                telemetry.SUM_ERRORS.inc()
                said = str(error) if isinstance(error, DimwatchError) else repr(error)
                _log.warning("sums for the dashboard could not be made now", error=said, again_in_s=wait_s)
        self._close()
