"""The checks of `dimwatch doctor`. Each one says what it found and, when that is bad, the remedy."""

from __future__ import annotations

import asyncio
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from importlib import metadata, util
from pathlib import Path
from typing import Final

import orjson
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name
from pydantic import BaseModel, SecretStr

from dimwatch.app import health, machine
from dimwatch.app.collector import check_exposure
from dimwatch.app.configuration import Resolved, setting_names, unknown_variables, value_of
from dimwatch.app.instance import follow, locked, running
from dimwatch.app.machine import Finding
from dimwatch.app.ports import ports_of, problem
from dimwatch.errors import DimwatchError, PermanentError
from dimwatch.eventlog.inspect import damages
from dimwatch.settings import Receiver, Settings
from dimwatch.store.access import is_loopback
from ingest.otlp.tls import http_context

OUR_PACKAGES: Final = ("dimwatch", "ingest", "detectors", "dashboard")
MASK: Final = "********"
_REINSTALL: Final = "install again in an environment of its own: `make install`"
_EVENTLOG_CHECK_S: Final = 60.0
_STORE_OPEN_S: Final = 120.0
_OPEN_STORE: Final = (
    "import sys; from pathlib import Path; from dimwatch.store.engine import Engine; "
    "Engine(Path(sys.argv[1]), max_memory_bytes=1 << 30).close()"
)
_LOCKED: Final = re.compile(r"^([A-Za-z0-9._-]+)==([^\s;\\]+)", re.MULTILINE)


def examine(resolved: Resolved) -> Iterator[Finding]:
    """Run all checks, one after the other."""
    settings = resolved.settings
    yield from python()
    yield from libraries()
    yield from packages()
    yield from settings_are_sound(resolved)
    yield from machine.data_folder(settings)
    yield from machine.disk(settings)
    yield from machine.memory()
    yield from machine.descriptors()
    yield from machine.clock(settings)
    yield from ports(settings)
    yield from eventlog(settings)
    yield from store(settings)


def shown_settings(resolved: Resolved) -> list[dict[str, str]]:
    """Every setting with its value, secrets masked, and where it came from."""
    return [
        {
            "name": name,
            "value": _shown(value_of(resolved.settings, name)),
            "origin": resolved.origins[name],
        }
        for name in setting_names()
    ]


def python() -> Iterator[Finding]:
    """The interpreter's version."""
    needed = metadata.metadata("dimwatch")["Requires-Python"]
    found = ".".join(map(str, sys.version_info[:3]))
    if SpecifierSet(needed).contains(found):
        yield Finding("Python", "ok", found)
    else:
        yield Finding("Python", "fail", f"{found}, needed {needed}", "install that Python, then `make install`")


def libraries() -> Iterator[Finding]:
    """Installed versions against what Dimwatch needs, and against the lock file if it is a source check-out."""
    bad = []
    for line in metadata.requires("dimwatch") or []:
        requirement = Requirement(line)
        if requirement.marker is not None and not requirement.marker.evaluate({"extra": ""}):
            continue
        found = _version(requirement.name)
        if found is None or not requirement.specifier.contains(found, prereleases=True):
            bad.append(f"{requirement.name} is {found or 'missing'}, needed {requirement.specifier or 'any'}")
    if bad:
        yield Finding("libraries", "fail", "; ".join(bad), _REINSTALL)
        return
    differing = list(_differing_from_lock())
    if differing:
        yield Finding("libraries", "warn", f"not as locked: {', '.join(differing)}", _REINSTALL)
    else:
        yield Finding("libraries", "ok", "as needed")


def packages() -> Iterator[Finding]:
    """Whether our packages are ours: other projects install packages named `detectors` and `dashboard`."""
    ours = _folder("dimwatch")
    installed = metadata.packages_distributions()
    for name in OUR_PACKAGES:
        folder = _folder(name)
        strangers = sorted({*installed.get(name, ())} - {"dimwatch"})
        if strangers:
            detail = f"another project ({', '.join(strangers)}) has installed a package named {name}"
            remedy = f"`pip uninstall {' '.join(strangers)}`, then {_REINSTALL}"
            yield Finding("packages", "fail", detail, remedy)
        elif folder is None or ours is None or folder.parent != ours.parent:
            detail = f"{name} comes from {folder or 'nowhere'}, not from {ours and ours.parent}"
            yield Finding("packages", "fail", detail, f"remove or rename it, then {_REINSTALL}")
        else:
            yield Finding("packages", "ok", f"{name} is ours")


def settings_are_sound(resolved: Resolved) -> Iterator[Finding]:
    """Settings that are misspelt, contradict each other, or give a secret away."""
    settings = resolved.settings
    unknown = unknown_variables(os.environ)
    if unknown:
        remedy = "correct or unset them; the settings below name all that exist"
        yield Finding("settings", "warn", f"variables that are no settings: {', '.join(unknown)}", remedy)
    yield from _receiver_is_guarded(settings.receiver)
    for name, origin in resolved.origins.items():
        path = Path(origin.removeprefix("file "))
        if origin.startswith("file ") and _is_secret(value_of(settings, name)) and _is_open(path):
            yield Finding("settings", "warn", f"{path} holds {name} and others may read it", f"`chmod 600 {path}`")
    yield Finding("settings", "ok", "read")


