"""A process of Dimwatch never outlives its supervisor, not even one that was killed with SIGKILL.

The supervisor holds the writing end of a pipe. When it dies, in whatever way, the kernel closes that end and
sends SIGKILL to the process group of the reader: also to what the process started itself, and also when it
hangs in native code. (The parent-death signal of Linux would reach the process alone, and leave the rest.)
"""

from __future__ import annotations

import fcntl
import os
import select
import signal
import sys
import threading
from typing import Final

PIPE_VARIABLE: Final = "DIMWATCH_SUPERVISOR_PIPE"
"""Names the descriptor of the pipe; it must be this process's own, as the kernel keeps one owner a pipe."""


def follow_supervisor() -> None:
    """Die with the supervisor that started this process; does nothing in a process that a person started.

    The process must lead its own process group.
    """
    variable = os.environ.pop(PIPE_VARIABLE, None)
    if variable is None:
        return
    descriptor = int(variable)
    if sys.platform != "linux":
        threading.Thread(target=_wait_for_end, args=(descriptor,), name="supervisor-guard", daemon=True).start()
        return
    fcntl.fcntl(descriptor, fcntl.F_SETOWN, -os.getpgrp())
    fcntl.fcntl(descriptor, fcntl.F_SETSIG, signal.SIGKILL)
    fcntl.fcntl(descriptor, fcntl.F_SETFL, fcntl.fcntl(descriptor, fcntl.F_GETFL) | os.O_ASYNC)
    if select.select([descriptor], [], [], 0)[0]:
        _wait_for_end(descriptor)  # the supervisor was gone before the kernel knew whom to tell


def _wait_for_end(descriptor: int) -> None:
    while os.read(descriptor, 1):
        pass
    os.killpg(0, signal.SIGKILL)
