"""`dimwatch incidents`: what is wrong, and what a person says of it. All of it goes through the API."""

from __future__ import annotations

import getpass
import re
import secrets
import time
from collections.abc import Callable, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any, Final

import click
import orjson
from rich.console import Console
from rich.table import Table
from rich.text import Text

from dimwatch.app.instance import follow
from dimwatch.cli.options import errors_as_messages, quiet_logs, read_settings, settings_options
from dimwatch.client import ApiClient, api_url
from dimwatch.errors import InvalidError

_PATIENCE_S: Final = 15.0
_STEP_S: Final = 0.2
_OPEN: Final = ("open", "acknowledged", "silenced")
_COLOURS: Final = {"critical": "red", "warning": "yellow", "open": "red", "silenced": "dim", "resolved": "green"}
_UNITS_S: Final = {"s": 1, "m": 60, "h": 3_600, "d": 86_400}
_WHY: Final = {
    "over": "it is over already",
    "repeated": "it was said before",
    "unknown_incident": "the fleet does not know it any more: it was over too long ago",
    "unknown_silence": "that silence has ended",
    "too_many_silences": "there are too many silences: end one first",
}
Call = Callable[[ApiClient], dict[str, Any]]


class _Duration(click.ParamType[int]):
    name = "duration"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        match = re.fullmatch(r"(\d{1,9})([smhd])", str(value))
        if not match:
            self.fail(f"{value!r} is not a length of time such as 30m, 2h or 1d", param, ctx)
        return int(match[1]) * _UNITS_S[match[2]]


class _Id(click.ParamType[str]):
    name = "id"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        if not re.fullmatch(r"[0-9a-f]{8,64}", str(value)):
            self.fail(f"{value!r} is not an id: `dimwatch incidents list` shows them", param, ctx)
        return str(value)


class _Pair(click.ParamType[tuple[str, str]]):
    name = "name=value"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[str, str]:
        name, equals, of = str(value).partition("=")
        if not (name and equals and of):
            self.fail(f"{value!r} is not of the form NAME=VALUE", param, ctx)
        return name, of


_JSON = click.option("--json", "as_json", is_flag=True, help="Print JSON.")
_NOTE = click.option("--note", default="", help="Anything else to be written down.")
_NO_WAIT = click.option("--no-wait", is_flag=True, help="Do not wait until it was obeyed.")


@click.group()
def incidents() -> None:
    """List incidents, and say what is to be done about one.

    Through the API of the Dimwatch that runs on the data folder, whose token is there; or of another machine, with
    DIMWATCH_API__URL and DIMWATCH_API__RESPONDER_TOKEN.

    \b
    Examples:
      dimwatch incidents list
      dimwatch incidents show 5f0c7d8e9a1b2c3d
      dimwatch incidents ack 5f0c7d8e9a1b2c3d --note "on it"
      dimwatch incidents silence 5f0c7d8e9a1b2c3d --for 2h
      dimwatch incidents silence --scope tool=search --for 1d
    """


@incidents.command("list")
@settings_options
@click.option("--all", "everything", is_flag=True, help="Also those that are over.")
@click.option("--kind", default="", help="Only of this kind.")
@click.option("--agent", default="", help="Only with this agent as scope.")
@click.option("--provider", default="", help="Only with this provider as scope.")
@click.option("--model", default="", help="Only with this model as scope.")
@click.option("--tool", default="", help="Only with this tool as scope.")
@click.option("--limit", type=click.IntRange(1, 200), default=50, show_default=True, help="Most to show.")
@_JSON
@errors_as_messages
def list_incidents(
    data: Path | None, config: Path | None, everything: bool, limit: int, as_json: bool, **filters: str
) -> None:
    """List incidents, the newest first.

    \b
    Examples:
      dimwatch incidents list
      dimwatch incidents list --all --provider openai
      dimwatch incidents list --json | jq '.incidents[] | {id, kind, summary}'
    """
    values = {name: value for name, value in filters.items() if value} | {"limit": limit}
    told = _call(data, config, lambda api: api.get("incidents", values | ({} if everything else {"status": _OPEN})))
    if as_json:
        click.echo(orjson.dumps(told))
        return
    if not told["incidents"]:
        narrowed = any(filters.values())
        click.echo(
            f"No {'incident' if everything else 'open incident'}{' fits' if narrowed else ''}."
            f"{'' if everything else ' `--all` shows those that are over.'}"
        )
        return
    table = Table(box=None, pad_edge=False, header_style="dim")
    for column in ("id", "opened", "severity", "status", "kind", "where"):
        table.add_column(column, no_wrap=column != "where")
    for one in told["incidents"]:
        table.add_row(
            one["id"],
            _when(one["opened_at"]),
            _coloured(one["severity"]),
            _coloured(one["status"]),
            one["kind"],
            Text(_where(one)),  # names come from telemetry: brackets in them are no markup
        )
    Console().print(table)
    if told["next"]:
        click.echo(f"There are more than {limit}: `--limit` shows more.")


