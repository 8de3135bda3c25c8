"""`dimwatch doctor`."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import click
import orjson

from dimwatch.app.doctor import examine, shown_settings
from dimwatch.cli.options import errors_as_messages, leave, read_settings, settings_options

_COLOURS = {"ok": "green", "warn": "yellow", "fail": "red"}


@click.command()
@settings_options
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@errors_as_messages
def doctor(data: Path | None, config: Path | None, as_json: bool) -> None:
    """Check ports, disk, versions and packages, and name the remedy.

    Then prints every setting and where it came from; secrets are masked. Exit status 1 when a check fails.

    \b
    Examples:
      dimwatch doctor
      dimwatch doctor --data /var/lib/dimwatch
      dimwatch doctor --json | jq '.checks[] | select(.verdict != "ok")'
    """
    resolved = read_settings(data, config)
    findings = []
    for finding in examine(resolved):
        findings.append(finding)
        if not as_json:
            click.secho(f"{finding.verdict:>4}  ", fg=_COLOURS[finding.verdict], nl=False)
            click.echo(f"{finding.check}: {finding.detail}")
            if finding.remedy:
                click.echo(f"      → {finding.remedy}")
    failed = any(finding.verdict == "fail" for finding in findings)
    shown = shown_settings(resolved)
    if as_json:
        report = {"ok": not failed, "checks": [asdict(finding) for finding in findings], "settings": shown}
        click.echo(orjson.dumps(report, option=orjson.OPT_INDENT_2))
    else:
        click.echo("\nSettings")
        for setting in shown:
            click.echo(f"  {setting['name']:<30} {setting['value'] or '-':<34} {setting['origin']}")
    leave(int(failed))
