"""One Dimwatch a data folder: the lock, and the note by which commands find the one that runs."""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import orjson

from dimwatch.errors import PermanentError
from dimwatch.settings import Settings


@dataclass(frozen=True, slots=True)
class Instance:
    """A Dimwatch that runs, and the ports that it was started with."""

    pid: int
    receiver_host: str
    grpc_port: int
    http_port: int
    store_host: str
    store_port: int
    api_host: str
    api_port: int
    dashboard_host: str
    dashboard_port: int
    metrics_port: int


def run_folder(data: Path) -> Path:
    """Where processes keep what only matters while they run."""
    return data / "run"


@contextmanager
def locked(settings: Settings) -> Iterator[None]:
    """Hold the data folder for this process. Raises PermanentError when another Dimwatch has it.

    The lock belongs to the open file, so that the kernel drops it with the process, however that ends.
    """
    folder = run_folder(settings.data)
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        descriptor = os.open(folder / "supervisor.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise PermanentError(
            f"can not write to the data folder {settings.data}: {error.strerror}; "
            "give it to this user, or choose another with --data"
        ) from error
    try:
        try:
            _lock(descriptor)
        except BlockingIOError as error:
            other = os.pread(descriptor, 64, 0).decode(errors="replace").strip()
            raise PermanentError(
                f"Dimwatch is already running on {settings.data}{f' (process {other})' if other else ''}; "
                f"stop it{f' with `kill {other}`' if other else ''}, or choose another folder with --data"
            ) from error
        except OSError as error:
            raise PermanentError(
                f"the file system of {settings.data} has no locks ({error.strerror}); "
                "use a folder on a local disk with --data"
            ) from error
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
        yield
    finally:
        os.close(descriptor)


def _lock(descriptor: int) -> None:
    for _ in range(10):
        try:
            return fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            time.sleep(0.05)  # perhaps only a look of `is_locked`
    return fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)


def is_locked(data: Path) -> bool:
    """Whether a supervisor holds the data folder."""
    try:
        descriptor = os.open(run_folder(data) / "supervisor.lock", os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError:
        return True
    finally:
        os.close(descriptor)
    return False


def note(settings: Settings) -> None:
    """Leave the addresses of this Dimwatch for `running`."""
    instance = {
        "pid": os.getpid(),
        "receiver_host": settings.receiver.host,
        "grpc_port": settings.receiver.grpc_port,
        "http_port": settings.receiver.http_port,
        "store_host": settings.store.host,
        "store_port": settings.store.http_port,
        "api_host": settings.api.host,
        "api_port": settings.api.port,
        "dashboard_host": settings.dashboard.host,
        "dashboard_port": settings.dashboard.port,
        "metrics_port": settings.telemetry.metrics_port,
    }
    path = run_folder(settings.data) / "instance.json"
    temporary = path.with_suffix(".tmp")
    temporary.write_bytes(orjson.dumps(instance))
    temporary.replace(path)


def running(data: Path) -> Instance | None:
    """The Dimwatch that runs on a data folder, if one does."""
    if not is_locked(data):
        return None
    try:
        return Instance(**orjson.loads((run_folder(data) / "instance.json").read_bytes()))
    except (OSError, ValueError, TypeError):
        return None  # it is just starting, or of another version


def follow(settings: Settings) -> Settings:
    """`settings` with the ports of the Dimwatch that runs on the data folder, which flags may have moved."""
    instance = running(settings.data)
    if instance is None:
        return settings
    followed = settings.model_copy(deep=True)
    followed.receiver.host = instance.receiver_host
    followed.receiver.grpc_port = instance.grpc_port
    followed.receiver.http_port = instance.http_port
    followed.store.host = instance.store_host
    followed.store.http_port = instance.store_port
    followed.api.host = instance.api_host
    followed.api.port = instance.api_port
    followed.dashboard.host = instance.dashboard_host
    followed.dashboard.port = instance.dashboard_port
    followed.telemetry.metrics_port = instance.metrics_port
    return followed
