"""Settings of targets, routes and quiet hours: what is refused at the start, with the remedy and without secrets."""

from __future__ import annotations

import os
import tomllib
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from dimwatch.app import fleet
from dimwatch.app.configuration import as_environment, resolve
from dimwatch.app.partition import SOURCES
from dimwatch.app.sending.sender import Sender
from dimwatch.app.up import roles
from dimwatch.app.wellness import STAGES
from dimwatch.app.worker import GROUP
from dimwatch.cli.doctor import doctor
from dimwatch.cli.notify import notify as command
from dimwatch.errors import PermanentError
from dimwatch.settings import Settings
from dimwatch.targets import Notify
from tests.docs.generated import DOCS
from tests.docs.targets import EXAMPLES
from tests.webhook_receiver import SECRET, Got, Receiver

CANARY = "canary0123456789"


def resolved(folder: Path, text: str) -> Notify:
    file = folder / "dimwatch.toml"
    file.write_text(text)
    return resolve({}, file).settings.notify


@pytest.mark.parametrize("kind", EXAMPLES)
def test_examples_of_the_docs_are_settings(kind: str) -> None:
    notify = Notify.model_validate(tomllib.loads(EXAMPLES[kind])["notify"])
    assert notify.targets[0].type == kind


def test_the_routes_of_the_docs_are_settings() -> None:
    page = (DOCS / "pages.md").read_text()
    (text,) = (part.split("```")[0] for part in page.split("```toml\n") if "[[notify.routes]]" in part.split("```")[0])
    given = tomllib.loads(text)["notify"]
    names = {"payments-pagerduty", "duty-manager", "everybody", "finops-mail", "oncall"}
    targets = [{"name": name, "type": "slack", "url": "https://hooks.slack.com/x"} for name in sorted(names)]
    notify = Notify.model_validate(given | {"targets": targets})
    assert [route.name for route in notify.routes] == ["payments", "cost", "rest"]
    assert notify.routes[0].go_on


TARGET = f'[[notify.targets]]\nname = "a"\ntype = "slack"\nurl = "https://hooks.slack.com/{CANARY}"\n'
WRONG = {
    "two of one name": (TARGET + TARGET, "two are called 'a'"),
    "no such type": (TARGET.replace("slack", "pager", 1), "pager"),
    "both": (TARGET + 'url_file = "x"\n', "either url or url_file"),
    "neither": ('[[notify.targets]]\nname = "a"\ntype = "slack"\n', "url is missing"),
    "unknown field": (TARGET + f'urll = "{CANARY}"\n', "Extra inputs"),
    "bad name": (TARGET.replace('"a"', '"A b"'), "is not a name"),
    "route to nobody known": (TARGET + '[[notify.routes]]\nname = "r"\ntargets = ["b"]\n', "add it to notify.targets"),
    "kind": (TARGET + '[[notify.routes]]\nname = "r"\nkinds = ["fire"]\n', "no kind of incident"),
    "heartbeat that wakes": ('[notify]\nheartbeat_targets = ["a"]\n' + TARGET, "would wake somebody"),
    "time zone": (TARGET + '[[notify.quiet_hours]]\nstart = "22:00"\nend = "07:00"\ntime_zone = "Mars"\n', "time zone"),
    "empty quiet hours": (TARGET + '[[notify.quiet_hours]]\nstart = "22:00"\nend = "22:00"\n', "leave them out"),
    "network": ('[notify]\nallow_private = ["10.0.0.1/8"]\n', "as 10.1.2.0/24"),
    "dashboard": ('[notify]\ndashboard_url = "javascript:alert(1)"\n', "dashboard_url"),
    "mail": (
        '[[notify.targets]]\nname = "m"\ntype = "email"\nhost = "h"\nsender = "x"\nto = ["a@b.c"]\n',
        "not a mail address",
    ),
}


@pytest.mark.parametrize("what", WRONG)
def test_what_can_not_work_is_refused_at_the_start_without_secrets(what: str, tmp_path: Path) -> None:
    text, said = WRONG[what]
    with pytest.raises(PermanentError) as raised:
        resolved(tmp_path, text)
    assert said in str(raised.value)
    assert "notify" in str(raised.value)
    assert CANARY not in str(raised.value)


def test_processes_are_handed_the_same_settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = (
        TARGET
        + '[[notify.routes]]\nname = "r"\ntargets = ["a"]\ncontinue = true\nescalate = [{after_m = 5, to = ["a"]}]\n'
    )
    text += '[[notify.quiet_hours]]\nstart = "22:00"\nend = "07:00"\ntime_zone = "Europe/Zurich"\n'
    file = tmp_path / "dimwatch.toml"
    file.write_text('[notify]\nheartbeat_m = 2.5\nallow_private = ["10.0.0.0/8"]\n' + text)
    settings = resolve({}, file).settings
    for name, value in as_environment(settings, {}).items():
        monkeypatch.setenv(name, value)
    assert resolve({}, Path(os.devnull)).settings.notify == settings.notify


