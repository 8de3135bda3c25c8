"""`dimwatch rules`."""

from __future__ import annotations

import textwrap

import click
import orjson

from detectors.traces.rules import RULES
from detectors.traces.rules.base import Rule

_COLOURS = {"info": "blue", "warning": "yellow", "critical": "red"}
_WIDTH = 80


@click.command()
@click.argument("name", required=False, metavar="[NAME]")
@click.option("--json", "as_json", is_flag=True, help="Print JSON: one object for NAME, else a list.")
def rules(name: str | None, as_json: bool) -> None:
    """List the rules, or explain one: what it detects, needs and can not see.

    A rule states a fact about one trace and how sure it is; whether facts are worth a page is decided from their
    rates. docs/rules.md says more of each.

    \b
    Examples:
      dimwatch rules
      dimwatch rules silent_tool_failure
      dimwatch rules --json | jq -r '.[] | select(.severity == "warning") | .name'
    """
    known = {rule.name: rule for rule in RULES}
    if name is None:
        _list(as_json)
    elif name in known:
        _explain(known[name], as_json)
    else:
        raise click.BadParameter(f"no rule is called {name!r}; there are {', '.join(known)}", param_hint="NAME")


def _list(as_json: bool) -> None:
    if as_json:
        click.echo(orjson.dumps([_as_dict(rule) for rule in RULES], option=orjson.OPT_INDENT_2))
        return
    width = max(len(rule.name) for rule in RULES)
    indent = " " * (width + 11)
    for rule in RULES:
        lines = textwrap.wrap(rule.detects, max(_WIDTH - len(indent), 40))
        click.echo(f"{rule.name:<{width}}  ", nl=False)
        click.secho(f"{rule.severity:<7}  ", fg=_COLOURS[rule.severity], nl=False)
        click.echo(f"\n{indent}".join(lines))


def _explain(rule: Rule, as_json: bool) -> None:
    if as_json:
        click.echo(orjson.dumps(_as_dict(rule), option=orjson.OPT_INDENT_2))
        return
    click.echo(f"{rule.name}  ", nl=False)
    click.secho(str(rule.severity), fg=_COLOURS[rule.severity])
    parts = {
        "detects": rule.detects,
        "speaks of": f"{', '.join(rule.kinds)} spans" if rule.kinds else "whole traces",
        "needs": ", ".join(rule.needs) or "nothing but spans",
        "blind spots": rule.blind_spots or "none known",
        "effect": "the span counts as failed, whatever it reported" if rule.fails else "the span keeps its status",
    }
    for title, text in parts.items():
        indent = " " * 13
        wrapped = textwrap.fill(text, _WIDTH, initial_indent=f"{title:<11}  ", subsequent_indent=indent)
        click.echo(wrapped)


def _as_dict(rule: Rule) -> dict[str, object]:
    return {
        "name": rule.name,
        "severity": str(rule.severity),
        "detects": rule.detects,
        "kinds": rule.kinds,
        "needs": rule.needs,
        "blind_spots": rule.blind_spots,
        "fails": rule.fails,
    }
