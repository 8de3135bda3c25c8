"""The capacity model: what it plans is enough, and half of that is not."""

from __future__ import annotations

from benchmarks.capacity import Costs, plan, simulate

COSTS = Costs(
    cpu_us={"collector": 8.0, "worker": 25.0, "sink and store": 10.0},
    bytes={"otlp_spans": 350.0, "store, on disk": 90.0},
    rows=1.75,
)


def test_the_plan_is_of_the_costs() -> None:
    told = {figure.name: figure.value for figure in plan(COSTS, 100_000.0)}
    assert told["cores: worker"] == 100_000 * 25e-6 / 0.6
    assert told["bytes: otlp_spans"] == 35.0
    assert told["store: rows a day"] == 100_000 * 86_400 * 1.75 / 1e9


def test_what_is_planned_is_enough_and_half_is_not() -> None:
    enough = simulate(COSTS, 100_000.0)
    assert enough["collector"] < 1.0
    assert enough["sink and store"] < 1.0
    assert 25.0 < enough["worker"] < 45.0  # the one that was dead for half a minute
    assert enough["worker, at the end"] < 1.0
    half = simulate(COSTS, 100_000.0, cores=0.5)
    assert sum(value for stage, value in half.items() if stage.endswith("at the end")) > 60.0
