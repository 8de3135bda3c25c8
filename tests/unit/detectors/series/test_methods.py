"""Each method against a calculation by hand."""

from __future__ import annotations

import numpy as np
import pytest

from detectors.alerts import Node
from detectors.evidence import Evidence
from detectors.series import dispersion, edetector
from detectors.series.clockwork import Clockwork, between
from detectors.series.keys import Ids, Vocabulary
from detectors.series.log import Log
from detectors.series.nodes import Pools
from detectors.series.pack import pack, unpack
from detectors.series.table import Table
from detectors.windows.signals import Form, Subject
from dimwatch.errors import InvalidError
from tests.fleet_points import Row, minute


def test_e_detector_follows_its_recursion_and_dates_the_change() -> None:
    wealth, cusum = np.zeros((1, 2), dtype=np.float32), np.zeros((1, 2), dtype=np.float32)
    start = np.zeros((1, 2), dtype=np.int32)
    gains = [(-0.5, -1.0), (1.0, 2.0), (0.5, -3.0)]
    for number, gain in enumerate(gains):
        step, cap = np.array([gain], dtype=np.float32), np.array([1.5])
        edetector.advance(wealth, cusum, start, step, np.array([True]), 100 + number, cap)
    first = ((1 * np.exp(-0.5) + 1) * np.exp(1.0) + 1) * np.exp(0.5)
    second = ((1 * np.exp(-1.0) + 1) * np.exp(1.5) + 1) * np.exp(-3.0)  # 2.0 is capped
    assert wealth[0] == pytest.approx([first, second], rel=1e-5)
    shares = np.array([0.3, 0.7])
    assert edetector.mixed(wealth, shares)[0] == pytest.approx(np.log(0.3 * first + 0.7 * second), rel=1e-5)
    of_each = edetector.mixed(wealth, np.ones(1), (1.0, 0.0))[0]
    assert of_each == pytest.approx(min(np.log(first) + 1, np.log(second)), rel=1e-5), "the least against both bounds"
    assert cusum[0].tolist() == pytest.approx([1.5, 0.0])
    assert start[0].tolist() == [101, 103]


def test_a_stream_without_trials_stays_as_it_is() -> None:
    wealth, cusum = np.full((1, 1), 7, dtype=np.float32), np.full((1, 1), 2, dtype=np.float32)
    start = np.full((1, 1), 5, dtype=np.int32)
    edetector.advance(wealth, cusum, start, np.array([[9]], dtype=np.float32), np.array([False]), 100, np.array([8.0]))
    assert (wealth.item(), cusum.item(), start.item()) == (7, 2, 5)


def test_dispersion_of_poisson_blocks_is_one_and_of_doubled_counts_two() -> None:
    rng = np.random.default_rng(5)
    nodes = Table(**dispersion.COLUMNS)
    nodes.grow(2)
    expected = np.full(2, 50.0)
    for _ in range(400):
        counts = np.array([rng.poisson(50), 2 * rng.poisson(25)])
        chi, weight = dispersion.differences(nodes, counts - expected, expected, np.ones(2, dtype=bool))
        dispersion.absorb(nodes, np.array([0, 1]), chi, np.minimum(weight, 1.0))
    assert nodes["dispersion"] == pytest.approx([1.0, 2.0], abs=0.3)


def test_slow_wandering_is_no_dispersion() -> None:
    nodes = Table(**dispersion.COLUMNS)
    nodes.grow(1)
    for block in range(300):
        deviation = np.array([400 * np.sin(block / 60)])
        chi, weight = dispersion.differences(nodes, deviation, np.array([1000.0]), np.array([True]))
        dispersion.absorb(nodes, np.array([0]), chi, np.minimum(weight, 1.0))
    assert nodes["dispersion"].item() == 1.0


def test_memory_halves_after_the_half_life_and_lasts_longer_where_there_is_little() -> None:
    clockwork = Clockwork(half_life_h=6, guard_h=2)
    kept = clockwork.memory(np.array([1000.0, 1.0]), enough=20.0) ** 36
    assert kept == pytest.approx([0.5, 0.5 ** (1 / 8)])
    assert clockwork.ring == 13


