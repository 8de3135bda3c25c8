"""What the kernel knows of process groups (Linux; elsewhere nothing is known)."""

from __future__ import annotations

import os
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Usage:
    """What the processes of a group use together."""

    resident_bytes: int = 0
    cpu_s: float = 0.0


def usage(groups: Collection[int]) -> dict[int, Usage]:
    """Memory and CPU time of each process group, those of dead members left out."""
    ticks, page = os.sysconf("SC_CLK_TCK"), os.sysconf("SC_PAGE_SIZE")
    used = dict.fromkeys(groups, Usage())
    for process in Path("/proc").glob("[0-9]*"):
        try:
            # The command name is in brackets and may hold blanks and brackets itself.
            fields = (process / "stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue
        so_far = used.get(int(fields[2]))
        if so_far is not None:
            used[int(fields[2])] = Usage(
                so_far.resident_bytes + int(fields[21]) * page,
                so_far.cpu_s + (int(fields[11]) + int(fields[12])) / ticks,
            )
    return used
