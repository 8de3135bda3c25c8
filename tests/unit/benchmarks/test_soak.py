"""What counts as flat memory."""

from __future__ import annotations

import pytest

from benchmarks.soak import Memory

SECONDS = [10.0 * number for number in range(180)]
WARM_S = 600.0


def memory(growth_mib_a_second: float) -> Memory:
    """Of a process that fills up until it is warm, and goes on with so much."""
    level = [200.0 + min(at, WARM_S) / 3 + growth_mib_a_second * max(at - WARM_S, 0.0) for at in SECONDS]
    return Memory.of(SECONDS, level, WARM_S)


def test_filling_up_is_no_growth() -> None:
    assert memory(0.0).flat
    assert memory(0.0).most == pytest.approx(400.0)


def test_what_goes_on_growing_is_not_flat() -> None:
    found = memory(0.05)
    assert not found.flat
    assert found.end - found.start == pytest.approx(0.05 * (SECONDS[-1] - WARM_S))