def test_hours_are_joined_by_straight_lines() -> None:
    slots = np.arange(24.0)[None, :]
    assert between(slots, 90).item() == 1.0
    assert between(slots, 120).item() == 1.5
    assert between(slots, 0).item() == (23 + 0) / 2


def test_ids_do_not_depend_on_the_order_of_arrival() -> None:
    rows = np.random.default_rng(1).integers(0, 1 << 16, (500, 8))
    one, other = Ids(8), Ids(8)
    assert (one.add(rows)[::-1] == other.add(rows[::-1])).all()
    assert (one.rows == other.rows).all()
    assert one.find(rows + (1 << 16)).max() == -1


def test_a_vocabulary_learns_values_in_the_order_of_their_text() -> None:
    words = Vocabulary()
    points = minute(0, [Row("run_traffic", 1, agent=name) for name in ("b", "a", "c")], shuffle=3).points
    codes = words.codes(points)
    assert words.values[1] == ["", "a", "b", "c"]
    assert [words.text(row)["agent"] for row in codes] == points.column("agent").to_pylist()


def test_pools_add_up_and_only_distinct_nodes_are_watched() -> None:
    pools = Pools({0: Subject.MODEL})
    # tenant, agent, provider, model, tool, release, region, signal
    keys = np.array([[0, 1, 1, 1, 0, 0, 0, 0], [0, 2, 1, 1, 0, 0, 0, 0], [0, 2, 2, 2, 0, 0, 0, 0]])
    pools.add(keys)
    cells = pools.known(keys)
    values = np.zeros(3)
    values[cells] = 1.0, 10.0, 100.0
    sums = pools.to_nodes(values)
    by_node = {tuple(key[1:4]): total for key, total in zip(pools.nodes.rows.tolist(), sums, strict=True)}
    assert by_node[0, 0, 0] == 111
    assert by_node[0, 1, 0] == by_node[0, 0, 1] == by_node[0, 1, 1] == 11
    assert by_node[2, 0, 0] == 110
    watched = {tuple(key[1:4]) for key in pools.nodes.rows[pools.watched].tolist()}
    assert watched == {(1, 1, 1), (2, 1, 1), (2, 2, 2), (0, 1, 1), (2, 0, 0), (0, 0, 0)}


def test_the_log_sums_cells_since_a_minute_and_forgets() -> None:
    log = Log(keep=60)
    for number in range(200):
        log.add(number, np.array([1.0, 0.0, 2.0]), [np.array([1.0, 0.0, 2.0])])
    cells, values = log.since(195)
    assert cells.tolist() == [0, 2]
    assert values[:, 0].tolist() == [5.0, 10.0]
    cells, values = log.since(150)
    assert values[:, 0].tolist() == [50.0, 100.0]
    cells, values = log.since(0)
    assert 60 <= values[0, 0] <= 80


def test_a_snapshot_gives_back_what_it_was_given_and_says_so_where_it_is_none() -> None:
    state = {"a": {"b": np.arange(6, dtype=np.float32).reshape(2, 3)}, "c": ["x", "é"], "d": np.empty(0, dtype=bool)}
    back = unpack(pack(state))
    assert (back["a"]["b"] == state["a"]["b"]).all()  # type: ignore[index]
    assert back["c"] == state["c"]
    assert back["d"].dtype == bool
    with pytest.raises(InvalidError, match="snapshot"):
        unpack(b"something else")


@pytest.mark.parametrize(
    ("form", "observed", "expected", "gain"),
    [
        (Form.HITS, 20.0, 5.0, 20 * np.log(4) - 15),
        (Form.HITS, 4.0, 5.0, 0.0),
        (Form.EVENTS, 0.0, 5.0, 5.0),
        (Form.EVENTS, 9.0, 5.0, 0.0),
        (Form.LEVEL, 12.0, 9.0, 144 / 18),
        (Form.LEVEL, -12.0, 9.0, 0.0),
        (Form.HITS, 3.0, 0.0, 0.0),
    ],
)
def test_gain_of_evidence(form: Form, observed: float, expected: float, gain: float) -> None:
    nodes = [Node.make(agent="a"), Node.make(agent="b")]
    evidence = Evidence(nodes, np.array([observed, 99.0]), np.array([expected, 1.0]), np.ones(2), form)
    assert evidence.gain([True, False]) == pytest.approx(gain)