@incidents.command()
@settings_options
@click.argument("incident", type=_Id())
@_JSON
@errors_as_messages
def show(data: Path | None, config: Path | None, incident: str, as_json: bool) -> None:
    """Show one incident: signals, causes, and what people said of it.

    \b
    Examples:
      dimwatch incidents show 5f0c7d8e9a1b2c3d
    """
    one = _call(data, config, lambda api: api.get(f"incidents/{incident}"))
    if as_json:
        click.echo(orjson.dumps(one))
        return
    console = Console(soft_wrap=True)
    console.print(Text.assemble(_coloured(one["severity"]), " ", one["kind"], ", ", _coloured(one["status"])))
    console.print(Text(one["summary"]))
    over = f", over {_when(one['resolved_at'])}" if one["resolved_at"] else ""
    console.print(Text(f"Where: {_where(one)}"))
    console.print(Text(f"Began {_when(one['started_at'])}, opened {_when(one['opened_at'])}{over}"))
    console.print(Text(f"Runs {one['runs']:,.0f}, cost $ {one['cost_usd']:,.2f}"))
    for title, rows in (
        ("Signals", [f"{of['signal']}: {of['observed']:g}, usual {of['expected']:g}" for of in one["signals"]]),
        ("What may be behind it, likeliest first", [str(of["what"]) for of in one["causes"]]),
        ("Labels", [f"{name}: {value}" for name, value in sorted(one["labels"].items())]),
        ("What people said", [_said(of) for of in one["orders"]]),
    ):
        if rows:
            console.print(Text(f"\n{title}", style="dim"))
            for row in rows:
                console.print(Text(f"  {row}"))


@incidents.command()
@settings_options
@click.argument("incident", type=_Id())
@_NOTE
@_NO_WAIT
@errors_as_messages
def ack(data: Path | None, config: Path | None, incident: str, note: str, no_wait: bool) -> None:
    """Acknowledge: somebody is at it. What it is like now counts as normal from here on.

    \b
    Examples:
      dimwatch incidents ack 5f0c7d8e9a1b2c3d --note "on it"
    """
    _order(data, config, f"incidents/{incident}/acknowledge", {"note": note}, "Acknowledged", no_wait)


@incidents.command()
@settings_options
@click.argument("incident", type=_Id(), required=False)
@click.option("--for", "duration_s", type=_Duration(), required=True, help="How long: 30m, 2h, 1d.")
@click.option("--scope", type=_Pair(), multiple=True, help="Instead of an incident: all with tool=search, say.")
@_NOTE
@_NO_WAIT
@errors_as_messages
def silence(
    data: Path | None,
    config: Path | None,
    incident: str | None,
    duration_s: int,
    scope: tuple[tuple[str, str], ...],
    note: str,
    no_wait: bool,
) -> None:
    """Send nothing more, for so long: about one incident, or about all of a scope, those to come included.

    A scope names any of tenant, kind, provider, model, agent and tool; an incident must have all that it names.

    \b
    Examples:
      dimwatch incidents silence 5f0c7d8e9a1b2c3d --for 2h
      dimwatch incidents silence --scope tool=search --scope agent=shop --for 1d --note "index is rebuilt"
    """
    if bool(incident) == bool(scope):
        raise click.UsageError("name an incident, or a --scope")
    body: dict[str, Any] = {"duration_s": duration_s, "note": note}
    path = f"incidents/{incident}/silence" if incident else "silences"
    _order(data, config, path, body if incident else body | {"scope": dict(scope)}, "Silenced", no_wait)


@incidents.command()
@settings_options
@_JSON
@errors_as_messages
def silences(data: Path | None, config: Path | None, as_json: bool) -> None:
    """List the silences that last.

    \b
    Examples:
      dimwatch incidents silences
    """
    told = _call(data, config, lambda api: api.get("silences"))
    if as_json:
        click.echo(orjson.dumps(told))
        return
    if not told["silences"]:
        click.echo("Nothing is silenced.")
        return
    table = Table(box=None, pad_edge=False, header_style="dim")
    for column in ("id", "until", "what", "by", "note"):
        table.add_column(column, no_wrap=column in ("id", "until"))
    for one in told["silences"]:
        what = f"incident {one['incident']}" if one["incident"] else _pairs(one["scope"])
        table.add_row(one["id"], _when(one["until"]), Text(what), Text(one["by"]), Text(one["note"]))
    Console().print(table)


