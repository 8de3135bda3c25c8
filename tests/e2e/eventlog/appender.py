"""Appends records from several threads and prints the number of each one that was acknowledged."""

from __future__ import annotations

import os
import sys
import threading
from pathlib import Path

from dimwatch.eventlog.base import NewRecord
from dimwatch.eventlog.sqlite import SqliteEventLog

THREADS = 4
STEP = 1_000_000


def main(path: Path, first: int) -> None:
    log = SqliteEventLog(path, max_bytes=10**10)

    def append(thread: int) -> None:
        for number in range(first + thread * STEP, first + (thread + 1) * STEP):
            value = b"%d " % number + os.urandom(number % 3000)
            log.append({"t": [NewRecord(value, number)], "twin": [NewRecord(b"%d" % number, number)]})
            os.write(1, b"%d\n" % number)  # short enough to be one whole write to the pipe

    for thread in range(THREADS):
        threading.Thread(target=append, args=[thread]).start()


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