def test_doctor_shows_targets_without_secrets(tmp_path: Path) -> None:
    file = tmp_path / "dimwatch.toml"
    file.write_text(TARGET)
    file.chmod(0o644)
    shown = CliRunner().invoke(doctor, ["--config", str(file), "--data", str(tmp_path)]).output
    assert "slack" in shown
    assert CANARY not in shown
    assert "holds notify.targets and others may read it" in " ".join(shown.split())


def test_without_routes_everybody_is_told_but_those_for_heartbeats() -> None:
    targets = [{"name": name, "type": "webhook", "url": "https://example.com"} for name in ("a", "alive")]
    (route,) = Notify.model_validate({"targets": targets, "heartbeat_targets": ["alive"]}).effective_routes()
    assert route.targets == ["a"]
    assert not Notify().effective_routes()


def test_up_runs_a_notifier_where_somebody_is_to_be_told(tmp_path: Path) -> None:
    targets = [{"name": "a", "type": "webhook", "url": "https://example.com"}]
    silent = Settings(data=tmp_path)
    assert "notifier" not in [role.name for role in roles(silent)]
    names = [role.name for role in roles(Settings(data=tmp_path, notify=Notify.model_validate({"targets": targets})))]
    assert names.index("fleet") < names.index("notifier") < names.index("store"), "drained in the order of the flow"


def test_wellness_looks_at_what_the_stages_read() -> None:
    assert STAGES[GROUP] == tuple(SOURCES)
    assert STAGES[fleet.GROUP] == tuple(fleet.SOURCES)


def config(folder: Path, receiver: Receiver, **more: Any) -> Path:
    file = folder / "dimwatch.toml"
    file.write_text(
        f'[notify]\nallow_private = ["127.0.0.1"]\ntimeout_s = 2\n[[notify.targets]]\nname = "hook"\ntype = "webhook"\n'
        f'url = "{receiver.url}/{CANARY}"\nsecrets = "{SECRET}"\n[[notify.targets]]\nname = "pd"\ntype = "pagerduty"\n'
        f'routing_key = "{CANARY * 2}"\nurl = "{receiver.url}/{CANARY}"\n'
    )
    return file


def test_a_test_incident_is_sent_and_its_answer_and_time_are_told(tmp_path: Path) -> None:
    with Receiver() as receiver:
        receiver.answer = receiver.accept
        done = CliRunner().invoke(command, ["test", "hook", "--config", str(config(tmp_path, receiver))])
        assert done.exit_code == 0, done.output
        assert "test delivered, status 200, " in done.output
        assert receiver.forged == 0
        (got,) = receiver.accepted.values()
        assert got.json["type"] == "incident.test"


def test_a_test_at_pagerduty_is_ended_again(tmp_path: Path) -> None:
    with Receiver() as receiver:
        done = CliRunner().invoke(command, ["test", "pd", "--config", str(config(tmp_path, receiver))])
        assert done.exit_code == 0, done.output
        assert [got.json["event_action"] for got in receiver.requests] == ["trigger", "resolve"]
        assert len({got.json["dedup_key"] for got in receiver.requests}) == 1


def test_a_test_that_does_not_arrive_says_why_and_gives_no_secret_away(tmp_path: Path) -> None:
    def refuse(handler: Any, got: Got, number: int) -> None:
        handler.send_error(403, f"no entry to {got.path}")

    with Receiver(refuse) as receiver:
        file = str(config(tmp_path, receiver))
        done = CliRunner().invoke(command, ["test", "hook", "--config", file])
        assert done.exit_code == 1
        assert "NOT delivered, status 403" in done.output
        assert CANARY not in done.output
        unknown = CliRunner().invoke(command, ["test", "nobody", "--config", file])
        assert unknown.exit_code == 1
        assert "targets: hook, pd" in unknown.output


def test_the_list_shows_who_is_told(tmp_path: Path) -> None:
    with Receiver() as receiver:
        file = config(tmp_path, receiver)
    more = '[[notify.routes]]\nname = "night"\nseverities = ["critical"]\ntargets = ["pd"]\n'
    more += 'escalate = [{ after_m = 10, to = ["hook"] }]\n[[notify.quiet_hours]]\nstart = "22:00"\nend = "07:00"\n'
    file.write_text(file.read_text() + more)
    shown = CliRunner().invoke(command, ["list", "--config", str(file)])
    assert shown.exit_code == 0, shown.output
    for said in ("hook  webhook", "night: critical -> pd", "10 min -> hook", "22:00 to 07:00"):
        assert said in shown.output
    assert CANARY not in shown.output
    empty = CliRunner().invoke(command, ["list", "--data", str(tmp_path / "empty"), "--config", os.devnull])
    assert "Nobody is told" in empty.output


def test_a_sender_refuses_what_can_not_work(tmp_path: Path) -> None:
    hook = {"name": "h", "type": "webhook", "url": "https://example.com", "secrets": "whsec_short"}
    with pytest.raises(PermanentError, match="openssl rand"):
        Sender(Notify.model_validate({"targets": [hook]}))
    with pytest.raises(PermanentError, match="not a folder"):
        Sender(Notify.model_validate({"templates": str(tmp_path / "none")}))
