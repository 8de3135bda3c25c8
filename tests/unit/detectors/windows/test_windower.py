"""Minutes are closed in order, each once, when nothing can come for them any more."""

from __future__ import annotations

from random import Random

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from detectors.windows.minute import MINUTE_NS, Minute
from detectors.windows.points import NO_POINTS, NO_SIGHTINGS, coarsened, merged, merged_sightings
from detectors.windows.windower import MOST_EMPTY, Windower
from dimwatch.errors import InvalidError
from dimwatch.records import POINT, SIGHTING
from dimwatch.settings import Detection

DETECTION = Detection(lateness_s=30.0)
LATENESS = 30_000_000_000
START = 1_760_000_000_000_000_000 // MINUTE_NS * MINUTE_NS


def point(at_s: int, agent: str = "a", signal: str = "run_traffic", n: float = 1.0, **key: str) -> dict[str, object]:
    row: dict[str, object] = {name: "" for name in POINT.names[:10] if name != "subject"}
    level = (
        {"bucket": [3, 9], "bucket_count": [1, 2]} if signal == "run_latency" else {"bucket": [], "bucket_count": []}
    )
    time = START + at_s * 1_000_000_000
    return (
        row
        | {"subject": "run", "agent": agent, "signal": signal, "time": time, "n": n, "total": n / 4, "squares": 0.0}
        | level
        | key
    )


def points(*rows: dict[str, object]) -> pa.Table:
    return pa.Table.from_pylist(list(rows), schema=POINT)


def sighting(at_s: int, value: str, agent: str = "a", n: float = 1.0) -> dict[str, object]:
    time = START + at_s // 60 * MINUTE_NS
    return {"tenant": "", "agent": agent, "attribute": "prompt", "key": "", "value": value, "time": time, "n": n}


def sightings(*rows: dict[str, object]) -> pa.Table:
    return pa.Table.from_pylist(list(rows), schema=SIGHTING)


