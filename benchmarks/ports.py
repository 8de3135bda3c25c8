"""Ports that nobody else is about to take."""

from __future__ import annotations

import fcntl
import os
import socket
import tempfile
from pathlib import Path
from typing import Final

# Below what Linux gives to clients and to listeners on port 0 (32768 and more), above what servers have by default.
_PORTS: Final = range(12_000, 32_000)


def free_ports(count: int) -> list[int]:
    """TCP ports of loopback that nobody listens on.

    A port that the kernel chose and that was closed again may be given to any other process before it is used. So
    these come from a range the kernel gives nobody, one after the other for all processes of a user together.
    """
    found: list[int] = []
    handle = os.open(Path(tempfile.gettempdir()) / f"dimwatch-ports-{os.getuid()}", os.O_RDWR | os.O_CREAT, 0o600)
    with os.fdopen(handle, "r+") as shared:
        fcntl.flock(shared, fcntl.LOCK_EX)
        turn = int(shared.read() or 0)
        while len(found) < count:
            port = _PORTS[turn % len(_PORTS)]
            turn += 1
            if _is_free(port):
                found.append(port)
        shared.seek(0)
        shared.truncate()
        shared.write(str(turn))
    return found


def _is_free(port: int) -> bool:
    # Bound, but never listening: a listener can go on for a moment after it was closed.
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True