@incidents.command()
@settings_options
@click.argument("silence_id", type=_Id())
@_NO_WAIT
@errors_as_messages
def unsilence(data: Path | None, config: Path | None, silence_id: str, no_wait: bool) -> None:
    """End a silence before its time.

    \b
    Examples:
      dimwatch incidents unsilence 9f2c4a7d1e8b3c6f5a0d7e4b2c9f1a68
    """
    _order(data, config, f"silences/{silence_id}", None, "Ended", no_wait, method="DELETE")


@incidents.command()
@settings_options
@click.argument("incident", type=_Id())
@_NOTE
@_NO_WAIT
@errors_as_messages
def resolve(data: Path | None, config: Path | None, incident: str, note: str, no_wait: bool) -> None:
    """Say that it is over. It opens again if the signals still say otherwise.

    \b
    Examples:
      dimwatch incidents resolve 5f0c7d8e9a1b2c3d
    """
    _order(data, config, f"incidents/{incident}/resolve", {"note": note}, "Resolved", no_wait)


@incidents.command("false")
@settings_options
@click.argument("incident", type=_Id())
@_NOTE
@_NO_WAIT
@errors_as_messages
def false(data: Path | None, config: Path | None, incident: str, note: str, no_wait: bool) -> None:
    """Say that it never was one: what it is like now counts as normal from here on.

    \b
    Examples:
      dimwatch incidents false 5f0c7d8e9a1b2c3d --note "load test"
    """
    _order(data, config, f"incidents/{incident}/false", {"note": note}, "Marked as false", no_wait)


@incidents.command()
@settings_options
@click.argument("incident", type=_Id())
@click.argument("labels", type=_Pair(), nargs=-1, required=True)
@_NOTE
@_NO_WAIT
@errors_as_messages
def label(
    data: Path | None,
    config: Path | None,
    incident: str,
    labels: tuple[tuple[str, str], ...],
    note: str,
    no_wait: bool,
) -> None:
    """Write down what people know of it, as NAME=VALUE.

    \b
    Examples:
      dimwatch incidents label 5f0c7d8e9a1b2c3d cause=quota ticket=OPS-417
    """
    _order(data, config, f"incidents/{incident}/label", {"labels": dict(labels), "note": note}, "Labelled", no_wait)


def _order(
    data: Path | None,
    config: Path | None,
    path: str,
    body: Mapping[str, Any] | None,
    done: str,
    no_wait: bool,
    method: str = "POST",
) -> None:
    """Give an order, and say what became of it."""
    key = secrets.token_hex(8)  # however often it is sent

    def give(api: ApiClient) -> dict[str, Any]:
        order = api.order(path, body, key=key, method=method)
        deadline = time.monotonic() + _PATIENCE_S
        while order["outcome"] == "pending" and not no_wait and time.monotonic() < deadline:
            time.sleep(_STEP_S)
            order["outcome"] = api.outcome(order["id"])
        return order

    order = _call(data, config, give)
    until = f" until {_when(order['until'])}" if order.get("until") else ""
    if order["outcome"] == "pending":
        click.echo(
            f"Taken as order {order['id']}; {'' if no_wait else 'the fleet stage has not looked at it yet, but '}"
            "it will count."
        )
    elif order["outcome"] == "obeyed":
        click.echo(f"{done}{until}. (order {order['id']}, by {order['by']})")
    else:
        raise InvalidError(f"not obeyed: {_WHY.get(order['outcome'], order['outcome'])}")


def _call(data: Path | None, config: Path | None, call: Call) -> dict[str, Any]:
    quiet_logs()
    settings = follow(read_settings(data, config).settings)
    own = settings.api.responder_token or settings.api.viewer_token
    if own is not None and settings.api.url:
        api = ApiClient(api_url(settings.api), own.get_secret_value())
    else:
        api = ApiClient.of(settings, getpass.getuser())
    try:
        return call(api)
    finally:
        api.close()


def _when(time_: str) -> str:
    return datetime.fromisoformat(time_).astimezone().strftime("%-d %b %H:%M")


def _where(one: Mapping[str, Any]) -> str:
    return _pairs(one["scope"]) or "the whole fleet"


def _pairs(values: Mapping[str, str]) -> str:
    return ", ".join(f"{name} {value}" for name, value in values.items())


def _coloured(word: str) -> Text:
    return Text(word, style=_COLOURS.get(word, ""))


def _said(order: Mapping[str, Any]) -> str:
    until = f" until {_when(order['until'])}" if order["until"] else ""
    labels = f" {_pairs(order['labels'])}" if order["labels"] else ""
    note = f": {order['note']}" if order["note"] else ""
    outcome = "" if order["outcome"] == "obeyed" else f" ({_WHY.get(order['outcome'], order['outcome'])})"
    return f"{_when(order['at'])} {order['by']}: {order['action']}{until}{labels}{note}{outcome}"
