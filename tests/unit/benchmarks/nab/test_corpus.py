import json
from pathlib import Path

import numpy as np
import pytest

from benchmarks.nab.__main__ import main
from benchmarks.nab.corpus import load


def write(folder: Path, records: int = 300) -> None:
    (folder / "data" / "kind").mkdir(parents=True)
    (folder / "labels").mkdir()
    rng = np.random.default_rng(3)
    values = rng.normal(10, 1, records)
    values[200:210] += 30
    rows = [
        f"2020-01-{1 + at // 96:02d} {at // 4 % 24:02d}:{at % 4 * 15:02d}:00,{value}" for at, value in enumerate(values)
    ]
    (folder / "data" / "kind" / "one.csv").write_text("timestamp,value\n" + "\n".join(rows) + "\n")
    window = ["2020-01-03 01:00:00.000000", "2020-01-03 05:00:00.000000"]
    labels = {"kind/one.csv": [window], "kind/not_here.csv": []}
    (folder / "labels" / "combined_windows.json").write_text(json.dumps(labels))


def test_windows_are_given_by_their_records(tmp_path: Path) -> None:
    write(tmp_path)
    (series,) = load(tmp_path)
    assert (series.name, series.group, len(series.values)) == ("kind/one.csv", "kind", 300)
    assert series.windows == ((196, 212),)
    assert np.diff(series.times_s).tolist() == [900.0] * 299


def test_the_command_says_what_it_needs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("DIMWATCH_DATA", raising=False)
    monkeypatch.setattr("sys.argv", ["nab"])
    assert main() == 2
    assert "--data" in capsys.readouterr().err
    with pytest.raises(FileNotFoundError):
        load(tmp_path)
