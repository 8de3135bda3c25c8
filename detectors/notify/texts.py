"""Messages in words: templates are files, which people may replace by their own, and are run in a sandbox."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

import structlog
from jinja2 import BaseLoader, ChoiceLoader, FileSystemLoader, PackageLoader, StrictUndefined
from jinja2.sandbox import ImmutableSandboxedEnvironment

from detectors.alerts import Node
from detectors.incidents.incident import Severity
from detectors.incidents.summary import PHRASES, percent, place
from detectors.notify.page import Event, Page, Told
from detectors.notify.sparkline import sparkline
from detectors.windows.signals import BY_NAME, Form
from dimwatch.clock import NS_PER_SECOND
from dimwatch.errors import PermanentError

NAMES: Final = ("title.txt", "body.txt", "slack.txt", "body.html")
_WORDS: Final = {
    Event.ACKNOWLEDGE: "acknowledged",
    Event.SILENCE: "silenced",
    Event.RESOLVE: "resolved",
    Event.HEARTBEAT: "all is well",
    Event.TEST: "TEST",
}
_MOST_SIGNALS: Final = 5
_MOST_CAUSES: Final = 3
_MOST_CHARACTERS: Final = 20_000
_log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Texts:
    """A page in words."""

    title: str
    """One line, without formatting."""
    body: str
    """Plain text."""
    slack: str
    """Slack's mrkdwn."""
    html: str


class Templates:
    """The templates of an installation."""

    def __init__(self, folder: Path | None = None, dashboard_url: str | None = None) -> None:
        """`folder`: templates that go before the built-in ones. Raises PermanentError for one that does not work."""
        self._dashboard_url = (dashboard_url or "").rstrip("/")
        built_in = PackageLoader("detectors.notify", "templates")
        self._own = None if folder is None else _environments(ChoiceLoader([_folder(folder), built_in]))
        self._built_in = _environments(built_in)
        for page in (EXAMPLE, HEARTBEAT_EXAMPLE) if self._own else ():
            try:
                self._texts(self._own or self._built_in, page)
            except Exception as error:  # whatever a template does
                raise PermanentError(f"notify.templates: a template in {folder} does not work: {error}") from error

    def texts(self, page: Page) -> Texts:
        """A page in words. A template of the folder that fails now is replaced by the built-in one, and told."""
        if self._own is not None:
            try:
                return self._texts(self._own, page)
            except Exception as error:  # a page must go out whatever a template does
                _log.error("a template failed, the built-in ones are used", error=str(error)[:500])
        return self._texts(self._built_in, page)

    def incident_url(self, incident: Told) -> str:
        """Where the dashboard shows an incident, "" where nobody said where the dashboard is."""
        return f"{self._dashboard_url}/incident?id={quote(incident.id)}" if self._dashboard_url else ""

    def _texts(self, environments: Mapping[str, ImmutableSandboxedEnvironment], page: Page) -> Texts:
        shown = self._shown(page)
        title, body, slack, html = (
            environments[name].get_template(f"{name}.j2").render(shown).strip()[:_MOST_CHARACTERS] for name in NAMES
        )
        return Texts(" ".join(title.split()), body, slack, html)

    def _shown(self, page: Page) -> dict[str, Any]:
        """What templates know; docs/pages.md lists it."""
        incidents = [self._incident(incident, page.at_ns) for incident in page.incidents]
        worked = "false alarm" if page.status == "false" and page.event is Event.RESOLVE else None
        return {
            "event": page.event.value,
            "word": worked or _WORDS.get(page.event, page.severity.upper()),
            "status": page.status,
            "severity": page.severity,
            "tenant": page.tenant,
            "at": _utc(page.at_ns),
            "incidents": incidents,
            "first": incidents[0] if incidents else None,
            "more": page.more,
            "dashboard_url": self._dashboard_url,
        }

    def _incident(self, incident: Told, at_ns: int) -> dict[str, Any]:
        ended_ns = incident.resolved_ns
        return {
            "id": incident.id,
            "tenant": incident.tenant,
            "kind": incident.kind,
            "name": incident.kind.replace("_", " "),
            "severity": incident.severity,
            "status": incident.status,
            "where": place(Node.make(**incident.scope)),
            "scope": dict(incident.scope),
            "summary": incident.summary,
            "since": _utc(incident.started_ns),
            "opened": _utc(incident.opened_ns),
            "resolved": "" if ended_ns is None else _utc(ended_ns),
            "minutes": max((ended_ns or at_ns) - incident.started_ns, 0) // (60 * NS_PER_SECOND),
            "runs": round(incident.runs),
            "cost_usd": round(incident.cost_usd, 2),
            "signals": list(filter(None, map(measured, incident.signals[:_MOST_SIGNALS]))),
            "picture": pictured(incident),
            "causes": [
                {"what": str(cause.get("what", "")), "evidence": cause.get("evidence", 0.0), "at": cause.get("at", "")}
                for cause in incident.causes[:_MOST_CAUSES]
            ],
            "url": self.incident_url(incident),
        }


