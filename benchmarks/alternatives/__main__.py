"""`python -m benchmarks.alternatives`: Dimwatch and what people would run instead, on the same load, one by one.

OTLP over HTTP (protobuf, 512 GenAI spans of 1 kB a request) at a rate that is stepped up. A rate is sustained when all
of it is acknowledged in time and is readable in the system's own store within eight seconds. All run on the cores of
this machine, the senders among them. Then 100 runs in which a tool fails inside an answer that says OK: how many of
them does the store say anything bad about? What is not there is installed first, in folders of its own (`--kept`).
"""

from __future__ import annotations

import argparse
import sqlite3
import sys
import tempfile
from pathlib import Path
from typing import Final

import httpx
import pytest

from benchmarks.alternatives import faulty
from benchmarks.alternatives.others import COLLECTOR, MLFLOW, PHOENIX
from benchmarks.alternatives.ours import BEHIND_COLLECTOR, EMBEDDED, OVER_KAFKA
from benchmarks.alternatives.programs import UnavailableError
from benchmarks.alternatives.trial import MAX_BEHIND_S, Alternative, Outcome, measure
from benchmarks.figures import heading
from benchmarks.stepping import SPANS_A_REQUEST
from dimwatch.simulate.load import LoadPool

ALTERNATIVES: Final = {
    "dimwatch": EMBEDDED,
    "kafka": OVER_KAFKA,
    "collector-kafka": BEHIND_COLLECTOR,
    "collector": COLLECTOR,
    "phoenix": PHOENIX,
    "mlflow": MLFLOW,
}
RATES: Final = (
    *(250, 500, 1_000, 2_000, 5_000, 10_000, 15_000, 20_000, 25_000, 30_000),
    *(40_000, 50_000, 60_000, 80_000, 100_000),
)
_TITLES: Final = (
    "",
    "sustained, spans/s",
    "CPU, us a span",
    "peak resident, MiB",
    "on disk, B a span",
    "lost, doubled",
    "when it says OK, a span",
    f"of {faulty.RUNS} silent failures, told",
)
_MIB: Final = 2**20


def row(alternative: Alternative, outcome: Outcome) -> str:
    """A line of the table."""
    disk, spans = outcome.disk, max(outcome.stored, 1)
    log = f" + {disk.log / spans:,.0f} log" if disk.log else ""
    shown = outcome.best or outcome.beyond
    assert shown is not None, "at least one rate was tried"
    cells = [
        alternative.name,
        f"{shown.sent.wanted:,.0f}" if outcome.best else "none",
        f"{shown.cpu_us:,.0f}",
        f"{shown.resident_bytes / _MIB:,.0f}",
        f"{disk.store / spans:,.0f}{log}",
        f"{outcome.lost:,}, {outcome.doubled:,}",
        alternative.answer,
        "refused" if outcome.told is None else f"{outcome.told}",
    ]
    return _line(cells)


def note(alternative: Alternative, outcome: Outcome | None) -> str:
    """What the line of the table stands for."""
    beyond = f" Not sustained: {outcome.beyond}." if outcome and outcome.beyond else ""
    return f"- **{alternative.name}**: {alternative.setup}. Finds {alternative.finds}.{beyond}"


def _line(cells: list[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _introduction(load: LoadPool, seconds: float) -> str:
    return f"""\
OTLP over HTTP, {SPANS_A_REQUEST} GenAI spans of {load.bytes_per_span:,.0f} B a request, at a rate that is stepped up,
{seconds:.0f} s each. Sustained: all acknowledged in time, and readable in the system's own store within
{MAX_BEHIND_S:.0f} s. CPU and memory are of all its processes, broker and store included, at the sustained rate, or at
the lowest where none is (memory: the sum of each process's peak); senders share the cores and are not counted. At the
end each gets {faulty.RUNS} runs in which a tool fails inside an answer that says OK: told are those of which its store
says anything bad within 30 s. The load repeats itself, which flatters the size on disk where columns are compressed.

"""


def _one(
    alternative: Alternative, kept: Path, load: LoadPool, rates: tuple[float, ...], seconds: float
) -> tuple[str, str]:
    """Line and note of one system; where it cannot be had, the line says why."""
    print(alternative.name, file=sys.stderr)
    try:
        with tempfile.TemporaryDirectory() as folder, alternative.running(kept, Path(folder)) as target:
            outcome = measure(target, load, rates, seconds)
    except (
        UnavailableError,
        httpx.HTTPError,
        sqlite3.Error,
        AssertionError,
        RuntimeError,
        pytest.skip.Exception,
    ) as error:
        why = " ".join(f"{type(error).__name__}: {error}".split()).replace("|", "/")
        return _line([alternative.name, f"not measured: {why}", *[""] * (len(_TITLES) - 2)]), note(alternative, None)
    return row(alternative, outcome), note(alternative, outcome)


def main() -> None:
    """Run all, or those that are named."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "names", nargs="*", metavar="NAME", help=f"of {', '.join(ALTERNATIVES)}; all where none is given"
    )
    parser.add_argument("--seconds", type=float, default=20.0, help="for each rate")
    parser.add_argument("--rates", type=float, nargs="+", default=RATES, help="spans/s")
    parser.add_argument("--kept", type=Path, help="folder of installations, for the next time; else a temporary one")
    parser.add_argument("--out", type=Path, help="write the Markdown there")
    given = parser.parse_args()
    names = given.names or list(ALTERNATIVES)
    if unknown := set(names) - ALTERNATIVES.keys():
        parser.error(f"{', '.join(unknown)} is none of {', '.join(ALTERNATIVES)}")
    load, head = LoadPool(SPANS_A_REQUEST), heading("Dimwatch and what people would run instead")
    lines = [_line(list(_TITLES)), "|---" * len(_TITLES) + "|"]
    notes = []
    with tempfile.TemporaryDirectory() as temporary:
        kept = (given.kept or Path(temporary)).resolve()
        kept.mkdir(parents=True, exist_ok=True)
        for name in names:
            line, text = _one(ALTERNATIVES[name], kept, load, given.rates, given.seconds)
            lines.append(line)
            notes.append(text)
            print(line, flush=True)
    page = head + _introduction(load, given.seconds) + "\n".join([*lines, "", *notes]) + "\n"
    print(page)
    if given.out:
        given.out.write_text(page)


if __name__ == "__main__":
    main()
