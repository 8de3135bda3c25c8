"""Small fleets through the engine: calm ones stay calm, and each kind of shift is found in time, with its onset."""

from __future__ import annotations

from collections.abc import Callable, Collection

import numpy as np
import pytest

from detectors.alerts import Alert, Node
from detectors.engine import Engine
from detectors.windows.minute import MINUTE_NS
from detectors.windows.signals import BY_NAME
from dimwatch.settings import Detection
from tests.fleet_points import START, Row, measured, minute

Traffic = Callable[[int], list[Row]]
_CALM = 1620


def run(engine: Engine, traffic: Traffic, first: int, last: int) -> dict[tuple[str, Node], tuple[int, Alert]]:
    """The first alert of each signal and node, and in which minute it came."""
    found: dict[tuple[str, Node], tuple[int, Alert]] = {}
    for number in range(first, last):
        for alert in engine.step(minute(number, traffic(number))):
            found.setdefault((alert.signal, alert.node), (number, alert))
    return found


class Shop:
    """Two agents on two models, a few runs a minute, with a day in their traffic and latency."""

    def __init__(self, seed: int = 1) -> None:
        self.rng = np.random.default_rng(seed)
        self.errors, self.slow, self.slow_calls, self.tokens = 0.01, 0.0, 0.0, 0.0
        self.silent: set[str] = set()
        self.growth = 0.0

    def __call__(self, number: int) -> list[Row]:
        """All points of a minute."""
        rng, rows = self.rng, []
        wave = np.cos((number / 60 - 4) * np.pi / 12)
        for agent, model in (("shop", "large"), ("desk", "small")):
            runs = int(rng.poisson(5 * (1 + 0.5 * wave) * (1 + self.growth * number / 1440)))
            if not runs or agent in self.silent:
                continue
            where = {"agent": agent, "provider": "acme", "model": model}
            calls = 3 * runs
            large = model == "large"
            failed = rng.binomial(calls, self.errors if large else 0.01)
            rows.append(Row("model_error", calls, float(failed), agent=agent, provider="acme", model=model))
            logs = rng.normal(0.08 * wave + (self.slow if large else 0.0), 0.5, calls)
            logs += np.where(rng.random(calls) < self.slow_calls, np.log(4), 0.0)
            rows.append(measured("model_latency", logs, **where))
            rows.append(
                measured("model_output_tokens", rng.normal(5 + (self.tokens if large else 0), 0.6, calls), **where)
            )
            rows.append(Row("run_traffic", runs, agent=agent))
        return rows


@pytest.fixture(scope="module")
def calm() -> tuple[bytes, int]:
    """An engine that has seen a day and some hours of the shop, calm, without a single alert."""
    engine, shop = Engine(Detection()), Shop()
    assert run(engine, shop, 0, _CALM) == {}
    return engine.snapshot(), _CALM


def shifted(
    calm: tuple[bytes, int], minutes: int, **change: object
) -> tuple[Engine, dict[tuple[str, Node], tuple[int, Alert]]]:
    """What is found in so many minutes after the shop has changed, by minutes since then."""
    engine, shop = Engine(Detection()), Shop(2)
    engine.restore(calm[0])
    for name, value in change.items():
        setattr(shop, name, value)
    found = run(engine, shop, calm[1], calm[1] + minutes)
    return engine, {key: (at - calm[1] + 1, alert) for key, (at, alert) in found.items()}


LARGE = Node.make(agent="shop", provider="acme", model="large")


