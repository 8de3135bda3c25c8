"""TCP ports: which ones the settings name, which are taken, and by whom."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from dimwatch.settings import Settings


@dataclass(frozen=True, slots=True)
class Port:
    """A port that Dimwatch wants to listen on, and the setting that names it."""

    setting: str
    host: str
    number: int
    flag: str


def ports_of(settings: Settings) -> list[Port]:
    """Every port that `dimwatch up` listens on."""
    store = settings.store
    embedded = [Port("store.http_port", store.host, store.http_port, "--store-port")]
    return [
        Port("receiver.grpc_port", settings.receiver.host, settings.receiver.grpc_port, "--grpc-port"),
        Port("receiver.http_port", settings.receiver.host, settings.receiver.http_port, "--http-port"),
        *(embedded if store.mode == "embedded" else []),
        Port("api.port", settings.api.host, settings.api.port, "--api-port"),
        Port("dashboard.port", settings.dashboard.host, settings.dashboard.port, "--dashboard-port"),
        Port("telemetry.metrics_port", "127.0.0.1", settings.telemetry.metrics_port, "--metrics-port"),
    ]


def problem(port: Port) -> str | None:
    """Why nothing can listen on `port`, or None when it is free."""
    if not 0 <= port.number < 1 << 16:
        return f"{port.number} ({port.setting}) is no port number; choose one under 65536 with {port.flag}"
    try:
        addresses = socket.getaddrinfo(
            port.host, port.number, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE | socket.AI_NUMERICSERV
        )
    except OSError as error:
        return f"{port.host}:{port.number} ({port.setting}) is not an address to listen on: {error}"
    for family, kind, protocol, _, address in addresses:
        with socket.socket(family, kind, protocol) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(address)
            except OSError as error:
                reason = (error.strerror or str(error)).lower()
                holder = holder_of(port.number)
                return (
                    f"port {port.number} on {port.host} ({port.setting}): {reason}"
                    f"{f', held by {holder}' if holder else ''}; "
                    f"stop it, or choose another port with {port.flag}"
                )
    return None


def reachable_host(host: str) -> str:
    """The address at which this machine reaches a server that listens on `host`."""
    return {"0.0.0.0": "127.0.0.1", "::": "::1", "": "127.0.0.1"}.get(host, host)  # noqa: S104 - not a bind


def holder_of(number: int) -> str | None:
    """The process that listens on a port, as `name (process 123)`, if this user may know it (Linux)."""
    pid = holder_pid(number)
    if pid is None:
        return None
    try:
        words = (Path("/proc") / str(pid) / "cmdline").read_bytes().decode(errors="replace").split("\0")
    except OSError:
        return f"process {pid}"
    # Arguments are left out on purpose: those of other people's programs may hold secrets.
    return f"{Path(words[0]).name or 'a program'} (process {pid})"


def holder_pid(number: int) -> int | None:
    """The id of the process that listens on a port, if this user may know it (Linux)."""
    inodes = {f"socket:[{inode}]" for inode in _listening_inodes(number)}
    if not inodes:
        return None
    for process in Path("/proc").iterdir():
        if process.name.isdigit() and inodes & set(_descriptors(process)):
            return int(process.name)
    return None


def _listening_inodes(number: int) -> Iterator[str]:
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        try:
            lines = Path(table).read_text().splitlines()[1:]
        except OSError:
            continue
        for line in lines:
            fields = line.split()
            if fields[3] == "0A" and int(fields[1].rsplit(":", 1)[1], 16) == number:
                yield fields[9]


def _descriptors(process: Path) -> Iterator[str]:
    try:
        for descriptor in (process / "fd").iterdir():
            yield os.readlink(descriptor)
    except OSError:
        return
