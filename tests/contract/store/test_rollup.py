"""What models cost by the hour is what their calls say, however often those are written and however late they come."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pyarrow as pa
import pytest
from prometheus_client import REGISTRY

from dashboard import source
from dimwatch import records
from dimwatch.errors import RetryableError
from dimwatch.store.client import StoreClient
from dimwatch.store.codes import error_of
from dimwatch.store.rollup import HOURS, LONGEST_S, RollUp
from dimwatch.store.sink import TABLES
from tests.contract.store.conftest import RunningStore
from tests.contract.store.test_tables import sample

SPANS = TABLES[records.SPANS]
TRACES = TABLES[records.TRACES]
NOW = "SELECT toUnixTimestamp(now('UTC'))"
FILLED = ("span_versions", "model_call_versions", "model_hour_versions", "trace_versions", "run_versions")


@pytest.fixture
def now(store: RunningStore) -> Iterator[datetime]:
    """Begin of this hour, of a store without spans."""
    for table in FILLED:
        store.run(f"TRUNCATE TABLE {table}")
    yield datetime.fromisoformat(store.run("SELECT toStartOfHour(now('UTC'))").strip()).replace(tzinfo=UTC)
    for table in FILLED:
        store.run(f"TRUNCATE TABLE {table}")


def roll_up(store: RunningStore) -> None:
    """Sum up, as after a start."""
    RollUp(store.target()).run()


def call(
    store: RunningStore,
    name: str,
    at: datetime,
    cost_usd: float | None = 0.5,
    version: int = 1,
    *,
    counted: bool = True,
    tokens: int = 10,
    model: str = "m",
) -> None:
    """A model call arrives."""
    store.target().insert(
        SPANS,
        sample(records.SPANS, trace_id=name, span_id=name, start_time=at, kind="llm", counted=counted,
               provider="openai", request_model=model, response_model="m-1", output_tokens=tokens, cost_usd=cost_usd,
               version=version),
    )  # fmt: skip


def run(store: RunningStore, name: str, at: datetime, agent: str) -> None:
    """The run of that agent is judged whose calls have that name."""
    store.target().insert(TRACES, sample(records.TRACES, trace_id=name, start_time=at, agent=agent))


def spent(
    store: RunningStore, since: datetime, until: datetime, agent: str = ""
) -> tuple[int, float | None, int, list[str]]:
    """Calls, cost, calls of unknown price and models that answered, as the dashboard asks."""
    client = StoreClient(store.settings)
    try:
        rows = client.table(source.sql("model_spend"), {"since": since, "until": until, "agent": agent}).to_pylist()
    finally:
        client.close()
    if not rows:
        return 0, None, 0, []
    (row,) = rows
    return row["calls"], row["cost_usd"], row["unpriced"], row["answered"]


def test_sums_follow_the_calls(store: RunningStore, now: datetime) -> None:
    since, until = now - timedelta(hours=5, minutes=30), now + timedelta(hours=1)
    for name, hours in (("first, not whole", -5.4), ("early", -3), ("late", -2), ("of this hour", 0)):
        call(store, name, now + timedelta(hours=hours))
    call(store, "free", now - timedelta(hours=2.5), cost_usd=None)
    before = spent(store, since, until)
    assert before == (5, 2.0, 1, ["m-1"])

    roll_up(store)
    assert spent(store, since, until) == before
    call(store, "early", now - timedelta(hours=3))
    call(store, "late", now - timedelta(hours=2), cost_usd=0.25, version=2)
    call(store, "later", now - timedelta(hours=2))
    call(store, "an hour without any", now - timedelta(hours=4))
    roll_up(store)
    roll_up(store)
    assert spent(store, since, until) == (7, 2.75, 1, ["m-1"])
    assert spent(store, now - timedelta(hours=3), now - timedelta(hours=2)) == (2, 0.5, 1, ["m-1"])


def test_hours_that_were_summed_are_not_read_again(store: RunningStore, now: datetime) -> None:
    for hours in (-3, -2):
        call(store, f"{hours} h", now + timedelta(hours=hours))
    roll_up(store)
    store.run("TRUNCATE TABLE model_call_versions")
    assert spent(store, now - timedelta(hours=3), now) == (2, 1.0, 0, ["m-1"])
    assert spent(store, now - timedelta(hours=2), now) == (1, 0.5, 0, ["m-1"])


def test_sums_of_an_agent_follow_its_runs(store: RunningStore, now: datetime) -> None:
    since, at = now - timedelta(hours=4), now - timedelta(hours=2)
    for name, agent, begun in (("one", "a", at), ("two", "b", at), ("over the hour", "a", at - timedelta(minutes=1))):
        run(store, name, begun, agent)
        call(store, name, at)
    call(store, "whose run is not judged yet", at)
    before = spent(store, since, now, "a")
    assert before == (2, 1.0, 0, ["m-1"])
    roll_up(store)
    assert spent(store, since, now, "a") == before
    assert spent(store, since, now)[0] == 4

    run(store, "whose run is not judged yet", at, "a")
    roll_up(store)
    store.run("TRUNCATE TABLE model_call_versions")
    assert spent(store, since, now, "a") == (3, 1.5, 0, ["m-1"])
    assert spent(store, since, now, "b") == (1, 0.5, 0, ["m-1"])
    assert spent(store, since, now) == (4, 2.0, 0, ["m-1"])


def test_an_hour_that_was_summed_without_agents_is_read_for_one_of_them(store: RunningStore, now: datetime) -> None:
    at = now - timedelta(hours=2)
    run(store, "one", at, "a")
    call(store, "one", at)
    roll_up(store)
    without = "[] AS agents, version + 1 AS version"
    store.run(f"INSERT INTO model_hour_versions SELECT * REPLACE ({without}) FROM model_hour_versions")
    assert spent(store, now - timedelta(hours=3), now, "a")[0] == 1


def test_calls_of_unknown_price_have_no_cost(store: RunningStore, now: datetime) -> None:
    call(store, "free", now - timedelta(hours=2), cost_usd=None)
    roll_up(store)
    store.run("TRUNCATE TABLE model_call_versions")
    assert spent(store, now - timedelta(hours=3), now) == (1, None, 1, ["m-1"])


def test_an_hour_whose_only_call_stops_counting_costs_nothing(store: RunningStore, now: datetime) -> None:
    call(store, "wrapper", now - timedelta(hours=2))
    roll_up(store)
    call(store, "wrapper", now - timedelta(hours=2), version=2, counted=False)
    roll_up(store)
    assert spent(store, now - timedelta(hours=3), now)[:2] == (0, None)


def test_a_clock_that_was_ahead_does_not_freeze_sums(store: RunningStore, now: datetime) -> None:
    sums = RollUp(store.target())
    call(store, "early", now - timedelta(hours=2))
    sums.run()
    day = "version + 86400000000000 AS version, inserted_at + 86400 AS inserted_at"
    store.run(f"INSERT INTO model_hour_versions SELECT * REPLACE ({day}) FROM model_hour_versions")
    call(store, "late", now - timedelta(hours=2))
    for again in (sums, RollUp(store.target())):
        again.run()
        assert spent(store, now - timedelta(hours=3), now)[0] == 2
    assert store.run("SELECT max(inserted_at) <= now('UTC') FROM model_hour_versions FINAL") == "1\n"


def test_many_hours_are_summed_a_part_at_a_time(store: RunningStore, now: datetime) -> None:
    many = HOURS + 2
    for hours in range(2, many + 2):
        call(store, f"{hours} h", now - timedelta(hours=hours))
    sums, counts = RollUp(store.target()), []
    for _ in range(2):
        sums.run()
        counts.append(int(store.run("SELECT uniqExact(hour) FROM model_hour_versions")))
    assert counts == [HOURS, many]


def step_of(sql: str) -> tuple[int, int] | None:
    """Since when and until when a statement looks for what came; None if it does something else."""
    bounds = re.findall(r"inserted_at \S+ toDateTime\((\d+)", sql)
    return (int(bounds[0]), int(bounds[1])) if len(bounds) == 4 else None


class Tables:
    """The store's, where statements about an hour may take too long; and what they were asked."""

    def __init__(self, store: RunningStore, slow: datetime | None = None, most_s: int = 1 << 32) -> None:
        self.target, self.most_s = store.target(), most_s
        self.slow = None if slow is None else int(slow.timestamp())
        self.statements: list[str] = []

    def command(self, sql: str) -> str:
        self.statements.append(sql)
        if "GROUPING SETS" in sql and self.slow is not None and f"toDateTime({self.slow}," in sql:
            raise error_of(159, "TIMEOUT_EXCEEDED")
        if (step := step_of(sql)) and min(step[1], int(self.target.command(NOW))) - step[0] > self.most_s:
            raise error_of(159, "TIMEOUT_EXCEEDED")
        return self.target.command(sql)

    def insert(self, table: str, rows: pa.Table) -> None:
        self.target.insert(table, rows)

    def slices(self, hour: datetime) -> int:
        """How many of it were read since the last time."""
        of_hour = f"toDateTime({int(hour.timestamp())},"
        count = sum("GROUPING SETS" in sql and of_hour in sql for sql in self.statements)
        self.statements.clear()
        return count


