"""`dimwatch doctor` on sound and unsound set-ups."""

from __future__ import annotations

import socket
import sqlite3
from collections.abc import Iterable
from importlib import util
from pathlib import Path

import pytest
from pydantic import SecretStr

from dimwatch.app import doctor, machine
from dimwatch.app.configuration import Resolved, resolve
from dimwatch.app.machine import Finding
from dimwatch.eventlog.base import NewRecord
from dimwatch.eventlog.sqlite import SqliteEventLog
from tests.needs import missing


@pytest.fixture
def resolved(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Resolved:
    monkeypatch.chdir(tmp_path)
    return resolve({"data": tmp_path / "data"})


def bad(findings: Iterable[Finding]) -> list[Finding]:
    found = [finding for finding in findings if finding.verdict != "ok"]
    assert all(finding.remedy for finding in found), "every bad finding names the remedy"
    return found


def test_this_installation_is_sound() -> None:
    assert not bad(doctor.python())
    assert not [finding for finding in doctor.libraries() if finding.verdict == "fail"]
    assert not bad(doctor.packages())


def test_a_package_of_another_project_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "detectors").mkdir()
    (tmp_path / "detectors" / "__init__.py").touch()
    (tmp_path / "detectors-0.1.dist-info").mkdir()
    (tmp_path / "detectors-0.1.dist-info" / "METADATA").write_text("Name: detectors\nVersion: 0.1\n")
    (tmp_path / "detectors-0.1.dist-info" / "top_level.txt").write_text("detectors\n")
    monkeypatch.syspath_prepend(tmp_path)
    (finding,) = bad(doctor.packages())
    assert "another project (detectors)" in finding.detail
    assert "pip uninstall detectors" in finding.remedy


def test_a_folder_that_hides_a_package_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "dashboard").mkdir()
    (tmp_path / "dashboard" / "__init__.py").touch()
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(__import__("sys").modules, "dashboard", raising=False)
    if str(util.find_spec("dashboard").origin).startswith(str(tmp_path)):  # type: ignore[union-attr]
        (finding,) = bad(doctor.packages())
        assert str(tmp_path) in finding.detail


def test_a_taken_port_is_found(resolved: Resolved) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        resolved.settings.dashboard.port = server.getsockname()[1]
        failed = [finding for finding in doctor.ports(resolved.settings) if "dashboard.port" in finding.detail]
    (finding,) = bad(failed)
    assert finding.verdict == "fail"
    assert "--dashboard-port" in finding.remedy


def test_a_sound_eventlog_and_a_damaged_one(resolved: Resolved) -> None:
    path = resolved.settings.eventlog_path
    assert not bad(doctor.eventlog(resolved.settings)), "none is none the worse"
    log = SqliteEventLog(path, max_bytes=1 << 30)
    log.append({"spans": [NewRecord(bytes(20_000), n) for n in range(200)]})
    log.close()
    assert not bad(doctor.eventlog(resolved.settings))
    with sqlite3.connect(path) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    connection.close()
    with path.open("r+b") as file:
        file.seek(16384 * 2)
        file.write(b"\xff" * 16384 * 3)
    (finding,) = bad(doctor.eventlog(resolved.settings))
    assert finding.verdict == "fail"


def test_a_clock_behind_the_records_is_found(resolved: Resolved) -> None:
    log = SqliteEventLog(resolved.settings.eventlog_path, max_bytes=1 << 30)
    log.append({"spans": [NewRecord(b"", 2**62)]})
    log.close()
    (finding,) = bad(machine.clock(resolved.settings))
    assert "behind the newest record" in finding.detail


def test_a_store_that_can_not_be_opened_is_found(resolved: Resolved) -> None:
    assert not bad(doctor.store(resolved.settings)), "none is none the worse"
    resolved.settings.store_path.parent.mkdir()
    resolved.settings.store_path.write_text("not a folder")
    (finding,) = bad(doctor.store(resolved.settings))
    assert finding.verdict == "fail"
    assert "can not be opened" in finding.detail
    assert "stored again" in finding.remedy


def test_listening_to_the_world_without_a_token_is_found(resolved: Resolved) -> None:
    assert not bad(doctor.settings_are_sound(resolved))
    resolved.settings.receiver.host = "0.0.0.0"
    (finding,) = bad(doctor.settings_are_sound(resolved))
    assert "a token is needed" in finding.detail
    resolved.settings.receiver.token = SecretStr("s3cret")
    (finding,) = bad(doctor.settings_are_sound(resolved))
    assert (finding.verdict, "no TLS" in finding.detail) == ("warn", True)
    resolved.settings.receiver.tls_cert = Path("cert.pem")
    (finding,) = bad(doctor.settings_are_sound(resolved))
    assert (finding.verdict, "go together" in finding.detail) == ("fail", True)


def test_secrets_are_masked_and_their_open_file_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    config = tmp_path / "dimwatch.toml"
    config.write_text("[receiver]\ntoken = 's3cret'\n")
    config.chmod(0o644)
    resolved = resolve()
    (finding,) = bad(doctor.settings_are_sound(resolved))
    assert "chmod 600" in finding.remedy
    shown = {setting["name"]: setting for setting in doctor.shown_settings(resolved)}
    assert shown["receiver.token"] == {
        "name": "receiver.token",
        "value": doctor.MASK,
        "origin": "file dimwatch.toml",
    }
    assert "s3cret" not in str(shown)
    config.chmod(0o600)
    assert not bad(doctor.settings_are_sound(resolved))


def test_a_data_folder_of_nobody_is_found(resolved: Resolved) -> None:
    assert not bad(machine.data_folder(resolved.settings))
    resolved.settings.data = Path("/proc/dimwatch")
    failed = {finding.check: finding.verdict for finding in bad(machine.data_folder(resolved.settings))}
    assert failed["data folder"] == "fail"


def test_a_data_folder_in_memory_is_told(resolved: Resolved) -> None:
    if not Path("/dev/shm").is_mount():
        missing("no /dev/shm, a file system in memory that Linux has")
    resolved.settings.data = Path("/dev/shm/dimwatch")
    (finding,) = bad(machine.data_folder(resolved.settings))
    assert (finding.check, finding.verdict) == ("file system", "warn")
