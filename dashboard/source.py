"""Where the dashboard reads: the store of the settings, through queries that are files, with bound values."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import cache
from importlib import resources
from threading import Lock
from typing import Final, ParamSpec, TypeVar

import pandas as pd

from dimwatch.settings import Settings
from dimwatch.store.client import StoreClient

P = ParamSpec("P")
T = TypeVar("T")
_PATIENCE_S = 20.0
"""A page that is not there after so long is better told to be late."""
_ASKING: Final = ThreadPoolExecutor(4, thread_name_prefix="query")
"""For all sessions of this process: more would only wait for each other in a store of two cores."""

Sight = Callable[[Sequence[object]], tuple[Sequence[str], Sequence[str]]]
"""From the counts of `coverage.sql` of one agent: the rules that are blind to it, and those that see it in part."""


class Source:
    """The store that this process shows. Safe to share between sessions."""

    def __init__(
        self, settings: Settings, sight: Sight | None = None, environment: Mapping[str, str] | None = None
    ) -> None:
        self.settings = settings
        self.environment = dict(os.environ if environment is None else environment)
        """What a child process is given, so that it has the same settings."""
        self.sight = sight
        """Which rules can not see an agent; None where nobody said how to tell."""
        self.filled = False
        """Known to have held telemetry."""
        self._client = StoreClient(settings, timeout_s=_PATIENCE_S)

    def frame(self, query: str, values: Mapping[str, object]) -> pd.DataFrame:
        """Run the query of that name. Raises RetryableError or PermanentError."""
        return self._client.frame(sql(query), values)


def soon(ask: Callable[P, T], *args: P.args, **more: P.kwargs) -> Future[T]:
    """Ask while the page goes on to draw what it knows already. `ask` must not draw."""
    return _ASKING.submit(ask, *args, **more)


@cache
def sql(query: str) -> str:
    """The text of a query in `dashboard/sql`."""
    return resources.files("dashboard").joinpath("sql", f"{query}.sql").read_text()


def names() -> list[str]:
    """The names of all queries."""
    files = resources.files("dashboard").joinpath("sql").iterdir()
    return sorted(file.name.removesuffix(".sql") for file in files if file.name.endswith(".sql"))


class _Shown:
    """Pages are scripts: they find the source here. `configure` says which one it is."""

    def __init__(self) -> None:
        self._source: Source | None = None
        self._lock = Lock()

    def configure(
        self, settings: Settings, sight: Sight | None = None, environment: Mapping[str, str] | None = None
    ) -> None:
        """Show the store of these settings. `sight`: how to tell which rules see an agent; `environment`: variables
        that give a child process the same settings, those of this process by default."""
        with self._lock:
            self._source = Source(settings, sight, environment)

    def source(self) -> Source:
        """The source that was configured, or that of the settings in the environment."""
        with self._lock:
            if self._source is None:
                self._source = Source(Settings())
            return self._source


_shown = _Shown()
configure = _shown.configure
source = _shown.source
