"""What `dimwatch doctor` asks of the machine: disk, memory, file system, clock, descriptors."""

from __future__ import annotations

import ctypes
import os
import resource
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

import dimwatch
from dimwatch.clock import NS_PER_SECOND, SystemClock
from dimwatch.errors import RetryableError
from dimwatch.eventlog.inspect import newest_ns
from dimwatch.settings import Settings

Verdict = Literal["ok", "warn", "fail"]

GIB: Final = 1 << 30
_SPACE_FAIL, _SPACE_WARN = 1 * GIB, 5 * GIB
_MEMORY_FAIL, _MEMORY_WARN = GIB // 2, 2 * GIB
_FSYNC_WARN_S: Final = 0.02
_DESCRIPTORS_FAIL, _DESCRIPTORS_WARN = 256, 4096
_NETWORK: Final = {"nfs", "nfs4", "cifs", "smb3", "smbfs", "fuse.sshfs", "fuse.glusterfs", "ceph", "afs", "9p"}
_MEMORY_ONLY: Final = {"tmpfs", "ramfs"}
_CLOCK_AHEAD_S: Final = 300


@dataclass(frozen=True, slots=True)
class Finding:
    """The result of one check, and what to do about it."""

    check: str
    verdict: Verdict
    detail: str
    remedy: str = ""


def data_folder(settings: Settings) -> Iterator[Finding]:
    """Whether the data folder (or where it will be made) can be written, and keeps what is written."""
    folder = existing(settings.data)
    try:
        with tempfile.TemporaryFile(dir=folder):
            yield Finding("data folder", "ok", f"{settings.data} can be written")
    except OSError as error:
        remedy = "give the folder to this user, or choose another with --data"
        yield Finding("data folder", "fail", f"{folder} can not be written: {error.strerror}", remedy)
    kind = _file_system(folder)
    if kind in _NETWORK:
        remedy = "put the data on a local disk with --data: file locks and fsync are not reliable there"
        yield Finding("file system", "fail", f"{folder} is on a network file system ({kind})", remedy)
    elif kind in _MEMORY_ONLY:
        remedy = "put the data on a disk with --data"
        yield Finding("file system", "warn", f"{folder} is in memory ({kind}): a restart loses it", remedy)
    else:
        yield Finding("file system", "ok", kind or "unknown")


def disk(settings: Settings) -> Iterator[Finding]:
    """Free space, and how long the disk takes to make a small write durable."""
    folder = existing(settings.data)
    free = shutil.disk_usage(folder).free
    verdict: Verdict = "fail" if free < _SPACE_FAIL else "warn" if free < _SPACE_WARN else "ok"
    remedy = "free some space, lower store.keep_days, or choose another disk with --data"
    yield Finding("disk space", verdict, f"{free / GIB:.1f} GiB free", "" if verdict == "ok" else remedy)
    try:
        seconds = _fsync_s(folder)
    except OSError as error:
        yield Finding("disk speed", "fail", f"fsync fails: {error.strerror}", "check the disk")
        return
    slow = seconds > _FSYNC_WARN_S
    remedy = "every sender waits for one fsync: use a faster disk" if slow else ""
    yield Finding("disk speed", "warn" if slow else "ok", f"fsync takes {seconds * 1e3:.1f} ms (median)", remedy)


def memory() -> Iterator[Finding]:
    """Memory that is left, for the machine or for this container."""
    available = _available_memory()
    if available is None:
        return
    verdict: Verdict = "fail" if available < _MEMORY_FAIL else "warn" if available < _MEMORY_WARN else "ok"
    remedy = "" if verdict == "ok" else "give Dimwatch 2 GiB or more"
    yield Finding("memory", verdict, f"{available / GIB:.1f} GiB available", remedy)


def descriptors() -> Iterator[Finding]:
    """How many files and connections a process may have open."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    limit = sys.maxsize if soft == resource.RLIM_INFINITY else soft
    verdict: Verdict = "fail" if limit < _DESCRIPTORS_FAIL else "warn" if limit < _DESCRIPTORS_WARN else "ok"
    remedy = "" if verdict == "ok" else f"`ulimit -n {_DESCRIPTORS_WARN}` or LimitNOFILE= in the service"
    yield Finding("file descriptors", verdict, f"{soft} allowed", remedy)


def clock(settings: Settings) -> Iterator[Finding]:
    """Whether the clock is plausible: times of spans are compared with it."""
    now_s = SystemClock().now_ns() / NS_PER_SECOND
    remedy = "set the clock and keep it with NTP (chrony, systemd-timesyncd)"
    try:
        newest = newest_ns(settings.eventlog_path)
    except RetryableError:
        newest = None  # the check of the eventlog tells
    if now_s < Path(dimwatch.__file__).stat().st_mtime - 86_400:
        yield Finding("clock", "fail", "it is behind the time at which Dimwatch was installed", remedy)
    elif newest is not None and newest / NS_PER_SECOND > now_s + _CLOCK_AHEAD_S:
        ahead = newest / NS_PER_SECOND - now_s
        yield Finding("clock", "fail", f"it is {ahead:.0f} s behind the newest record", remedy)
    elif _unsynchronised():
        yield Finding("clock", "warn", "plausible, but the kernel knows of no synchronisation", remedy)
    else:
        yield Finding("clock", "ok", "plausible and synchronised")


def existing(folder: Path) -> Path:
    """The folder, or the nearest one above it that exists."""
    return next(path for path in (folder, *folder.parents) if path.is_dir())


def _fsync_s(folder: Path) -> float:
    durations = []
    with tempfile.TemporaryFile(dir=folder, buffering=0) as file:
        for _ in range(20):
            file.write(b"\0" * 4096)
            started = time.perf_counter()
            os.fsync(file.fileno())
            durations.append(time.perf_counter() - started)
    return statistics.median(durations)


def _file_system(folder: Path) -> str | None:
    """The type of the file system that holds a folder (Linux)."""
    try:
        lines = Path("/proc/self/mountinfo").read_text().splitlines()
    except OSError:
        return None
    best, kind = "", None
    resolved = f"{folder.resolve()}/"
    for line in lines:
        mount, _, rest = line.partition(" - ")
        point = mount.split(" ")[4].encode().decode("unicode_escape").rstrip("/") + "/"
        if resolved.startswith(point) and len(point) >= len(best):
            best, kind = point, rest.split(" ")[0]
    return kind


def _available_memory() -> int | None:
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
    except OSError:
        return None
    available = next((int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable:")), None)
    group = Path("/sys/fs/cgroup")
    try:
        left = int((group / "memory.max").read_text()) - int((group / "memory.current").read_text())
    except (OSError, ValueError):  # no cgroup of version 2, or "max"
        return available
    return left if available is None else min(available, left)


def _unsynchronised() -> bool:
    if sys.platform != "linux":
        return False
    time_error = 5
    buffer = ctypes.create_string_buffer(512)  # struct timex, all zero: only asks
    return bool(ctypes.CDLL(None).adjtimex(buffer) == time_error)
