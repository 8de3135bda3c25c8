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
from statistics import median

import click

from benchmarks.figures import Figure
from benchmarks.fleet.direct import run
from benchmarks.fleet.draw import DAY_S
from benchmarks.fleet.faults import KINDS, Timetable, timetable
from benchmarks.fleet.otlp import Style, write
from benchmarks.fleet.score import Incident, Outcome, incidents, score


@click.command()
@click.option("--days", type=float, default=3.0, show_default=True)
@click.option("--seed", "seeds", type=int, multiple=True, default=(1,), show_default=True, help="May be repeated.")
@click.option("--quiet", is_flag=True, help="No faults.")
@click.option("--kinds", help="Only these, with commas between them.")
@click.option("--no-content", is_flag=True, help="Without arguments and results of tools.")
@click.option("--child-errors", is_flag=True, help="Swallowed errors are spans below the tool.")
@click.option("--direct", is_flag=True, help="Points instead of OTLP.")
@click.option("--keep", type=click.Path(path_type=Path, file_okay=False), help="Keep requests and output here.")
def main(
    days: float,
    seeds: Sequence[int],
    quiet: bool,
    kinds: str | None,
    no_content: bool,
    child_errors: bool,
    direct: bool,
    keep: Path | None,
) -> None:
    """Measure what is found, how soon, and how much is made up."""
    outcomes: list[Outcome] = []
    made_up: list[Incident] = []
    for seed in seeds:
        table = Timetable() if quiet else timetable(seed, days, kinds.split(",") if kinds else KINDS)
        style = Style(content=not no_content, swallowed_below=child_errors)
        lines = list(run(seed, days * DAY_S, table)) if direct else _replay(seed, days, table, style, keep)
        came, false = score(table.faults, incidents(lines))
        outcomes += came
        made_up += false
        _say(seed, came, false)
    for figure in _figures(outcomes, made_up, days * len(seeds)):
        print(figure.json())


def _replay(seed: int, days: float, table: Timetable, style: Style, keep: Path | None) -> list[dict[str, object]]:
    with tempfile.TemporaryDirectory() as temporary:
        folder = (keep or Path(temporary)) / f"seed-{seed}"
        spans = write(folder / "requests", seed, days * DAY_S, table, style)
        started, out = time.monotonic(), folder / "found.jsonl"
        command = [sys.executable, "-P", "-m", "dimwatch", "replay", str(folder / "requests"), "--out", str(out)]
        subprocess.run(command, check=True, stderr=subprocess.DEVNULL)
        print(f"{spans:,} spans replayed in {time.monotonic() - started:.0f} s", file=sys.stderr)
        with out.open() as lines:
            return [json.loads(line) for line in lines if line.startswith('{"type":"incident"')]


def _say(seed: int, outcomes: Sequence[Outcome], made_up: Sequence[Incident]) -> None:
    print(f"seed {seed}", file=sys.stderr)
    for outcome in sorted(outcomes, key=lambda outcome: KINDS.index(outcome.fault.kind)):
        where = "/".join(outcome.fault.scope.values())
        line = f"  {outcome.fault.kind:17} {where:28} "
        if outcome.found is None:
            line += "missed"
        else:
            verdict = "tight" if outcome.tight else "right" if outcome.right else "WRONG"
            said = f"{outcome.found.kind}{'' if outcome.kind_right else ' (?)'} {_where(outcome.found)}"
            line += f"{outcome.delay_s / 60:6.1f} min  {verdict}  {said}"
        print(line + (f"  +{outcome.beside} beside" if outcome.beside else ""), file=sys.stderr)
    for incident in made_up:
        print(
            f"  FALSE at {incident.opened_s / 3600:6.2f} h: {incident.kind} {_where(incident)} "
            f"{incident.severity} {','.join(incident.signals)}",
            file=sys.stderr,
        )


def _where(incident: Incident) -> str:
    return " ".join(f"{name}={value}" for name, value in incident.scope.items()) or "fleet"


def _figures(outcomes: Sequence[Outcome], made_up: Sequence[Incident], days: float) -> list[Figure]:
    figures = [Figure("fleet_false_incidents_a_week", len(made_up) / days * 7, "incidents")]
    if outcomes:
        right = [outcome for outcome in outcomes if outcome.right]
        figures += [
            Figure("fleet_recall_right_scope", len(right) / len(outcomes), "ratio"),
            Figure("fleet_recall_tight_scope", sum(o.tight for o in outcomes) / len(outcomes), "ratio"),
            Figure("fleet_recall_any", sum(o.found is not None for o in outcomes) / len(outcomes), "ratio"),
            Figure("fleet_kind_right", sum(o.kind_right for o in right) / max(len(right), 1), "ratio"),
            Figure("fleet_beside_a_fault", sum(o.beside for o in outcomes) / len(outcomes), "incidents"),
        ]
        if right:
            figures.append(Figure("fleet_delay_median", median(o.delay_s for o in right) / 60, "min"))
    return figures


if __name__ == "__main__":
    main()