def _receiver_is_guarded(receiver: Receiver) -> Iterator[Finding]:
    try:
        check_exposure(receiver)
        encrypted = http_context(receiver) is not None
    except PermanentError as error:
        detail, _, remedy = str(error).partition(": ")
        yield Finding("settings", "fail", detail, remedy)
        return
    if receiver.tls_key is not None and _is_open(receiver.tls_key):
        remedy = f"`chmod 600 {receiver.tls_key}`"
        yield Finding("settings", "warn", f"others may read receiver.tls_key {receiver.tls_key}", remedy)
    if not encrypted and not is_loopback(receiver.host):
        remedy = "set receiver.tls_cert and receiver.tls_key, or put a proxy with TLS in front"
        yield Finding("settings", "warn", f"what is sent to {receiver.host} can be read on the way: no TLS", remedy)


def ports(settings: Settings) -> Iterator[Finding]:
    """Whether the ports are free, or ours already."""
    instance = running(settings.data)
    for port in ports_of(follow(settings)):
        trouble = None if instance is not None else problem(port)
        if instance is not None:
            yield Finding("ports", "ok", f"{port.number} ({port.setting}) is held by Dimwatch")
        elif trouble is None:
            yield Finding("ports", "ok", f"{port.number} ({port.setting}) is free")
        else:
            detail, _, remedy = trouble.partition("; ")
            yield Finding("ports", "fail", detail, remedy)


def eventlog(settings: Settings) -> Iterator[Finding]:
    """The integrity of the eventlog's file, or what the brokers say."""
    if settings.eventlog.backend == "kafka":
        from dimwatch.app.doctor_servers import kafka  # Kafka's client takes a while to load

        yield from kafka(settings)
        return
    path = settings.eventlog_path
    if not path.exists():
        yield Finding("eventlog", "ok", "there is none yet")
        return
    found = damages(path, _EVENTLOG_CHECK_S)
    if found is None:
        yield Finding("eventlog", "warn", f"checking took over {_EVENTLOG_CHECK_S:.0f} s", "check it when idle")
    elif found:
        remedy = "stop Dimwatch, keep a copy of the file, remove it and start again; the store keeps what it has"
        yield Finding("eventlog", "fail", "; ".join(found[:3]), remedy)
    else:
        yield Finding("eventlog", "ok", f"{path.stat().st_size / 1e6:.1f} MB, sound")


def store(settings: Settings) -> Iterator[Finding]:
    """Whether the store answers or, when Dimwatch is stopped, can be opened."""
    if settings.store.mode == "server":
        from dimwatch.app.doctor_servers import clickhouse

        yield from clickhouse(settings)
    elif running(settings.data) is not None or _answers(settings):  # by `dimwatch up`, or by itself
        try:
            health.require_store(follow(settings))
        except DimwatchError as error:
            yield Finding("store", "fail", str(error), "see `dimwatch status` and its log")
        else:
            yield Finding("store", "ok", "answers")
    elif not settings.store_path.exists():
        yield Finding("store", "ok", "there is none yet")
    else:
        yield _opens(settings)


def _answers(settings: Settings) -> bool:
    return asyncio.run(health.get(settings.store.host, settings.store.http_port, "/ping")) is not None


def _opens(settings: Settings) -> Finding:
    try:
        with locked(settings):
            # The engine opens in a process of its own: one that is damaged may end it.
            subprocess.run(  # noqa: S603 - a program of ours
                [sys.executable, "-P", "-c", _OPEN_STORE, str(settings.store_path)],
                check=True,
                capture_output=True,
                timeout=_STORE_OPEN_S,
            )
    except PermanentError as error:
        return Finding("store", "warn", str(error), "try again")
    except subprocess.TimeoutExpired:
        return Finding("store", "warn", f"does not open within {_STORE_OPEN_S:.0f} s", "see its log while it starts")
    except subprocess.CalledProcessError as error:
        reason = error.stderr.decode(errors="replace").strip().splitlines()[-1:] or [f"status {error.returncode}"]
        remedy = (
            f"put back a backup of all of {settings.data}; or move {settings.store_path} away and start: what the "
            f"eventlog still keeps ({settings.eventlog.keep_hours:g} h, less when it was full) is stored again"
        )
        return Finding("store", "fail", f"can not be opened: {reason[0][:300]}", remedy)
    return Finding("store", "ok", "opens")


def _version(distribution: str) -> str | None:
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return None


def _differing_from_lock() -> Iterator[str]:
    folder = _folder("dimwatch")
    lock = folder.parent / "requirements.lock" if folder else None
    if lock is None or not lock.is_file():
        return
    wanted: dict[str, set[str]] = {}  # a universal lock may name several versions, for different platforms
    for name, version in _LOCKED.findall(lock.read_text(encoding="utf-8")):
        wanted.setdefault(canonicalize_name(name), set()).add(version)
    for name, versions in wanted.items():
        found = _version(name)
        if found is not None and found not in versions:
            yield f"{name} {found} instead of {' or '.join(sorted(versions))}"


def _folder(package: str) -> Path | None:
    spec = util.find_spec(package)
    return Path(spec.origin).parent if spec is not None and spec.origin else None


def _is_secret(value: object) -> bool:
    """Whether a setting is a secret, or a target that holds one as text."""
    if isinstance(value, list):
        return any(_is_secret(held) for item in value if isinstance(item, BaseModel) for _, held in item)
    return isinstance(value, SecretStr)


def _is_open(path: Path) -> bool:
    return path.is_file() and bool(path.stat().st_mode & 0o077)


def _plain(value: object) -> object:
    if isinstance(value, SecretStr):
        return MASK
    return value.model_dump() if isinstance(value, BaseModel) else str(value)


def _shown(value: object) -> str:
    if isinstance(value, SecretStr):
        return MASK if value.get_secret_value() else ""
    if isinstance(value, list):
        return orjson.dumps(value, default=_plain).decode()
    return "" if value is None else str(value)
