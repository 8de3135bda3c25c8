"""`python -m benchmarks.causes`: is the part of the fleet that a fault is in the first that the cause search names?

Counts of failures by cell are drawn minute by minute (traffic of cells differs by a factor of about ten, counts vary
1.3 times as much as Poisson's), until the part that is at fault has the evidence of an alert (the likeliest rate
against the engine's bound for groups). Then the search has one try, after the minutes that an unclear answer is
waited with. Only an exact answer counts: the same cells, none more, none less. The goal for one dimension at 2.5
times is 95%. `--out FILE` writes Markdown with machine, commit and date.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks.figures import Figure, heading
from detectors.alerts import Node
from detectors.incidents.causes import Cells, Layer
from detectors.incidents.grouping import CLEAR_MARGIN, HOLD_UNCLEAR, MINUTE
from detectors.windows.signals import BY_NAME

FloatArray = NDArray[np.float64]

TRIALS = 200
EVIDENCE = 16.0
MARGIN = 0.4
RATE = 0.02
DISPERSION = 1.3
MOST_MINUTES = 240
FACTORS = (2.5, 4.0)


@dataclass(frozen=True)
class Fleet:
    """Cells with their calls a minute."""

    name: str
    signal: str
    nodes: tuple[Node, ...]
    calls: FloatArray


def model_fleet(rng: np.random.Generator, agents: int, providers: int) -> Fleet:
    """Every agent calls two models of one or two providers; a provider has two models."""
    nodes = []
    for agent in range(agents):
        for model in rng.choice(2 * providers, 2, replace=False).tolist():
            names = {"agent": f"agent-{agent}", "provider": f"provider-{model // 2}", "model": f"model-{model}"}
            nodes.append(Node.make(tenant="t", **names))
    return Fleet(f"{agents} agents, {providers} providers", "model_error", tuple(nodes), _traffic(rng, len(nodes)))


def tool_fleet(rng: np.random.Generator, agents: int, tools: int) -> Fleet:
    """Every agent uses three tools."""
    nodes = []
    for agent in range(agents):
        for tool in rng.choice(tools, 3, replace=False).tolist():
            nodes.append(Node.make(tenant="t", agent=f"agent-{agent}", tool=f"tool-{tool}"))
    return Fleet(f"{agents} agents, {tools} tools", "tool_error", tuple(nodes), _traffic(rng, len(nodes)))


_INTRODUCTION = f"""\
Is the part of the fleet that a fault is in the first that the search names, when the alert comes, after at most three
minutes in which an unclear answer is waited with? Only exactly the same cells count. Failures at 2% of calls usually,
1.3 times as variable as Poisson's, cells of very different traffic. Of {TRIALS} trials each those count that an alert
came of within {MOST_MINUTES} minutes; how many they were is beside the share. The goal is 95% for one dimension
at 2.5 times.

| fleet | the fault is in one | {" | ".join(f"{factor:g} times" for factor in FACTORS)} |
|---|---|---|---|
"""

Maker = Callable[[np.random.Generator, int, int], Fleet]


def first_answer(rng: np.random.Generator, fleet: Fleet, bad: NDArray[np.bool_], factor: float) -> bool | None:
    """Whether the first answer is exactly the part at fault; None without an alert."""
    observed, expected = np.zeros(len(fleet.nodes)), np.zeros(len(fleet.nodes))
    signal = BY_NAME[fleet.signal]
    alerted: int | None = None
    for minute in range(MOST_MINUTES):
        usual = rng.poisson(fleet.calls) * RATE
        mean = np.where(bad, factor, 1.0) * usual
        observed += rng.poisson(rng.gamma(np.maximum(mean, 1e-9) / (DISPERSION - 1), DISPERSION - 1))
        expected += usual
        layer = Layer(signal, fleet.nodes, observed, expected, expected / RATE)
        bound = np.array([(1 + MARGIN) * expected[bad].sum()])
        if alerted is None and layer.gain(np.array([observed[bad].sum()]), bound)[0] / DISPERSION >= EVIDENCE:
            alerted = minute
        if alerted is None:
            continue
        cells = Cells([layer])
        found = next(iter(cells.search(most=1)), None)
        if found is None or (found.margin < CLEAR_MARGIN and (minute - alerted) * MINUTE < HOLD_UNCLEAR):
            continue
        return {cells.nodes[i] for i in np.flatnonzero(found.mask)} == {fleet.nodes[i] for i in np.flatnonzero(bad)}
    return None


def run() -> Iterator[tuple[str, str, list[list[bool]]]]:
    """By fleet and dimension: whether right at first, for each trial with an alert, by strength."""
    rng = np.random.default_rng(20260101)
    plan: tuple[tuple[Maker, tuple[tuple[int, int], ...], tuple[tuple[str, ...], ...]], ...] = (
        (model_fleet, ((6, 3), (40, 5)), (("provider",), ("model",), ("agent",), ("agent", "model"))),
        (tool_fleet, ((6, 8), (40, 30)), (("tool",), ("agent",), ("agent", "tool"))),
    )
    for make, sizes, dimensions in plan:
        for size in sizes:
            for names in dimensions:
                answers = [list(_trials(rng, make, size, names, factor)) for factor in FACTORS]
                yield make(rng, *size).name, " x ".join(names), answers


def _trials(
    rng: np.random.Generator, make: Maker, size: tuple[int, int], names: tuple[str, ...], factor: float
) -> Iterator[bool]:
    for _ in range(TRIALS):
        fleet = make(rng, *size)
        of = fleet.nodes[int(rng.integers(len(fleet.nodes)))]
        part = Node.make(**{name: of.value(name) for name in names})
        answer = first_answer(rng, fleet, np.array([node.within(part) for node in fleet.nodes]), factor)
        if answer is not None:
            yield answer


def _traffic(rng: np.random.Generator, cells: int) -> FloatArray:
    """Calls a minute: a few busy cells, many that are not."""
    return rng.lognormal(np.log(6.0), 0.6, cells)


def main() -> None:
    """Print every figure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, help="write the Markdown there")
    given = parser.parse_args()
    head, rows = heading("The cause search: right at first"), []
    for fleet, where, by_factor in run():
        cells = []
        for factor, answers in zip(FACTORS, by_factor, strict=True):
            share = Figure(
                f"causes: {fleet}, {where}, {factor} times: right at first", 100 * sum(answers) / len(answers), "%"
            )
            print(share.json(), flush=True)
            cells.append(f"{share.value:.1f}% of {len(answers)}")
        rows.append(f"| {fleet} | {where} | {' | '.join(cells)} |")
    if given.out:
        given.out.write_text(head + _INTRODUCTION + "\n".join(rows) + "\n")


if __name__ == "__main__":
    main()
