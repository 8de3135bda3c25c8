"""`python -m benchmarks.fleet`: faults of twelve kinds through `dimwatch replay`, or quiet weeks.

The table goes to standard error, figures as JSON lines to standard output. `--direct` draws
the points without the detour through OTLP and traces, for tuning: many weeks in a minute.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import click

from benchmarks.figures import heading
from benchmarks.fleet.direct import run
from benchmarks.fleet.draw import DAY_S
from benchmarks.fleet.faults import KINDS, Timetable, timetable
from benchmarks.fleet.otlp import Style, write
from benchmarks.fleet.report import figures, markdown, rows
from benchmarks.fleet.score import Incident, Outcome, incidents, score

_WIDTHS: Final = (4, 16, 28, 10, 6, 60, 6)


@click.command()
@click.option("--days", type=float, default=3.0, show_default=True)
@click.option("--seed", "seeds", type=int, multiple=True, default=(1,), show_default=True, help="May be repeated.")
@click.option("--quiet", is_flag=True, help="No faults.")
@click.option("--kinds", help="Only these, with commas between them.")
@click.option("--no-content", is_flag=True, help="Without arguments and results of tools.")
@click.option("--child-errors", is_flag=True, help="Swallowed errors are spans below the tool.")
@click.option("--direct", is_flag=True, help="Points instead of OTLP.")
@click.option("--keep", type=click.Path(path_type=Path, file_okay=False), help="Keep requests and output here.")
@click.option("--out", type=click.Path(path_type=Path, dir_okay=False), help="Write Markdown with commit and date.")
def main(
    days: float,
    seeds: Sequence[int],
    quiet: bool,
    kinds: str | None,
    no_content: bool,
    child_errors: bool,
    direct: bool,
    keep: Path | None,
    out: Path | None,
) -> None:
    """Measure what is found, how soon, and how much is made up."""
    try:
        truths = [
            Timetable() if quiet else timetable(seed, days, kinds.split(",") if kinds else KINDS) for seed in seeds
        ]
    except ValueError as error:
        raise click.UsageError(str(error)) from error
    head = heading(f"Fleet: {days:g} days, {'quiet' if quiet else 'faults'}, {'points' if direct else 'OTLP'}")
    outcomes: list[Outcome] = []
    made_up: list[Incident] = []
    table: list[tuple[str, ...]] = []
    for seed, truth in zip(seeds, truths, strict=True):
        style = Style(content=not no_content, swallowed_below=child_errors)
        lines = list(run(seed, days * DAY_S, truth)) if direct else _replay(seed, days, truth, style, keep)
        came, false = score(truth.faults, incidents(lines))
        outcomes += came
        made_up += false
        of_seed = rows(seed, came, false)
        table += of_seed
        for row in of_seed:
            print("  ".join(f"{cell:{width}}" for cell, width in zip(row, _WIDTHS, strict=True)), file=sys.stderr)
    measured = figures(outcomes, made_up, days * len(seeds))
    for figure in measured:
        print(figure.json())
    if out is not None:
        out.write_text(markdown(head, table, measured))


def _replay(seed: int, days: float, truth: Timetable, style: Style, keep: Path | None) -> list[dict[str, object]]:
    with tempfile.TemporaryDirectory() as temporary:
        folder = (keep or Path(temporary)) / f"seed-{seed}"
        spans = write(folder / "requests", seed, days * DAY_S, truth, style)
        started, out = time.monotonic(), folder / "found.jsonl"
        command = [sys.executable, "-P", "-m", "dimwatch", "replay", str(folder / "requests"), "--out", str(out)]
        subprocess.run(command, check=True, stderr=subprocess.DEVNULL)
        print(f"{spans:,} spans replayed in {time.monotonic() - started:.0f} s", file=sys.stderr)
        with out.open() as lines:
            return [json.loads(line) for line in lines if line.startswith('{"type":"incident"')]


if __name__ == "__main__":
    main()