def measured(signal: Mapping[str, Any]) -> dict[str, str] | None:
    """A measured signal in words: what it is, what it should be and what it is now. None where that is not said."""
    try:
        name, expected, observed = str(signal["signal"]), float(signal["expected"]), float(signal["observed"])
    except (KeyError, TypeError, ValueError):
        return None
    return {
        "signal": name,
        "words": _words(name),
        "expected": _written(name, expected),
        "observed": _written(name, observed),
        "unit": _unit(name),
    }


def pictured(incident: Told) -> dict[str, str] | None:
    """How the signal that stands for an incident ran lately: a line of bars, and what they mean. None where that is not
    known."""
    for signal in incident.signals:
        drawn = sparkline(signal["recent"], incident.started_ns) if "recent" in signal else None
        if drawn is not None:
            name = str(signal["signal"])
            legend = drawn.legend(partial(_quantity, name))
            return {"bars": drawn.bars, "legend": f"{_words(name)} {legend}"}
    return None


def _words(signal: str) -> str:
    return PHRASES.get(signal, signal.replace("_", " "))


def _unit(signal: str) -> str:
    known = BY_NAME.get(signal)
    if known is None or known.form is Form.HITS:
        return ""
    return "a minute" if known.form is Form.EVENTS else known.unit


def _written(signal: str, value: float) -> str:
    known = BY_NAME.get(signal)
    if known is None:
        return f"{value:.3g}"
    return percent(value) if known.form is Form.HITS else f"{value:,.4g}"


def _quantity(signal: str, value: float) -> str:
    return f"{_written(signal, value)} {_unit(signal)}".strip()


def _utc(ns: int) -> str:
    return f"{datetime.fromtimestamp(ns // NS_PER_SECOND, UTC):%Y-%m-%d %H:%M} UTC"


def slack_escaped(text: object) -> object:
    """Text in which Slack sees no formatting of its own: only these three characters are special to it."""
    if not isinstance(text, str):
        return text
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def _environments(loader: BaseLoader) -> dict[str, ImmutableSandboxedEnvironment]:
    """One a template, because each escapes what it shows in another way."""
    common: dict[str, Any] = {
        "loader": loader,
        "undefined": StrictUndefined,
        "trim_blocks": True,
        "lstrip_blocks": True,
    }
    plain = ImmutableSandboxedEnvironment(autoescape=False, **common)
    slack = ImmutableSandboxedEnvironment(autoescape=False, finalize=slack_escaped, **common)
    html = ImmutableSandboxedEnvironment(autoescape=True, **common)
    return {"title.txt": plain, "body.txt": plain, "slack.txt": slack, "body.html": html}


def _folder(folder: Path) -> FileSystemLoader:
    path = folder.expanduser()
    if not path.is_dir():
        raise PermanentError(f"notify.templates: {folder} is not a folder")
    return FileSystemLoader(path)


EXAMPLE: Final = Page(
    Event.TEST,
    "dimwatch-test",
    "",
    "open",
    Severity.WARNING.value,
    1_767_225_600 * NS_PER_SECOND,
    (
        Told(
            id="0000000000000000",
            tenant="",
            kind="brownout",
            severity=Severity.WARNING.value,
            status="open",
            scope={"provider": "example", "model": "example-1"},
            opened_ns=1_767_225_600 * NS_PER_SECOND,
            started_ns=1_767_225_300 * NS_PER_SECOND,
            resolved_ns=None,
            signals=(
                {
                    "signal": "model_error",
                    "observed": 0.21,
                    "expected": 0.004,
                    "evidence": 31.0,
                    "n": 480,
                    "recent": {
                        "start": "2025-12-31T23:48:00Z",
                        "step_s": 60,
                        "observed": [0.0, 0.01, 0.0, 0.0, 0.01, 0.0, 0.0, 0.12, 0.23, 0.19, 0.24, 0.22],
                        "expected": [0.004] * 12,
                    },
                },
                {"signal": "model_latency", "observed": 9.3, "expected": 2.1, "evidence": 12.0, "n": 480},
            ),
            causes=({"type": "provider", "what": "provider example", "evidence": 0.9},),
            runs=120.0,
            cost_usd=3.4,
            summary="This is a test of Dimwatch: nothing is wrong.",
            version=1,
        ),
    ),
)
"""What `dimwatch notify test` sends, and what templates are tried with."""
HEARTBEAT_EXAMPLE: Final = Page(Event.HEARTBEAT, "heartbeat", "", "ok", "", EXAMPLE.at_ns, ())
