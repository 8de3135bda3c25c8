"""Disk space that is kept back, so that a full disk can still be emptied.

Committing offsets and removing records write before they free anything. The reserve is a file of real blocks
beside the database. When the disk is full, these urgent writes may take it; appends then have to wait until it
is back, or until as much is free inside the database's own file, which serves the same end.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

RESERVE_BYTES: Final = 48 * 1024 * 1024
"""Enough to copy a whole WAL into the database's file (a checkpoint's worth and one transaction), and some."""


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
            disk = os.statvfs(self._path.parent)
            if disk.f_bavail * disk.f_frsize < RESERVE_BYTES:
                return False
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
