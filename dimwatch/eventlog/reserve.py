"""Disk space that is kept back, so that a full disk can still be emptied.

Deleting records and committing offsets write to the disk before they free anything. The reserve is a file of
real blocks beside the database: urgent writes may take it when the disk is full, and appends are refused
until it is back.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

RESERVE_BYTES: Final = 8 * 1024 * 1024


class Reserve:
    """The reserve of one eventlog; every process that opens the eventlog sees the same file."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def release(self) -> None:
        """Give the space to the writes that free more."""
        self._path.unlink(missing_ok=True)

    def restore(self) -> bool:
        """Take the space back if it was released; False while the disk has none."""
        if self._path.exists():
            return True
        # Built under another name: only a whole reserve counts, also for the other processes.
        draft = self._path.with_name(f"{self._path.name}.{os.getpid()}")
        try:
            with draft.open("wb") as file:
                if hasattr(os, "posix_fallocate"):
                    os.posix_fallocate(file.fileno(), 0, RESERVE_BYTES)
                else:
                    file.write(bytes(RESERVE_BYTES))
            draft.replace(self._path)
        except OSError:
            draft.unlink(missing_ok=True)
            return False
        return True
