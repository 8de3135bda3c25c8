"""`dimwatch notify`: whom incidents are told, and whether that works."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import click

from detectors.notify.outbox import Outcome, Result
from detectors.notify.page import Event
from detectors.notify.texts import EXAMPLE
from dimwatch.app.sending.sender import Sender
from dimwatch.cli.options import errors_as_messages, leave, quiet_logs, read_settings, settings_options
from dimwatch.clock import NS_PER_SECOND, SystemClock
from dimwatch.errors import InvalidError
from dimwatch.targets import Notify, Route

_ENDED: tuple[str, ...] = ("pagerduty", "opsgenie", "alertmanager")
"""Types of targets that keep what they were told until they hear that it is over."""


@click.group()
def notify() -> None:
    """See whom incidents are told, and try it.

    \b
    Examples:
      dimwatch notify list
      dimwatch notify test slack-oncall
    """


@notify.command("list")
@settings_options
@errors_as_messages
def list_targets(data: Path | None, config: Path | None) -> None:
    """Show targets, routes, quiet hours and heartbeats.

    \b
    Examples:
      dimwatch notify list
      dimwatch notify list --config dimwatch.toml
    """
    settings = read_settings(data, config).settings.notify
    if not settings.targets:
        click.echo("Nobody is told of incidents: there are no targets. docs/pages.md shows how to add one.")
        return
    width = max(len(target.name) for target in settings.targets)
    click.echo("Targets")
    for target in settings.targets:
        click.echo(f"  {target.name:<{width}}  {target.type}")
    click.echo("Routes, the first that fits")
    for route in settings.effective_routes():
        click.echo(f"  {route.name}: {_conditions(route)} -> {', '.join(route.targets) or 'nobody'}")
        for step in route.escalate:
            click.echo(f"    not acknowledged after {step.after_m:g} min -> {', '.join(step.to)}")
    _others(settings)


@notify.command()
@click.argument("target")
@settings_options
@errors_as_messages
def test(target: str, data: Path | None, config: Path | None) -> None:
    """Send a test incident to TARGET, and its end where the target keeps incidents.

    Prints the status of the answer and how long it took. Exit status 1 when it did not arrive.

    \b
    Examples:
      dimwatch notify test slack-oncall
      dimwatch notify test pagerduty --config dimwatch.toml
    """
    quiet_logs()
    settings = read_settings(data, config).settings.notify
    known = {one.name: one for one in settings.targets}
    if target not in known:
        names = ", ".join(sorted(known)) or "there are none: docs/pages.md shows how to add one"
        raise InvalidError(f"no target is called {target!r}; targets: {names}")
    sender, now_ns = Sender(settings), SystemClock().now_ns()
    incident = replace(EXAMPLE.incidents[0], opened_ns=now_ns, started_ns=now_ns - 300 * NS_PER_SECOND)
    page = replace(EXAMPLE, at_ns=now_ns, incidents=(incident,))
    arrived = _said("test", sender.send(target, f"msg_test_{now_ns}", page, now_ns))
    if arrived and known[target].type in _ENDED:
        over = replace(incident, status="resolved", resolved_ns=now_ns)
        end = replace(page, event=Event.RESOLVE, status="resolved", incidents=(over,))
        arrived = _said("its end", sender.send(target, f"msg_test_{now_ns}_end", end, now_ns))
    leave(0 if arrived else 1)


def _said(what: str, result: Result) -> bool:
    arrived = result.outcome is Outcome.DELIVERED
    status = "" if result.status is None else f", status {result.status}"
    detail = f": {result.error}" if result.error else ""
    word = "delivered" if arrived else "NOT delivered"
    click.echo(f"{what} {word}{status}, {result.duration_ns / 1e6:.0f} ms{detail}", err=not arrived)
    return arrived


def _conditions(route: Route) -> str:
    parts = ["/".join(route.severities)]
    parts += [f"kind {'/'.join(route.kinds)}"] if route.kinds else []
    parts += [f"tenant {'/'.join(route.tenants)}"] if route.tenants else []
    parts += [f"{name} {pattern}" for name, pattern in route.scope.items()]
    return ", ".join(parts) + (", and further routes" if route.go_on else "")


def _others(settings: Notify) -> None:
    for quiet in settings.quiet_hours:
        days = ", ".join(quiet.days)
        click.echo(f"Quiet hours: {quiet.start:%H:%M} to {quiet.end:%H:%M} {quiet.time_zone} ({days}); critical passes")
    if settings.heartbeat_targets:
        click.echo(f"Heartbeats: every {settings.heartbeat_m:g} min -> {', '.join(settings.heartbeat_targets)}")
