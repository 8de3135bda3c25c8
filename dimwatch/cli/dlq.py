"""`dimwatch dlq`: records that could not be used, and putting them back."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

import click
import orjson
from rich.console import Console
from rich.table import Table
from rich.text import Text

from dimwatch import records
from dimwatch.cli.options import errors_as_messages, leave, quiet_logs, read_settings, settings_options
from dimwatch.clock import NS_PER_SECOND, SystemClock, rfc3339
from dimwatch.errors import InvalidError
from dimwatch.eventlog import open_eventlog
from dimwatch.eventlog.base import EventLog
from dimwatch.eventlog.letters import Chosen, Letter, Summary, letters, summarised
from dimwatch.eventlog.letters import replay as put_back

_SHOWN_ROWS: Final = 20
_FILE_WIDTH: Final = 200
_SHOWN_BYTES: Final = 2_000
_UNITS_S: Final = {"m": 60, "h": 3_600, "d": 86_400}


class _When(click.ParamType[int]):
    """Nanoseconds since the Unix epoch."""

    name = "when"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        if isinstance(value, int):
            return value
        if ago := re.fullmatch(r"(\d{1,6})([mhd])", str(value)):
            return SystemClock().now_ns() - int(ago[1]) * _UNITS_S[ago[2]] * NS_PER_SECOND
        try:
            time = datetime.fromisoformat(str(value))
        except ValueError:
            self.fail(f"{value!r} is neither a length of time ago, as 24h, nor a date and time", param, ctx)
        time = time if time.tzinfo else time.replace(tzinfo=UTC)
        return (time - datetime.fromtimestamp(0, UTC)) // timedelta(microseconds=1) * 1_000


def choosing(function: Callable[..., None]) -> Callable[..., None]:
    """Add the options that say which letters."""
    for option in (
        click.option("--until", "until_ns", type=_When(), metavar="WHEN", help="Only those before, written likewise."),
        click.option(
            "--since",
            "since_ns",
            type=_When(),
            metavar="WHEN",
            help="Only those since 24h ago, or a date and time (UTC).",
        ),
        click.option("--stage", help="Only of this stage: sink or worker."),
        click.option("--topic", help="Only from this topic."),
        click.option("--reason", help="Only those whose reason holds this text."),
    ):
        function = option(function)
    return function


def _chosen(
    reason: str | None, topic: str | None, stage: str | None, since_ns: int | None, until_ns: int | None
) -> Chosen:
    def chosen(letter: Letter) -> bool:
        return (
            (reason is None or reason in letter.reason)
            and (topic is None or topic == letter.topic)
            and (stage is None or stage == letter.stage)
            and (since_ns is None or letter.record.timestamp_ns >= since_ns)
            and (until_ns is None or letter.record.timestamp_ns < until_ns)
        )

    return chosen


@contextmanager
def _eventlog(data: Path | None, config: Path | None) -> Iterator[EventLog]:
    quiet_logs()
    settings = read_settings(data, config).settings
    if settings.eventlog.backend == "sqlite" and not settings.eventlog_path.exists():
        raise InvalidError(f"there is no eventlog in {settings.data}: name the data folder with --data")
    log = open_eventlog(settings)
    try:
        yield log
    finally:
        log.close()


@click.group()
def dlq() -> None:
    """Look at dead letters, the records that could not be used, and put them back.

    A record that can not be read, or that the store refuses, stops nobody: it is counted as a drop and kept on the
    topic dead_letters for as long as the eventlog keeps things.

    \b
    Examples:
      dimwatch dlq list
      dimwatch dlq show 17
      dimwatch dlq replay --reason refused_by_store --since 24h
    """


@dlq.command("list")
@choosing
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object a line.")
@settings_options
@errors_as_messages
def list_(data: Path | None, config: Path | None, as_json: bool, **which: Any) -> None:
    """Count dead letters by reason, stage and topic.

    \b
    Examples:
      dimwatch dlq list
      dimwatch dlq list --since 24h --topic spans
      dimwatch dlq list --json | jq 'select(.letters > .replayed)'
    """
    with _eventlog(data, config) as log:
        found = summarised(filter(_chosen(**which), letters(log)))
    if as_json:
        for group in found:
            click.echo(orjson.dumps(_as_json(group)))
    elif found:
        Console(width=None if sys.stdout.isatty() else _FILE_WIDTH).print(_table(found))
    else:
        click.echo("No dead letters.")


def _as_json(group: Summary) -> dict[str, object]:
    return {
        "reason": group.reason,
        "stage": group.stage,
        "topic": group.topic,
        "letters": group.letters,
        "replayed": group.replayed,
        "bytes": group.bytes,
        "first": rfc3339(group.first_ns, 9),
        "last": rfc3339(group.last_ns, 9),
        "newest": group.newest,
    }


def _table(found: list[Summary]) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
    for name in ("reason", "stage", "topic"):
        table.add_column(name)
    for name in ("letters", "replayed", "size", "first", "last", "newest"):
        table.add_column(name, justify="right", no_wrap=True)
    for group in found:
        times = (
            f"{datetime.fromtimestamp(ns // NS_PER_SECOND, UTC):%Y-%m-%d %H:%M}"
            for ns in (group.first_ns, group.last_ns)
        )
        size = f"{group.bytes / 1e6:,.1f} MB"
        table.add_row(
            Text(group.reason or "-"), group.stage or "-", Text(group.topic or "-"),
            f"{group.letters:,}", f"{group.replayed:,}", size, *times, str(group.newest),
        )  # fmt: skip
    return table


@dlq.command()
@click.argument("numbers", nargs=-1, required=True, type=int, metavar="LETTER...")
@click.option("--raw", is_flag=True, help="Write the record itself, byte by byte, and nothing else.")
@settings_options
@errors_as_messages
def show(data: Path | None, config: Path | None, numbers: tuple[int, ...], raw: bool) -> None:
    """Show dead letters: where they came from, why, and what is in them.

    \b
    Examples:
      dimwatch dlq show 17
      dimwatch dlq show 17 18 19
      dimwatch dlq show 17 --raw > request.pb
    """
    with _eventlog(data, config) as log:
        found = {letter.number: letter for letter in letters(log) if letter.number in numbers}
    if missing := [str(number) for number in numbers if number not in found]:
        raise InvalidError(
            f"there is no dead letter {', '.join(missing)}: `dimwatch dlq list` names the newest of each"
        )
    for number in numbers:
        if raw:
            sys.stdout.buffer.write(found[number].record.value)
            sys.stdout.buffer.flush()
        else:
            click.echo(_shown(found[number]))


def _shown(letter: Letter) -> str:
    record, origin = letter.record, letter.origin
    place = f"{letter.topic} partition {origin[1]} offset {origin[2]}" if origin else letter.topic or "not noted"
    lines = [
        f"letter   {letter.number}{'   put back already' if letter.replayed else ''}",
        f"time     {rfc3339(record.timestamp_ns, 9)}",
        f"from     {place}",
        f"stage    {letter.stage or 'not noted'}",
        f"reason   {letter.reason}",
        f"tenant   {record.headers.get(records.HEADER_TENANT, '') or '-'}",
        f"size     {len(record.value):,} bytes",
        "",
    ]
    return "\n".join([*lines, *_content(record.value), ""])


def _content(value: bytes) -> Iterator[str]:
    """Rows of a table, or else the text that is in the bytes. All of it was masked before it was first written."""
    try:
        table = records.decode(value)
    except InvalidError:
        text = value[:_SHOWN_BYTES].decode(errors="replace")
        yield "".join(char if char.isprintable() or char in "\n\t" else "·" for char in text)
        if len(value) > _SHOWN_BYTES:
            yield f"… {len(value) - _SHOWN_BYTES:,} bytes more: --raw writes all"
        return
    for row in table.slice(0, _SHOWN_ROWS).to_pylist():
        yield orjson.dumps(row, default=str).decode()
    if table.num_rows > _SHOWN_ROWS:
        yield f"… {table.num_rows - _SHOWN_ROWS:,} rows more"


@dlq.command()
@choosing
@click.option("--letter", "numbers", multiple=True, type=int, help="Only this one; may be given several times.")
@click.option("--all", "everything", is_flag=True, help="All that were not put back yet.")
@click.option("--dry-run", is_flag=True, help="Count, and change nothing.")
@settings_options
@errors_as_messages
def replay(
    data: Path | None, config: Path | None, numbers: tuple[int, ...], everything: bool, dry_run: bool, **which: Any
) -> None:
    """Put dead letters back to where they came from, each once.

    For after the cause is gone: a new version reads what the old one could not, the store takes what it refused. What
    fails again becomes a new letter. Exit status 3: of some, nobody noted where they came from.

    \b
    Examples:
      dimwatch dlq replay --all
      dimwatch dlq replay --topic spans --reason refused_by_store --since 2026-05-04T10:00 --until 2026-05-04T12:00
      dimwatch dlq replay --letter 17 --letter 18
      dimwatch dlq replay --stage worker --dry-run
    """
    if not everything and not numbers and not any(value is not None for value in which.values()):
        raise click.UsageError("say which, or --all")
    by_options = _chosen(**which)

    def chosen(letter: Letter) -> bool:
        return (not numbers or letter.number in numbers) and by_options(letter)

    with _eventlog(data, config) as log:
        if dry_run:
            waiting = [letter for letter in letters(log) if chosen(letter) and not letter.replayed]
            known = sum(bool(letter.topic) for letter in waiting)
            click.echo(f"{known:,} would be put back; of {len(waiting) - known:,} nobody noted where they came from.")
            return
        done = put_back(log, SystemClock(), chosen)
    click.echo(f"{done.put_back:,} put back, {done.before:,} had been before.")
    if done.unknown:
        click.echo(f"Of {done.unknown:,} nobody noted where they came from: `dimwatch dlq show` tells what they are.")
        leave(3)
