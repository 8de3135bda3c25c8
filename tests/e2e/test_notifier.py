"""The notifier as a process: killed while it sends, to a receiver that fails; and under `dimwatch up`."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks import notify

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(900)]


def test_kills_lose_nothing_and_double_nothing(tmp_path: Path) -> None:
    result = notify.run(tmp_path, kills=2)
    assert result.good, notify.table(result)
    assert result.incidents >= 3
    log = (tmp_path / "notifier.log").read_text()
    assert "delivered" in log
    assert "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw" not in log
