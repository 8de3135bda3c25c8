"""The notebooks run from the first cell to the last, and draw what they promise."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Any

import nbformat
import pytest
from nbclient import NotebookClient

from dimwatch.settings import Settings
from tests.docs.generated import ROOT

FOLDER = ROOT / "notebooks"
CHARTS = {"anatomy_of_a_brownout": 6, "cost_per_successful_outcome": 6}
PICTURES = "\nalt.renderers.enable('png')"

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(900)]


def test_every_notebook_is_listed_and_kept_without_outputs() -> None:
    assert {path.stem for path in FOLDER.glob("*.ipynb")} == CHARTS.keys()
    readme = (FOLDER / "README.md").read_text(encoding="utf-8")
    for name in CHARTS:
        assert f"({name}.ipynb)" in readme
        for cell in _notebook(name).cells:
            assert not cell.get("outputs"), f"{name}: `jupyter nbconvert --clear-output --inplace` before committing"


@pytest.mark.parametrize("name", CHARTS)
def test_it_runs_and_draws(name: str, filled_store: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DIMWATCH_STORE__HTTP_PORT", str(filled_store.store.http_port))
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path))
    notebook = _notebook(name)
    notebook.cells[1].source += PICTURES
    NotebookClient(notebook, timeout=600, startup_timeout=240, resources={"metadata": {"path": str(FOLDER)}}).execute()
    pictures = [
        base64.b64decode(output.data["image/png"])
        for cell in notebook.cells
        for output in cell.get("outputs", ())
        if "image/png" in output.get("data", {})
    ]
    assert len(pictures) == CHARTS[name]
    assert min(map(len, pictures)) > 8_000, "an empty chart"


def _notebook(name: str) -> Any:
    return nbformat.read(FOLDER / f"{name}.ipynb", as_version=4)  # type: ignore[no-untyped-call]