@pytest.mark.parametrize(
    ("change", "signal", "node", "within"),
    [
        ({"errors": 0.1}, "model_error", LARGE, 20),
        ({"slow": 0.7}, "model_latency", LARGE, 10),
        ({"slow_calls": 0.25}, "model_slow", Node.make(provider="acme"), 30),
        ({"tokens": 1.0}, "model_output_tokens", LARGE, 10),
        ({"tokens": -1.0}, "model_output_tokens", LARGE, 10),
        ({"silent": {"desk"}}, "run_traffic", Node.make(agent="desk"), 15),
    ],
)
def test_a_shift_is_found_in_time_and_dated(
    calm: tuple[bytes, int], change: dict[str, object], signal: str, node: Node, within: int
) -> None:
    _, found = shifted(calm, within, **change)
    assert (signal, node) in found
    after, alert = found[signal, node]
    assert 1 < after <= within
    assert alert.evidence >= alert.threshold
    assert abs(alert.since_ns // MINUTE_NS - START - calm[1]) <= 5
    assert alert.worse == (change.get("tokens") != -1.0)
    assert not [key for key in found if key[1] == Node.make(agent="desk", provider="acme", model="small")
                and signal != "model_slow"]  # fmt: skip


def test_an_alert_ends_when_it_is_over_and_does_not_flap(calm: tuple[bytes, int]) -> None:
    engine, found = shifted(calm, 60, errors=0.15)
    assert ("model_error", LARGE) in found
    shop = Shop(3)
    at = calm[1] + 60
    firing = [bool(engine.step(minute(number, shop(number)))) for number in range(at, at + 240)]
    assert firing[0]
    assert not firing[-1]
    assert firing == sorted(firing, reverse=True)


def test_what_goes_on_under_an_alert_does_not_become_normal_before_a_day() -> None:
    engine, rng = Engine(Detection(), [BY_NAME["model_error"]]), np.random.default_rng(4)
    firing = [
        bool(engine.step(minute(number, [Row("model_error", 20, float(rng.binomial(20, rate)))])))
        for number, rate in enumerate([0.02] * 300 + [0.2] * 1560)
    ]
    assert not any(firing[:300])
    assert all(firing[330:1700])
    assert not any(firing[1780:])


def test_what_has_become_normal_after_a_day_is_watched_where_alerts_overlapped() -> None:
    engine, rng = Engine(Detection(), [BY_NAME["model_error"]]), np.random.default_rng(4)

    def traffic(number: int) -> list[Row]:
        rate = 0.02 if number < 300 else 0.2 if number < 1760 else 0.6
        failed = {agent: float(rng.binomial(20, rate)) for agent in ("a", "b", "c")}
        return [Row("model_error", 20, of, agent=agent, provider="p", model="m") for agent, of in failed.items()]

    assert len(run(engine, traffic, 0, 1745)) == 4, "each agent, and the model"
    assert run(engine, traffic, 1745, 1760) == {}
    assert run(engine, traffic, 1760, 1780)


def test_a_rebaseline_ends_the_alert_and_the_new_level_is_normal(calm: tuple[bytes, int]) -> None:
    engine, found = shifted(calm, 30, tokens=1.0)
    assert found
    since = (START + calm[1]) * MINUTE_NS
    engine.rebaseline(Node.make(agent="shop"), ["model_output_tokens"], since)
    shop = Shop(5)
    shop.tokens = 1.0
    assert run(engine, shop, calm[1] + 30, calm[1] + 270) == {}


def test_evidence_names_the_cells(calm: tuple[bytes, int]) -> None:
    engine, _ = shifted(calm, 15, errors=0.1)
    evidence = engine.evidence("model_error", (START + calm[1]) * MINUTE_NS)
    gains = {node.value("model"): evidence.gain([other == node for other in evidence.nodes]) for node in evidence.nodes}
    assert gains["large"] > 10 > gains["small"]
    assert engine.evidence("tool_error", 0).nodes == []


def test_what_was_bad_from_the_start_and_what_never_had_a_failure_do_not_page() -> None:
    shop = Shop(6)
    shop.errors = 0.01

    def traffic(number: int) -> list[Row]:
        shop.errors = 0.01 if number < 30 else 0.2
        stray = [Row("run_looped", 5, float(number in (400, 401, 500)), agent="shop")]
        return shop(number) + stray

    assert run(Engine(Detection()), traffic, 0, 600) == {}


def test_growth_and_bursts_are_no_alarm_and_nights_off_are_learned() -> None:
    rng = np.random.default_rng(7)

    def traffic(number: int) -> list[Row]:
        hour = number // 60 % 24
        burst = 4 if number % 700 < 20 else 1
        growth = 1 + 0.3 * number / 1440
        runs = {
            "office": rng.poisson(4 * burst * np.clip(min(hour - 7, 19 - hour) / 2, 0, 1)),
            "shop": rng.poisson(5 * burst * growth * (1 + 0.5 * np.cos((number / 60 - 14) * np.pi / 12))),
        }
        return [Row("run_traffic", int(count), agent=agent) for agent, count in runs.items() if count]

    found = run(Engine(Detection(), [BY_NAME["run_traffic"]]), traffic, 0, 1440 + 1200)
    assert set(found) <= {("run_traffic", Node.make(agent="office"))}
    assert all(at < 1440 for at, _ in found.values())


def test_a_first_weekend_is_no_silence_but_who_stops_in_it_is_and_so_are_all_when_all_do() -> None:
    rng, agents = np.random.default_rng(9), {f"agent-{number}": 1.0 + number for number in range(6)}
    weekend = 1440

    def traffic(number: int, silent: Collection[str] = ()) -> list[Row]:
        day = 1 + 0.5 * np.cos((number / 60 - 14) * np.pi / 12)
        left = 0.4 if number >= weekend else 1.0
        runs = {name: rng.poisson(rate * day * left) for name, rate in agents.items() if name not in silent}
        return [Row("run_traffic", int(count), agent=name) for name, count in runs.items() if count]

    def engine() -> Engine:
        return Engine(Detection(), [BY_NAME["run_traffic"]])

    calm = engine()
    assert run(calm, traffic, 0, weekend + 300) == {}
    for silent, node, within in (({"agent-5"}, Node.make(agent="agent-5"), 20), (agents, Node(), 12)):
        going = engine()
        going.restore(calm.snapshot())
        found = run(going, lambda number, who=silent: traffic(number, who), weekend + 300, weekend + 330)  # type: ignore[misc]
        assert found["run_traffic", node][0] - weekend - 300 < within
        assert len(silent) > 1 or set(found) == {("run_traffic", node)}


def test_one_wild_run_does_not_page(calm: tuple[bytes, int]) -> None:
    engine, shop = Engine(Detection()), Shop(8)
    engine.restore(calm[0])
    rows = [Row("model_error", 60, 60.0, provider="acme", model="large")]
    assert engine.step(minute(calm[1], rows)) == []
    assert run(engine, shop, calm[1] + 1, calm[1] + 60) == {}
