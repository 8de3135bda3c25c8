"""`dimwatch replay`: what would have been found in recorded OTLP."""

from __future__ import annotations

import sys
from contextlib import ExitStack
from pathlib import Path

import click
import orjson

from dimwatch.cli.options import errors_as_messages, leave, quiet_logs, read_settings, settings_options


@click.command()
@click.argument("paths", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--out", type=click.Path(path_type=Path, dir_okay=False), help="Write here instead of standard output.")
@settings_options
@errors_as_messages
def replay(paths: tuple[Path, ...], out: Path | None, data: Path | None, config: Path | None) -> None:
    """Read recorded OTLP and print what Dimwatch finds, as JSON lines, without a server.

    PATHS are files or folders: .pb, .pb.gz, .grpc.pb, .json, .otlpjson and .jsonl (one request a line);
    *.logs.pb and *.metrics.pb are logs and metrics. Requests are read in order of event time, through the code that
    runs live. The last line is a summary. Exit status 3: some files could not be read.

    \b
    Examples:
      dimwatch replay captures/
      dimwatch replay monday.jsonl tuesday.jsonl --out findings.jsonl
      dimwatch replay captures/ | jq 'select(.severity == "critical" or .severity == "warning")'
    """
    from dimwatch.app.replay import Replay

    quiet_logs()
    run = Replay(read_settings(data, config).settings)
    with ExitStack() as stack:
        stream = stack.enter_context(out.open("wb")) if out is not None else sys.stdout.buffer
        for line in run.run(paths, _progress if sys.stderr.isatty() else _sparse_progress()):
            stream.write(orjson.dumps(line) + b"\n")
            stream.flush()
    for problem in run.tally.problems:
        click.echo(f"unreadable: {problem}", err=True)
    if run.tally.problems:
        leave(3)


def _progress(done: int, total: int) -> None:
    click.echo(f"\r{done:,} of {total:,} requests", err=True, nl=done == total)


def _sparse_progress() -> _EveryTenth:
    return _EveryTenth()


class _EveryTenth:
    """Progress for logs: a line for each tenth."""

    def __init__(self) -> None:
        self._told = 0

    def __call__(self, done: int, total: int) -> None:
        tenth = 10 * done // total
        if tenth > self._told:
            self._told = tenth
            click.echo(f"{done:,} of {total:,} requests", err=True)
