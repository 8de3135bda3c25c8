"""Distinct users from the marks of their runs."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest

from detectors.windows.keys import column, constant
from detectors.windows.points import merged, split
from detectors.windows.users import MARKS, MOST, distinct, marks_of, union
from tests.telemetry import Seen, agent, chat, judged


def marks(users: list[str], tenant: str = "acme") -> set[int]:
    return set(marks_of(constant(tenant, len(users)), column(pa.array(users))).tolist())


@pytest.mark.parametrize("count", [1, 30, 1_000, 10_000])
def test_as_many_as_there_are(count: int) -> None:
    seen = marks([f"user {number}" for number in range(count)])
    assert distinct(len(seen)) == pytest.approx(count, rel=0.05, abs=0.5)


def test_no_user_is_none_and_beyond_the_limit_is_the_limit() -> None:
    assert marks(["", ""]) == {-1}
    assert distinct(0) == 0.0
    assert distinct(MARKS) == MOST


def test_the_same_name_with_another_tenant_is_another_user() -> None:
    assert marks(["u1"], "acme") != marks(["u1"], "other")


def test_a_union_counts_no_mark_twice() -> None:
    bits = np.zeros((3, MARKS // 8), np.uint8)
    bits[0, 0], bits[1, 0], bits[2, 9] = 0b0000_0011, 0b0000_0110, 1
    assert union(bits) == 4


def run_of(user: str | None, trace: int) -> Seen:
    said = {} if user is None else {"user.id": user}
    return judged(agent(1, trace=trace), chat(2, 1, said, trace=trace))


def test_runs_carry_their_users_whatever_the_order() -> None:
    tables = [table for trace, user in enumerate(["u1", "u2", None, "u1"], 1) for table in run_of(user, trace).points]
    points = merged(tables)
    assert points.equals(merged(reversed(tables)))
    (traffic,) = (row for row in points.to_pylist() if row["signal"] == "run_traffic")
    assert (traffic["n"], traffic["total"]) == (4, 4)
    assert set(traffic["bucket"]) == marks(["u1", "u2"], traffic["tenant"])
    assert sorted(traffic["bucket_count"]) == [1, 2], "the run that does not say whose it is has no mark"


def test_rows_of_many_users_are_cut_into_smaller_parts() -> None:
    rows = pa.table(
        {"number": np.arange(3_000), "bucket": pa.array([list(range(MARKS))] * 3_000, pa.list_(pa.int16()))}
    )
    parts = split(rows, 2_500)
    assert pa.concat_tables(parts).equals(rows)
    assert max(part.nbytes for part in parts) <= 8 << 20
    assert [part.num_rows for part in split(rows.select(["number"]), 2_500)] == [2_500, 500]
