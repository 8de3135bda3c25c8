"""What models cost by the hour is what their calls say, however often those are written and however late they come."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest

from dashboard import source
from dimwatch import records
from dimwatch.store.client import StoreClient
from dimwatch.store.rollup import roll_up
from dimwatch.store.sink import TABLES
from tests.contract.store.conftest import RunningStore
from tests.contract.store.test_tables import sample

SPANS = TABLES[records.SPANS]
FILLED = ("span_versions", "model_call_versions", "model_hour_versions")


@pytest.fixture
def now(store: RunningStore) -> Iterator[datetime]:
    """Begin of this hour, of a store without spans."""
    for table in FILLED:
        store.run(f"TRUNCATE TABLE {table}")
    yield datetime.fromisoformat(store.run("SELECT toStartOfHour(now('UTC'))").strip()).replace(tzinfo=UTC)
    for table in FILLED:
        store.run(f"TRUNCATE TABLE {table}")


def call(store: RunningStore, name: str, at: datetime, cost_usd: float | None = 0.5, version: int = 1) -> None:
    """A model call arrives."""
    store.target().insert(
        SPANS,
        sample(records.SPANS, trace_id=name, span_id=name, start_time=at, kind="llm", counted=True, provider="openai",
               request_model="m", response_model="m-1", output_tokens=10, cost_usd=cost_usd, version=version),
    )  # fmt: skip


def spent(store: RunningStore, since: datetime, until: datetime) -> tuple[int, float | None, int, list[str]]:
    """Calls, cost, calls of unknown price and models that answered, as the dashboard asks."""
    client = StoreClient(store.settings)
    try:
        (row,) = client.table(source.sql("model_spend"), {"since": since, "until": until, "agent": ""}).to_pylist()
    finally:
        client.close()
    return row["calls"], row["cost_usd"], row["unpriced"], row["answered"]


def test_sums_follow_the_calls(store: RunningStore, now: datetime) -> None:
    since, until = now - timedelta(hours=5, minutes=30), now + timedelta(hours=1)
    for name, hours in (("first, not whole", -5.4), ("early", -3), ("late", -2), ("of this hour", 0)):
        call(store, name, now + timedelta(hours=hours))
    call(store, "free", now - timedelta(hours=2.5), cost_usd=None)
    before = spent(store, since, until)
    assert before == (5, 2.0, 1, ["m-1"])

    roll_up(store.run)
    assert spent(store, since, until) == before
    call(store, "early", now - timedelta(hours=3))
    call(store, "late", now - timedelta(hours=2), cost_usd=0.25, version=2)
    call(store, "later", now - timedelta(hours=2))
    call(store, "an hour without any", now - timedelta(hours=4))
    roll_up(store.run)
    roll_up(store.run)
    assert spent(store, since, until) == (7, 2.75, 1, ["m-1"])
    assert spent(store, now - timedelta(hours=3), now - timedelta(hours=2)) == (2, 0.5, 1, ["m-1"])


def test_hours_that_were_summed_are_not_read_again(store: RunningStore, now: datetime) -> None:
    for hours in (-3, -2):
        call(store, f"{hours} h", now + timedelta(hours=hours))
    roll_up(store.run)
    store.run("TRUNCATE TABLE model_call_versions")
    assert spent(store, now - timedelta(hours=3), now) == (2, 1.0, 0, ["m-1"])
    assert spent(store, now - timedelta(hours=2), now) == (1, 0.5, 0, ["m-1"])


def test_calls_of_unknown_price_have_no_cost(store: RunningStore, now: datetime) -> None:
    call(store, "free", now - timedelta(hours=2), cost_usd=None)
    roll_up(store.run)
    store.run("TRUNCATE TABLE model_call_versions")
    assert spent(store, now - timedelta(hours=3), now) == (1, None, 1, ["m-1"])
