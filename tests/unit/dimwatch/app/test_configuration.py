"""Settings: who wins, what is refused, and how processes are handed them."""

from __future__ import annotations

from pathlib import Path

import pytest

from dimwatch.app.configuration import as_environment, resolve, setting_names, unknown_variables, value_of
from dimwatch.errors import PermanentError
from dimwatch.settings import Settings


@pytest.fixture(autouse=True)
def _alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def test_flags_win_over_environment_over_file_over_defaults(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = tmp_path / "some.toml"
    config.write_text("[receiver]\ngrpc_port = 1\nhttp_port = 1\n[store]\nhttp_port = 1\n")
    monkeypatch.setenv("DIMWATCH_RECEIVER__GRPC_PORT", "2")
    monkeypatch.setenv("DIMWATCH_RECEIVER__HTTP_PORT", "2")
    resolved = resolve({"receiver.grpc_port": 3, "dashboard.port": None}, config)
    ports = ("receiver.grpc_port", "receiver.http_port", "store.http_port", "dashboard.port")
    assert [value_of(resolved.settings, name) for name in ports] == [3, 2, 1, 8501]
    assert [resolved.origins[name] for name in ports] == ["flag", "environment", f"file {config}", "default"]


def test_the_file_of_the_data_folder_is_found(tmp_path: Path) -> None:
    (tmp_path / "kept").mkdir()
    (tmp_path / "kept" / "dimwatch.toml").write_text("[dashboard]\nport = 7\n")
    (tmp_path / "dimwatch.toml").write_text("[dashboard]\nport = 8\n")
    assert resolve({"data": Path("kept")}).settings.dashboard.port == 7
    assert resolve({"data": Path("other")}).settings.dashboard.port == 8
    assert resolve({"data": Path("other")}).settings.data == tmp_path / "other"


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("[receiver]\ngrcp_port = 1\n", "did you mean receiver.grpc_port"),
        ("[receiver]\ngrpc_port = 'many'\n", "receiver.grpc_port"),
        ("receiver = [", "not valid TOML"),
    ],
)
def test_a_wrong_file_is_refused_with_the_name_of_the_setting(tmp_path: Path, text: str, told: str) -> None:
    config = tmp_path / "bad.toml"
    config.write_text(text)
    with pytest.raises(PermanentError, match=told) as refused:
        resolve({}, config)
    assert str(config) in str(refused.value)


def test_a_missing_file_that_was_named_is_refused(tmp_path: Path) -> None:
    with pytest.raises(PermanentError, match="can not read the settings file"):
        resolve({}, tmp_path / "none.toml")


def test_a_misspelt_variable_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DIMWATCH_RECEIVER__TOKN", "s3cret")
    with pytest.raises(PermanentError, match="did you mean DIMWATCH_RECEIVER__TOKEN") as refused:
        resolve()
    assert "s3cret" not in str(refused.value)
    assert unknown_variables({"DIMWATCH_RECEIVER__TOKN": "", "DIMWATCH_DATA": "", "PATH": ""}) == [
        "DIMWATCH_RECEIVER__TOKN"
    ]


def test_a_wrong_secret_is_not_repeated(tmp_path: Path) -> None:
    config = tmp_path / "bad.toml"
    config.write_text("[receiver]\ntoken = ['s3cret']\n")
    with pytest.raises(PermanentError, match=r"receiver\.token") as refused:
        resolve({}, config)
    assert "s3cret" not in str(refused.value)


def test_processes_get_exactly_the_same_settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = tmp_path / "some.toml"
    config.write_text(
        "[receiver]\ntoken = 's3cret'\nmax_body = '3MiB'\n[redaction]\nenabled = false\n"
        "[store]\npassword = 'é\"'\n[prices]\nfile = 'prices.json'\n[assembly]\nlinger_s = 1e-3\n"
    )
    settings = resolve({"data": tmp_path}, config).settings
    inherited = {"PATH": "/bin", "DIMWATCH_DASHBOARD__PORT": "1"}
    environment = as_environment(settings, inherited)
    assert environment["PATH"] == "/bin"
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert Settings() == settings


def test_every_setting_can_be_told_by_name() -> None:
    names = list(setting_names())
    assert len(names) == len(set(names)) > 30
    assert all(value_of(Settings(), name) is not NotImplemented for name in names)
