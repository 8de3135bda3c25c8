"""What a checkpoint keeps of traces that were judged."""

from __future__ import annotations

import random

import pytest

from detectors.traces import judged
from detectors.traces.judged import JudgedTraces
from detectors.traces.open_traces import Past
from dimwatch.clock import NS_PER_SECOND as S


@pytest.mark.parametrize("seed", range(20))
def test_all_that_had_a_record_since_then_are_kept_and_as_many_others_as_fit(
    seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Record time goes on in steps, leaps ahead at times and is set back."""
    monkeypatch.setattr(judged, "_TRACES_IN_CHECKPOINT", 5)
    rng, traces, every, now_s = random.Random(seed), JudgedTraces(1_000), list[tuple[str, Past]](), 1_000
    for number in range(300):
        now_s += rng.choice([0, 1, 1, 1, 2, 500, -500] if seed % 2 else [0, 1, 1, 2])
        past = Past(now_s * S, (now_s - rng.randrange(4)) * S, True, 1, b"12345678")
        traces.remember(f"{number}", past)
        every.append((f"{number}", past))
        if rng.random() < 0.2:
            # One that is heard of again is open, until it is judged again.
            trace_id, again = every.pop(rng.randrange(len(every)))
            assert traces.pop(trace_id) == again
        if rng.random() < 0.3:
            since_ns = (now_s - rng.randrange(20)) * S
            newest = every[::-1]
            wanted = [one for at, one in enumerate(newest) if at < 5 or one[1].last_ns >= since_ns]
            assert list(traces.lately(since_ns)) == wanted
