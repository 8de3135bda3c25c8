"""`dimwatch sql`."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import click

from dimwatch.app.health import require_store
from dimwatch.app.instance import follow
from dimwatch.cli.options import errors_as_messages, quiet_logs, read_settings, settings_options
from dimwatch.store.client import StoreClient

FORMATS = {
    "table": "PrettyCompactMonoBlock",
    "vertical": "Vertical",
    "tsv": "TabSeparatedWithNames",
    "csv": "CSVWithNames",
    "json": "JSON",
    "jsonl": "JSONEachRow",
    "markdown": "Markdown",
}
_OWN_FORMAT = re.compile(r"\bFORMAT\s+\w+$", re.IGNORECASE)


def _pairs(ctx: click.Context, option: click.Parameter, values: tuple[str, ...]) -> dict[str, object]:
    pairs: dict[str, object] = {}
    for value in values:
        name, equals, bound = value.partition("=")
        if not equals or not name.isidentifier():
            raise click.BadParameter(f"{value!r} is not NAME=VALUE", ctx, option)
        pairs[name] = bound
    return pairs


@click.command()
@settings_options
@click.option(
    "--format",
    "format_",
    type=click.Choice(list(FORMATS)),
    help="Default: table on a terminal, tsv elsewhere. A FORMAT clause in the query goes before.",
)
@click.option(
    "--param", "params", multiple=True, metavar="NAME=VALUE", callback=_pairs, help="Bind {NAME:Type} in the query."
)
@click.argument("query")
@errors_as_messages
def sql(data: Path | None, config: Path | None, format_: str | None, params: dict[str, object], query: str) -> None:
    """Run a query on the store; `-` reads it from standard input.

    The tables are spans, traces, observations and drops.

    \b
    Examples:
      dimwatch sql "SELECT rule, count() FROM observations GROUP BY rule"
      dimwatch sql "SELECT * FROM spans WHERE trace_id = {id:String}" --param id=4bf9… --format vertical
      dimwatch sql "SELECT service, quantile(0.95)(duration_ns) / 1e9 FROM traces GROUP BY 1" --format json
      dimwatch sql - < query.sql
    """
    text = (sys.stdin.read() if query == "-" else query).strip().rstrip(";").rstrip()
    if not text:
        raise click.UsageError("the query is empty")
    chosen = FORMATS[format_ or ("table" if sys.stdout.isatty() else "tsv")]
    quiet_logs()
    settings = follow(read_settings(data, config).settings)
    require_store(settings)
    client = StoreClient(settings)
    try:
        answer = client.text(text, "" if _OWN_FORMAT.search(text) else chosen, params)
    finally:
        client.close()
    click.echo(answer, nl=not answer.endswith(b"\n") and bool(answer))
