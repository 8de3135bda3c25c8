"""Settings: who wins, what is refused, and how processes are handed them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import get_args

import pytest

from detectors.plugins.table import PLUGINS
from dimwatch.app.configuration import as_environment, resolve, setting_names, unknown_variables, value_of
from dimwatch.errors import PermanentError
from dimwatch.settings import Settings, ShadowName


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


SLO = {"name": "runs", "signal": "run_failed", "scope": {"agent": "shop"}, "objective": 0.99}


def test_objectives_and_detectors_in_shadow_come_from_any_source(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = tmp_path / "some.toml"
    config.write_text(
        "[detection]\nshadow = ['adwin']\n[[detection.slos]]\nname = 'runs'\nsignal = 'run_failed'\n"
        "scope = { agent = 'shop' }\nobjective = 0.99\n"
    )
    told = resolve({}, config).settings.detection
    assert [slo.model_dump() for slo in told.slos] == [{**SLO, "window_d": 30.0}]
    assert told.shadow == ["adwin"]
    flags = {"detection.slos": json.dumps([SLO]), "detection.shadow": "adwin"}
    assert resolve(flags).settings.detection == told
    monkeypatch.setenv("DIMWATCH_DETECTION__SLOS", flags["detection.slos"])
    monkeypatch.setenv("DIMWATCH_DETECTION__SHADOW", "adwin,page_hinkley")
    assert resolve().settings.detection.slos == told.slos
    assert resolve().settings.detection.shadow == ["adwin", "page_hinkley"]


@pytest.mark.parametrize(
    ("name", "value", "told"),
    [
        ("detection.slos", [{**SLO, "objective": 1}], r"detection\.slos\.0\.objective \(flag\): .*less than 1"),
        ("detection.slos", [{**SLO, "objektive": 1}], r"slos\.0\.objektive .*not permitted"),
        ("detection.slos", [{**SLO, "window_d": 1}], r"slos\.0\.window_d .*greater than or equal to 7"),
        ("detection.slos", [{**SLO, "scope": {"team": "a"}}], r"slos\.0\.scope\.team.*'agent', 'provider'"),
        ("detection.slos", [SLO, SLO], "two are called 'runs'"),
        ("detection.slos", [{**SLO, "signal": "run_latency"}], r"slos \(flag\): objective 'runs': .*choose one of"),
        ("detection.slos", "[{", r"slos \(flag\): .*not a JSON list"),
        ("detection.shadow", "adwin,burn_rate", r"shadow\.1 \(flag\): .*'half_space_trees'"),
    ],
)
def test_a_wrong_objective_or_detector_is_refused_and_told(name: str, value: object, told: str) -> None:
    with pytest.raises(PermanentError, match=told):
        resolve({name: value if isinstance(value, str) else json.dumps(value)})


def test_every_detector_but_that_of_objectives_can_be_in_shadow() -> None:
    assert {*get_args(ShadowName), "burn_rate"} == set(PLUGINS)


def test_processes_get_exactly_the_same_settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = tmp_path / "some.toml"
    config.write_text(
        "[receiver]\ntoken = 's3cret'\nmax_body = '3MiB'\n[redaction]\nenabled = false\n"
        "[store]\npassword = 'é\"'\n[prices]\nfile = 'prices.json'\n[assembly]\nlinger_s = 1e-3\n"
        "[detection]\nshadow = ['adwin', 'page_hinkley']\n"
        "[[detection.slos]]\nname = 'é\"'\nsignal = 'run_failed'\nobjective = 0.99\n"
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
