"""Is a process of Dimwatch ready? Checks from outside, and the heartbeat of those that have no port."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from ssl import SSLContext
from typing import Final

from dimwatch.app.instance import run_folder
from dimwatch.app.ports import reachable_host
from dimwatch.errors import RetryableError
from dimwatch.settings import Settings
from dimwatch.store.client import tls_context

Check = Callable[[], Awaitable[bool]]
"""Answers whether a process is ready, soon and without raising."""

CHECK_TIMEOUT_S: Final = 2.0
_PATIENCE_S: Final = 10.0
"""Of a command, which asks only once: a store that is busy answers late."""
HEARTBEAT_FRESH_S: Final = 15.0


async def always() -> bool:
    """Ready as soon as it runs."""
    return True


def tcp(host: str, *ports: int) -> Check:
    """Ready when something accepts connections on every port."""

    async def check() -> bool:
        for port in ports:
            try:
                async with asyncio.timeout(CHECK_TIMEOUT_S):
                    _, writer = await asyncio.open_connection(reachable_host(host), port)
            except (OSError, TimeoutError):
                return False
            writer.close()
        return True

    return check


def http(host: str, port: int, path: str, tls: SSLContext | None = None, timeout_s: float = CHECK_TIMEOUT_S) -> Check:
    """Ready when a GET answers 200."""

    async def check() -> bool:
        return await get(host, port, path, timeout_s=timeout_s, tls=tls) is not None

    return check


def store(settings: Settings, timeout_s: float = CHECK_TIMEOUT_S) -> Check:
    """Ready when the ClickHouse interface answers, embedded or on a server."""
    of = settings.store
    return http(of.host, of.http_port, "/ping", tls_context(of), timeout_s)


async def get(
    host: str,
    port: int,
    path: str,
    headers: Mapping[str, str] | None = None,
    timeout_s: float = CHECK_TIMEOUT_S,
    tls: SSLContext | None = None,
) -> bytes | None:
    """The body of a 200 answer (its first MiB), or None: for the few requests that the supervisor makes."""
    lines = [f"GET {path} HTTP/1.0", f"Host: {reachable_host(host)}:{port}", "Connection: close"]
    lines += [f"{name}: {value}" for name, value in (headers or {}).items()]
    writer = None
    try:
        async with asyncio.timeout(timeout_s):
            reader, writer = await asyncio.open_connection(reachable_host(host), port, ssl=tls)
            writer.write("\r\n".join([*lines, "", ""]).encode())
            status = (await reader.readline()).split(b" ", 2)
            if len(status) < 2 or status[1] != b"200":
                return None
            while await reader.readline() not in (b"\r\n", b"\n", b""):
                pass
            return await reader.read(1 << 20)
    except (OSError, TimeoutError, ValueError):
        return None
    finally:
        if writer is not None:
            writer.transport.abort()  # closing would wait for the other side where there is TLS


def require_store(settings: Settings) -> None:
    """Raise RetryableError with the remedy when no store answers. Not for use inside an event loop."""
    at = f"{settings.store.host}:{settings.store.http_port}"
    if not asyncio.run(_ready(store(settings, _PATIENCE_S))):
        if settings.store.mode == "server":
            raise RetryableError(f"no ClickHouse server answers at {at}: is it up, and are the store settings right?")
        raise RetryableError(
            f"no store answers at {at}: start Dimwatch with `dimwatch up`, "
            "or name the data folder of the one that runs with --data"
        )


async def _ready(check: Check) -> bool:
    return await check()


def heartbeat(data: Path, role: str) -> Check:
    """Ready when the role called `beat` within the last `HEARTBEAT_FRESH_S` seconds."""
    path = _heartbeat_path(data, role)

    async def check() -> bool:
        try:
            beaten = float(path.read_text())
        except (OSError, ValueError):
            return False
        return 0 <= time.monotonic() - beaten < HEARTBEAT_FRESH_S

    return check


class Heart:
    """What a process without a port calls from its main loop, so that a stuck one is seen."""

    def __init__(self, data: Path, role: str, every_s: float = 2.0) -> None:
        self._path = _heartbeat_path(data, role)
        self._path.parent.mkdir(parents=True, exist_ok=True)
        self._every_s = every_s
        self._next = 0.0

    def beat(self) -> None:
        """Say "alive and working"; cheap enough for every turn of a loop. A full disk is not its business."""
        now = time.monotonic()
        if now < self._next:
            return
        self._next = now + self._every_s
        try:
            # The monotonic clock is one for all processes of a machine, and nobody can set it.
            descriptor = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
            try:
                os.pwrite(descriptor, f"{now:020.6f}".encode(), 0)  # as long as before: never seen half-written
            finally:
                os.close(descriptor)
        except OSError:
            return


def forget_heartbeat(data: Path, role: str) -> None:
    """Remove what a process left that has died."""
    _heartbeat_path(data, role).unlink(missing_ok=True)


def _heartbeat_path(data: Path, role: str) -> Path:
    return run_folder(data) / f"{role}.heartbeat"
