"""`dimwatch incidents`, against the API that runs on the data folder."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import orjson
import pytest
from click.testing import CliRunner, Result

from dimwatch.cli import main
from dimwatch.cli.incidents import incidents
from tests.e2e.api.conftest import NAMES, Site

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(600)]
INCIDENT = NAMES[1]
Run = Callable[..., Result]


@pytest.fixture
def run(site: Site) -> Run:
    data = site.settings.data
    (data / "dimwatch.toml").write_text(
        f"[api]\nport = {site.settings.api.port}\n[store]\nhttp_port = {site.settings.store.http_port}\n"
    )

    def call(*words: str) -> Result:
        return CliRunner().invoke(main, ["incidents", words[0], "--data", str(data), *words[1:]])

    return call


def test_people_list_look_and_act(run: Run) -> None:
    assert INCIDENT in run("list", "--all").output
    assert "No open incident fits." in run("list", "--kind", "silence").output
    labelled = run("label", INCIDENT, "cause=quota", "--note", "by hand")
    assert labelled.output.startswith("Labelled. (order "), labelled.output
    shown = run("show", INCIDENT).output
    assert "model_speed: 20, usual 50" in shown
    assert "cause: quota" in shown
    assert "by hand" in shown
    assert orjson.loads(run("show", INCIDENT, "--json").output)["labels"] == {"cause": "quota"}


def test_silences_by_scope(run: Run) -> None:
    made = run("silence", "--scope", "tool=none", "--for", "90m")
    found = re.search(r"order ([0-9a-f]{32})", made.output)
    assert found, made.output
    assert "tool none" in run("silences").output
    assert run("unsilence", found[1]).output.startswith("Ended.")
    assert run("unsilence", found[1]).exit_code == 1


@pytest.mark.parametrize(
    ("words", "status", "told"),
    [
        (("show", "0123456789abcdef"), 1, "no incident 0123456789abcdef"),
        (("show", "../me"), 2, "not an id"),
        (("ack", "0123456789abcdef"), 1, "no incident"),
        (("silence", INCIDENT), 2, "--for"),
        (("silence", INCIDENT, "--for", "soon"), 2, "30m, 2h or 1d"),
        (("silence", INCIDENT, "--for", "5s"), 1, "duration_s"),
        (("silence", "--for", "2h"), 2, "name an incident, or a --scope"),
        (("silence", "--scope", "planet=mars", "--for", "2h"), 1, "scope.planet"),
        (("label", INCIDENT, "cause"), 2, "NAME=VALUE"),
    ],
)
def test_what_does_not_work_says_why(run: Run, words: tuple[str, ...], status: int, told: str) -> None:
    outcome = run(*words)
    assert outcome.exit_code == status
    assert told in outcome.output
    assert "Traceback" not in outcome.output


def test_without_a_dimwatch_it_says_what_to_do(tmp_path: Path) -> None:
    outcome = CliRunner().invoke(main, ["incidents", "list", "--data", str(tmp_path)])
    assert outcome.exit_code == 1
    assert "DIMWATCH_API__URL" in outcome.output


@pytest.mark.parametrize("name", incidents.commands)
def test_every_command_has_examples(name: str) -> None:
    assert "Examples:" in (incidents.commands[name].help or "")
