"""`dimwatch replay`: what would have been found in recorded OTLP, or in what the store keeps."""

from __future__ import annotations

import sys
from contextlib import ExitStack
from pathlib import Path
from typing import BinaryIO, Final

import click
import orjson

from dimwatch.app.configuration import resolve
from dimwatch.app.health import require_store
from dimwatch.app.history import History
from dimwatch.app.instance import follow
from dimwatch.app.replay import Progress, Replay
from dimwatch.cli.options import errors_as_messages, leave, quiet_logs, settings_options
from dimwatch.clock import SystemClock
from dimwatch.errors import InvalidError
from dimwatch.settings import Settings
from dimwatch.simulate.options import start_ns
from dimwatch.store.client import StoreClient
from ingest.otlp.files import Problem

_AT_WINDOWS: Final = ("detection.lateness_s", "detection.max_series")
"""Settings that matter when windows are made, not when they are judged."""


def _pairs(ctx: click.Context, option: click.Parameter, values: tuple[str, ...]) -> dict[str, str]:
    pairs: dict[str, str] = {}
    for value in values:
        name, equals, changed = value.partition("=")
        if not equals:
            raise click.BadParameter(f"{value!r} is not NAME=VALUE, as detection.margin=0.4", ctx, option)
        pairs[name] = changed
    return pairs


@click.command()
@click.argument("paths", nargs=-1, type=click.Path(path_type=Path))
@click.option("--since", metavar="WHEN", help="Instead of PATHS, what the store keeps: 24h ago, or a date and time.")
@click.option("--until", metavar="WHEN", help="End of that, written likewise. Default: now.")
@click.option("--set", "changes", multiple=True, metavar="NAME=VALUE", callback=_pairs, help="Change a setting.")
@click.option("--out", type=click.Path(path_type=Path, dir_okay=False), help="Write here instead of standard output.")
@click.option("--state", type=click.Path(path_type=Path, dir_okay=False), help="Write what is normal, for a fleet.")
@settings_options
@errors_as_messages
def replay(
    paths: tuple[Path, ...],
    since: str | None,
    until: str | None,
    changes: dict[str, str],
    out: Path | None,
    state: Path | None,
    data: Path | None,
    config: Path | None,
) -> None:
    """Read recorded OTLP and print what Dimwatch finds, as JSON lines, without a server.

    PATHS are files or folders: .pb, .pb.gz, .grpc.pb, .json, .otlpjson and .jsonl (one request a line);
    *.logs.pb and *.metrics.pb are logs and metrics. Requests are read in order of event time, through the code that
    runs live. The last line is a summary. Exit status 3: some files could not be read.

    With --since, no files are read but the windows that the store of a running Dimwatch keeps (--data names it): which
    incidents would have opened since then? With --set detection.…, which would with other settings?

    With --state, what is normal at the end of PATHS is written to a file, which the fleet process begins with where it
    has no state yet (setting `detection.state`): it need not learn for hours before it pages.

    \b
    Examples:
      dimwatch replay captures/
      dimwatch replay monday.jsonl tuesday.jsonl --out findings.jsonl
      dimwatch replay captures/ | jq 'select(.severity == "critical" or .severity == "warning")'
      dimwatch replay --since 24h
      dimwatch replay --since 7d --until 1d --set detection.margin=0.4 --set detection.tolerance=0.2
      dimwatch replay captures/ --set detection.false_pages_per_week=5
      dimwatch replay lastweek/ --state normal.state --out findings.jsonl
      dimwatch replay captures/ --set detection.shadow=half_space_trees,adwin
      dimwatch replay captures/ --set 'detection.slos=[{"name":"runs","signal":"run_failed","objective":0.99}]'
    """
    quiet_logs()
    if bool(paths) == (since is not None):
        raise click.UsageError("name PATHS of recorded OTLP, or --since for what the store keeps")
    if until is not None and since is None:
        raise click.UsageError("--until goes with --since")
    if state is not None and since is not None:
        raise click.UsageError("--state goes with PATHS")
    if state is not None and out is not None and state.resolve() == out.resolve():
        raise click.UsageError("--state and --out name the same file")
    settings = resolve({"data": data, **changes}, config).settings
    with ExitStack() as stack:
        problems: list[Problem] = []
        run = Replay(settings, keep_state=state is not None)
        if since is None:
            lines, problems = run.run(paths, _progress("requests")), run.tally.problems
        else:
            lines = _history(settings, since, until, changes, stack).run(_progress("minutes"))
        stream = _opened(out, stack) if out is not None else sys.stdout.buffer
        # Opened before the work begins, so that hours of it are not lost to a folder that is not there.
        part = state.with_name(f"{state.name}.part") if state is not None else None
        learned = _opened(part, stack) if part is not None else None
        for line in lines:
            stream.write(orjson.dumps(line) + b"\n")
            stream.flush()
        if learned is not None and run.state is not None:
            learned.write(run.state)
    if state is not None and part is not None:
        part.replace(state)
    for problem in problems:
        click.echo(f"unreadable: {problem}", err=True)
    if problems:
        leave(3)


def _opened(path: Path, stack: ExitStack) -> BinaryIO:
    try:
        return stack.enter_context(path.open("wb"))
    except OSError as error:
        raise click.FileError(str(path), f"{error.strerror}: name a file in a folder that can be written to") from error


def _history(settings: Settings, since: str, until: str | None, changes: dict[str, str], stack: ExitStack) -> History:
    for name in changes:
        if not name.startswith("detection.") or name in _AT_WINDOWS:
            raise click.UsageError(
                f"{name} had its effect when the windows were made; with --since only others of detection.* can "
                "be changed, with PATHS all of them"
            )
    now_ns = SystemClock().now_ns()
    try:
        begin_ns, end_ns = start_ns(since, now_ns), start_ns(until, now_ns)
    except InvalidError as error:
        raise click.UsageError(f"{error}, or a date and time as 2026-01-31T12:00") from error
    followed = follow(settings)
    require_store(followed)
    client = StoreClient(followed)
    stack.callback(client.close)
    return History(settings.detection, client, begin_ns, end_ns)


def _progress(unit: str) -> Progress:
    """On a terminal a line that changes, in logs a line for each tenth."""
    told = 0

    def tell(done: int, total: int) -> None:
        nonlocal told
        if sys.stderr.isatty():
            click.echo(f"\r{done:,} of {total:,} {unit}", err=True, nl=done == total)
        elif 10 * done // total > told:
            told = 10 * done // total
            click.echo(f"{done:,} of {total:,} {unit}", err=True)

    return tell