def test_an_hour_that_takes_too_long_does_not_stand_in_the_way_of_others(store: RunningStore, now: datetime) -> None:
    for ago in (3, 2):
        call(store, f"{ago} h", now - timedelta(hours=ago))
    with pytest.raises(RetryableError):
        RollUp(Tables(store, slow=now - timedelta(hours=3))).run()
    hours = store.run("SELECT toUnixTimestamp(hour) FROM model_hours").split()
    assert hours == [str(int((now - timedelta(hours=2)).timestamp()))]
    assert REGISTRY.get_sample_value("dimwatch_hours_to_sum") == 1


def test_an_hour_is_summed_in_slices_smaller_ones_after_one_failed(store: RunningStore, now: datetime) -> None:
    since, at = now - timedelta(hours=4), now - timedelta(hours=2)
    for number in range(6):
        run(store, f"{number}", at, f"agent \\\u2028'{number % 2}'")
        call(store, f"{number}", at, cost_usd=None if number % 3 else 0.25)
    call(store, "of no run", at)
    before = [spent(store, since, now, agent) for agent in ("", "agent \\\u2028'0'", "agent \\\u2028'1'")]
    assert [calls for calls, *_ in before] == [7, 3, 3]

    tables = Tables(store, slow=at)
    sums = RollUp(tables, slice_rows=64)
    for _ in range(4):
        with pytest.raises(RetryableError):
            sums.run()
        assert tables.slices(at) == 1
    tables.slow = None
    sums.run()
    assert tables.slices(at) == 4, "of 4 rows, where there are 13"
    store.run("TRUNCATE TABLE model_call_versions")
    assert [spent(store, since, now, agent) for agent in ("", "agent \\\u2028'0'", "agent \\\u2028'1'")] == before