def starts(minutes: list[Minute]) -> list[int]:
    return [(minute.start_ns - START) // MINUTE_NS for minute in minutes]


def total(minutes: list[Minute]) -> float:
    return float(sum(minute.points["n"].to_numpy().sum() for minute in minutes))


def test_a_minute_is_closed_when_everything_up_to_its_end_and_the_lateness_is_judged() -> None:
    windower = Windower(DETECTION)
    windower.add(points(point(10), point(20), point(70)), NO_SIGHTINGS, "w", START + MINUTE_NS + LATENESS - 1)
    assert list(windower.closed()) == []
    windower.add(NO_POINTS, NO_SIGHTINGS, "w", START + MINUTE_NS + LATENESS)
    (minute,) = windower.closed()
    assert starts([minute]) == [0]
    assert minute.points.num_rows == 1
    assert minute.fine.num_rows == 2
    assert minute.points["n"].to_pylist() == [2.0]
    assert list(windower.closed()) == []
    assert starts(list(windower.rest())) == [1]


def test_the_first_minute_is_not_closed_before_it_is_due() -> None:
    windower = Windower(DETECTION)
    windower.add(points(point(70)), sightings(), "w", START + 75_000_000_000)
    assert list(windower.closed()) == []
    windower.add(points(point(10)), sightings(), "w", START + 80_000_000_000)
    windower.add(points(), sightings(), "w", START + 2 * MINUTE_NS + LATENESS)
    assert starts(list(windower.closed())) == [0, 1]
    assert windower.counts.late == 0


@pytest.mark.parametrize("room", [True, False])
def test_points_of_who_catches_up_are_in_time_while_there_is_room(room: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    if not room:
        monkeypatch.setattr("detectors.windows.windower._MOST_OPEN", 10)
    windower = Windower(DETECTION)
    closed: list[Minute] = []

    def judged(minute: int, source: str) -> None:
        windower.tell("points", source, START + (minute + 1) * MINUTE_NS + LATENESS, 2, behind=True)
        windower.add(points(point(minute * 60, agent=source)), None, source)
        closed.extend(windower.closed())

    judged(0, "worker-0")
    judged(0, "worker-1")
    for minute in range(1, 60):  # a backlog of an hour, on two workers of which one is slower
        judged(minute, "worker-0")
        if minute % 3 == 0:
            judged(minute // 3, "worker-1")
    for minute in range(20, 60):
        judged(minute, "worker-1")
    assert starts(closed) == list(range(60))
    assert total([*closed, *windower.rest()]) == 120
    assert (windower.counts.late == 0) == room


def test_sightings_of_who_catches_up_take_room_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("detectors.windows.windower._MOST_OPEN", 10)
    windower = Windower(DETECTION)
    for minute in range(20):
        for source in ("worker-0", "worker-1")[: 1 if minute else 2]:
            windower.tell("sightings", source, START + (minute + 1) * MINUTE_NS + LATENESS, 2, behind=True)
            windower.add(None, sightings(sighting(minute * 60, "x", agent=source)), source)
        list(windower.closed())
    assert windower.next_ns == START + 20 * MINUTE_NS


def test_empty_minutes_are_closed_too() -> None:
    windower = Windower(DETECTION)
    windower.add(points(point(0)), NO_SIGHTINGS, "w", START + 5 * MINUTE_NS + LATENESS)
    assert starts(list(windower.closed())) == [0, 1, 2, 3, 4]
    windower.add(points(point(7 * 60)), NO_SIGHTINGS, "w", START + 8 * MINUTE_NS + LATENESS)
    closed = list(windower.closed())
    assert starts(closed) == [5, 6, 7]
    assert [minute.points.num_rows for minute in closed] == [0, 0, 1]


def test_nothing_is_closed_before_the_slowest_source_and_points_and_sightings_are_sources_of_their_own() -> None:
    windower = Windower(DETECTION)
    windower.add(points(point(0, "a")), NO_SIGHTINGS, "one", START + 5 * MINUTE_NS)
    windower.add(points(point(10, "b")), None, "two", START + 10_000_000_000)
    assert list(windower.closed()) == []
    windower.add(NO_POINTS, None, "two", START + 5 * MINUTE_NS)
    windower.add(None, sightings(sighting(0, "x")), "two", START + 10_000_000_000)
    assert list(windower.closed()) == []
    windower.add(None, NO_SIGHTINGS, "two", START + 2 * MINUTE_NS)
    (minute,) = windower.closed()
    assert minute.points["agent"].to_pylist() == ["a", "b"]
    assert minute.sightings["value"].to_pylist() == ["x"]


def test_a_source_that_is_gone_holds_nothing_up_for_ever() -> None:
    windower = Windower(DETECTION)
    windower.add(points(point(0)), NO_SIGHTINGS, "gone", START)
    windower.add(points(point(0)), NO_SIGHTINGS, "here", START + 9 * MINUTE_NS)
    assert list(windower.closed()) == []
    windower.add(NO_POINTS, NO_SIGHTINGS, "here", START + 11 * MINUTE_NS)
    assert starts(list(windower.closed())) == list(range(10))


def test_what_comes_late_is_counted_and_kept() -> None:
    windower = Windower(DETECTION)
    windower.add(points(point(0)), NO_SIGHTINGS, "w", START + 3 * MINUTE_NS + LATENESS)
    assert starts(list(windower.closed())) == [0, 1, 2]
    windower.add(points(point(30), point(40)), sightings(sighting(0, "x")), "w", START + 4 * MINUTE_NS + LATENESS)
    (minute,) = windower.closed()
    assert starts([minute]) == [3]
    assert total([minute]) == 2
    assert minute.sightings.num_rows == 1
    assert windower.counts.late == 3


def test_after_a_day_of_nothing_no_minutes_are_made_until_something_comes() -> None:
    whole, often = Windower(DETECTION), Windower(DETECTION)
    later = 10 * MOST_EMPTY * 60
    for windower in (whole, often):
        windower.add(points(point(0)), NO_SIGHTINGS, "w", START)
    end = START + later * 1_000_000_000
    found = []
    for mark in range(START, end, 400 * MINUTE_NS):
        often.add(NO_POINTS, NO_SIGHTINGS, "w", mark)
        found += list(often.closed())
    for windower in (whole, often):
        windower.add(points(point(later)), NO_SIGHTINGS, "w", end + MINUTE_NS + LATENESS)
    at_once = list(whole.closed())
    assert starts(at_once) == [*range(MOST_EMPTY + 1), later // 60]
    assert starts(found + list(often.closed())) == starts(at_once)
    assert whole.counts.skipped == often.counts.skipped == 9 * MOST_EMPTY - 1


PARTS = st.lists(
    st.tuples(
        st.integers(0, 200), st.sampled_from("abc"), st.sampled_from(["run_traffic", "run_latency"]), st.integers(1, 9)
    ),
    max_size=30,
)


@settings(deadline=None, max_examples=25)
@given(PARTS, st.randoms(use_true_random=False), st.integers(1, 7))
def test_any_order_and_any_portions_give_the_same_minutes(
    rows: list[tuple[int, str, str, int]], random: Random, portion: int
) -> None:
    table = [point(at, agent, signal, n / 8) for at, agent, signal, n in rows]
    seen = [sighting(at, agent) for at, agent, _, _ in rows]
    mark = START + 10 * MINUTE_NS
    together = Windower(DETECTION)
    together.add(points(*table), sightings(*seen), "w", mark)
    expected = list(together.closed())
    shuffled = list(zip(table, seen, strict=True))
    random.shuffle(shuffled)
    apart = Windower(DETECTION)
    for at in range(0, len(shuffled), portion):
        part = shuffled[at : at + portion]
        apart.add(points(*(row for row, _ in part)), sightings(*(row for _, row in part)), f"w{at % 3}", START)
        apart = restored(apart)
    for source in range(3):
        apart.add(NO_POINTS, NO_SIGHTINGS, f"w{source}", mark)
    assert list(apart.closed()) == expected
    assert total(expected) == sum(n / 8 for *_, n in rows)


def restored(windower: Windower) -> Windower:
    again = Windower(DETECTION)
    again.restore(windower.snapshot())
    assert again.snapshot() == windower.snapshot()
    return again


def test_a_snapshot_of_something_else_is_refused() -> None:
    for value in (b"", b"12345678", b"\0" * 7 + b"\2{}", b"\0" * 7 + b"\x0d" + b'{"version":9}'):
        with pytest.raises(InvalidError):
            Windower(DETECTION).restore(value)


def test_series_beyond_the_bound_are_counted_under_other() -> None:
    windower = Windower(Detection(lateness_s=30.0, max_series=5))
    names = [f"agent-{number}" for number in range(20)]
    windower.add(points(*(point(0, name) for name in names[:4])), NO_SIGHTINGS, "w", START + MINUTE_NS + LATENESS)
    first = list(windower.closed())
    windower.add(points(*(point(60, name) for name in names)), NO_SIGHTINGS, "w", START + 2 * MINUTE_NS + LATENESS)
    (second,) = windower.closed()
    agents = set(second.points["agent"].to_pylist())
    assert {*names[:4], "other"} < agents, "who was first stays apart"
    assert len(agents) == 6
    assert total(first) == 4
    assert total([second]) == 20
    assert windower.counts.folded == 15


def test_values_beyond_the_commonest_are_other() -> None:
    windower = Windower(DETECTION)
    seen = [sighting(0, f"v{number:02}", n=1 + number % 7) for number in range(80)]
    windower.add(NO_POINTS, sightings(*seen), "w", START + MINUTE_NS + LATENESS)
    (minute,) = windower.closed()
    rows = {row["value"]: row["n"] for row in minute.sightings.to_pylist()}
    assert len(rows) == 33
    assert sum(rows.values()) == sum(1 + number % 7 for number in range(80))
    assert {"v06", "v13", "v20"} < rows.keys()
    assert "v00" not in rows


NUMBERS = st.floats(-40, 40).map(lambda value: round(value * 2**18) / 2**18)


@settings(deadline=None, max_examples=25)
@given(st.lists(st.tuples(st.sampled_from("ab"), NUMBERS), min_size=1, max_size=40), st.integers(1, 5))
def test_sums_do_not_depend_on_how_points_were_merged_before(rows: list[tuple[str, float]], portion: int) -> None:
    table = [point(0, agent, "run_latency") | {"total": value, "squares": value * value} for agent, value in rows]
    once = merged([points(*table)])
    parts = [merged([points(*table[at : at + portion])]) for at in range(0, len(table), portion)]
    assert merged(parts[::-1]).equals(merged([once]))
    for agent in {agent for agent, _ in rows}:
        (row,) = (row for row in once.to_pylist() if row["agent"] == agent)
        assert row["total"] == sum(value for name, value in rows if name == agent)
        assert row["bucket_count"] == [row["n"], 2 * row["n"]]


def test_wider_windows_add_up_the_narrower_ones() -> None:
    table = points(*(point(at, "a", "run_latency") for at in range(0, 7200, 10)))
    minutes = coarsened(merged([table]), MINUTE_NS)
    hours = coarsened(minutes, 60 * MINUTE_NS)
    assert minutes.num_rows == 120
    assert set(minutes["n"].to_pylist()) == {6.0}
    assert hours.equals(coarsened(table, 60 * MINUTE_NS))
    assert sum(hours["n"].to_pylist()) == 720
    assert hours["bucket_count"].to_pylist() == merged_counts(hours["n"].to_numpy())


def merged_counts(n: np.ndarray[tuple[int], np.dtype[np.float64]]) -> list[list[int]]:
    return [[int(count), 2 * int(count)] for count in n]


def test_sightings_of_the_same_key_add_up() -> None:
    rows = [sighting(0, "x"), sighting(5, "y", n=2), sighting(9, "x", n=3)]
    added = merged_sightings([sightings(rows[2]), sightings(*rows[:2])])
    assert [(row["value"], row["n"]) for row in added.to_pylist()] == [("x", 4.0), ("y", 2.0)]


@settings(deadline=None, max_examples=25)
@given(st.lists(st.tuples(st.integers(0, 5), st.sampled_from("abcdefgh")), min_size=1, max_size=40), st.integers(1, 9))
def test_the_bound_falls_on_the_same_series_whether_minutes_close_at_once_or_one_by_one(
    rows: list[tuple[int, str]], most: int
) -> None:
    tight = Detection(lateness_s=0.0, max_series=most)
    at_once, one_by_one = Windower(tight), Windower(tight)
    at_once.add(
        points(*(point(60 * minute, agent, release=agent * 2) for minute, agent in rows)),
        sightings(*(sighting(60 * minute, "x", agent) for minute, agent in rows)),
        "w",
        START + 10 * MINUTE_NS,
    )
    apart = []
    for number in range(10):
        own = [agent for minute, agent in rows if minute == number]
        one_by_one.add(
            points(*(point(60 * number, agent, release=agent * 2) for agent in own)),
            sightings(*(sighting(60 * number, "x", agent) for agent in own)),
            "w",
            START + (number + 1) * MINUTE_NS,
        )
        apart += list(one_by_one.closed())
    assert list(at_once.closed()) == apart
    assert at_once.snapshot() == one_by_one.snapshot()
