"""What processes use: CPU time and memory, of one alone or with all that it has started."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Final

_TICKS: Final = os.sysconf("SC_CLK_TCK")


def cpu_s(pid: int) -> float:
    """CPU time of a process and of the children that it has waited for."""
    return sum(map(int, _stat(pid)[11:15])) / _TICKS


def peak_bytes(pid: int) -> int:
    """The most memory that a process ever held; 0 when it is about to end."""
    _, _, value = Path(f"/proc/{pid}/status").read_text().partition("VmHWM:")
    return int(value.split()[0]) * 1024 if value else 0


def all_cpu_s(pids: Iterable[int]) -> float:
    """CPU time of these processes and of all that descend from them."""
    return sum(_of_each(cpu_s, pids))


def all_peak_bytes(pids: Iterable[int]) -> float:
    """The most memory that each of these and of their descendants ever held, summed."""
    return sum(_of_each(peak_bytes, pids))


def parent(pid: int) -> int:
    """The process that started it."""
    return int(_stat(pid)[1])


def family(pids: Iterable[int]) -> set[int]:
    """These processes and all that descend from them."""
    children: dict[int, list[int]] = {}
    for path in Path("/proc").glob("[0-9]*"):
        try:
            children.setdefault(parent(int(path.name)), []).append(int(path.name))
        except OSError:  # has ended
            continue
    found: set[int] = set()
    todo = list(pids)
    while todo:
        pid = todo.pop()
        found.add(pid)
        todo += [child for child in children.get(pid, ()) if child not in found]
    return found


def _of_each(measure: Callable[[int], float], pids: Iterable[int]) -> Iterator[float]:
    for pid in family(pids):
        try:
            yield measure(pid)
        except (FileNotFoundError, ProcessLookupError):  # has ended
            continue


def _stat(pid: int) -> list[str]:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