def test_numbers_that_nobody_believes_do_not_end_the_sums(store: RunningStore, now: datetime) -> None:
    for name in ("one", "two"):  # which are in different slices
        call(store, name, now - timedelta(hours=2), cost_usd=1e16, tokens=(1 << 63) - 1)
    RollUp(store.target(), slice_rows=1).run()
    store.run("TRUNCATE TABLE model_call_versions")
    assert spent(store, now - timedelta(hours=3), now)[:2] == (2, 2e16)


def test_an_hour_with_too_many_names_of_models_is_not_summed(
    store: RunningStore, now: datetime, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dimwatch.store.rollup._MOST_ROWS", 3)
    for hours, models in ((2, 12), (3, 3)):
        for number in range(models):
            call(store, f"{number}", now - timedelta(hours=hours), model=f"m{number}")
    RollUp(store.target(), slice_rows=1).run()
    assert store.run("SELECT toUnixTimestamp(hour) FROM model_hours") == f"{int(now.timestamp()) - 3 * 3600}\n"


def test_statements_are_bounded_in_time(store: RunningStore, now: datetime) -> None:
    call(store, "one", now - timedelta(hours=2))
    tables = Tables(store)
    RollUp(tables).run()
    heavy = [sql for sql in tables.statements if "call_versions" in sql or "model_calls" in sql]
    assert len(heavy) == 3
    assert all(f"max_execution_time = {LONGEST_S}" in sql for sql in heavy)


def test_what_came_in_a_day_is_looked_for_in_steps_where_that_takes_long(store: RunningStore, now: datetime) -> None:
    for hours in (20, 12, 3):
        call(store, f"{hours} h", now - timedelta(hours=hours))
    as_they_came = "SELECT * REPLACE (toDateTime(start_time, 'UTC') + 600 AS inserted_at) FROM model_call_versions"
    store.run(f"INSERT INTO model_call_versions {as_they_came}")
    store.run(
        "ALTER TABLE model_call_versions DELETE WHERE inserted_at >= now('UTC') - 600 SETTINGS mutations_sync = 1"
    )
    tables = Tables(store, most_s=8 * 3600)
    RollUp(tables).run()
    assert spent(store, now - timedelta(hours=24), now)[0] == 3
    assert store.run("SELECT count() FROM model_hours") == "3\n"
    steps = [step for sql in tables.statements if (step := step_of(sql)) and step[1] - step[0] <= 8 * 3600]
    assert len(steps) == 3
    assert [since for since, _ in steps[1:]] == [until for _, until in steps[:-1]], "nothing between is left out"


def test_looking_for_what_came_ends_also_where_the_last_step_always_takes_too_long(
    store: RunningStore, now: datetime
) -> None:
    now_s = int(now.timestamp())

    class Busy(Tables):
        def command(self, sql: str) -> str:
            if "max(inserted_at))" in sql:
                return f"{now_s}\t{now_s - 1}"
            found = super().command(sql)
            assert len(self.statements) < 50
            if (step := step_of(sql)) and step[1] > now_s:
                raise error_of(159, "TIMEOUT_EXCEEDED")
            return found

    with pytest.raises(RetryableError):
        RollUp(Busy(store)).run()
