"""What `dimwatch doctor` says of a ClickHouse server. The embedded store speaks as one does."""

from __future__ import annotations

from pathlib import Path

from dimwatch.app.doctor_servers import clickhouse
from dimwatch.settings import Settings
from tests.contract.store.conftest import RunningStore


def test_a_server_that_answers_with_its_tables_is_fit(store: RunningStore) -> None:
    findings = list(clickhouse(store.settings))
    assert {finding.verdict for finding in findings} == {"ok"}, findings
    assert findings[0].detail.startswith("ClickHouse 2")
    assert findings[-1].detail == "the tables of dimwatch are up to date"


def test_a_server_that_does_not_answer_is_told(tmp_path: Path) -> None:
    away = Settings.model_validate({"data": tmp_path, "store": {"mode": "server", "http_port": 1}})
    (finding,) = clickhouse(away)
    assert (finding.check, finding.verdict) == ("store", "fail")
    assert "127.0.0.1:1" in finding.detail
    assert "store.host" in finding.remedy


def test_an_account_that_is_not_known_is_told(store: RunningStore) -> None:
    stranger = store.settings.model_copy(deep=True)
    stranger.data = stranger.data / "elsewhere"  # without the token of Dimwatch's own
    stranger.store.user = "stranger"
    (finding,) = clickhouse(stranger)
    assert finding.verdict == "fail"
    assert "docs/clickhouse.md" in finding.remedy
