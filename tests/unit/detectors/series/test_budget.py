"""The budget of false pages, shared out."""

from __future__ import annotations

import numpy as np
import pytest

from detectors.alerts import DIMENSIONS
from detectors.series.bank import Bank
from detectors.series.budget import Budget
from detectors.series.clockwork import WEEK
from detectors.series.hits import Hits
from detectors.windows.signals import BY_NAME
from dimwatch.settings import Detection

_SIGNALS = [BY_NAME[name] for name in ("model_error", "tool_empty", "run_looped", "run_failed")]
_LOOPED, _FAILED = 2, 3
_BORN = 29_000_000


def _bank(agents: int) -> Bank:
    """Agents with two models and three tools each, one of them in two releases; all are armed."""
    bank = Hits(Detection(), dict(enumerate(_SIGNALS)))
    keys = []
    for agent in range(1, agents + 1):
        for release in (1, 2) if agent == 1 else (1,):
            keys += [[0, agent, 1, 1 + model, 0, release, 0, 0] for model in range(2)]
            keys += [[0, agent, 0, 0, 1 + tool, release, 0, 1] for tool in range(3)]
            keys += [[0, agent, 0, 0, 0, release, 0, run] for run in (_LOOPED, _FAILED)]
    assert len(keys[0]) == len(DIMENSIONS) + 1
    bank.learn(np.array(keys), _BORN)
    bank.threshold = np.zeros(bank.stream.rows)
    bank.leaf["n"] = 1_000.0
    nothing = np.empty(0)
    bank.step(_BORN + 300, np.empty(0, dtype=np.int64), nothing, nothing, nothing)
    return bank


@pytest.mark.parametrize("a_week", [0.1, 1.0, 10.0])
def test_all_streams_together_cost_what_is_promised(a_week: float) -> None:
    bank, budget = _bank(6), Budget(_SIGNALS, a_week)
    budget.share_out([bank])
    armed = bank.streams_armed()
    assert armed.sum() == budget.streams > 50
    assert (WEEK * np.exp(-bank.threshold[armed])).sum() == pytest.approx(a_week, rel=1e-6)


def test_few_nodes_need_less_evidence_symptoms_and_releases_more() -> None:
    bank, budget = _bank(6), Budget(_SIGNALS, 1.0)
    budget.share_out([bank])
    signal, cut = bank.pools.node_signal[bank.stream["node"]], bank.pools.cut[bank.stream["node"]]
    errors, looped, failed = (bank.threshold[(signal == of) & ~cut].max() for of in (0, _LOOPED, _FAILED))
    assert looped < errors < failed
    of_release = bank.threshold[(signal == 0) & cut].max()
    assert of_release == pytest.approx(errors + np.log(4))


def test_evidence_of_few_streams_is_not_judged_by_a_lower_bar_later() -> None:
    many, few, budget = _bank(6), _bank(2), Budget(_SIGNALS, 1.0)
    budget.share_out([many])
    before = many.threshold.max()
    few.version = many.version + 1
    budget.share_out([few])
    assert few.threshold.max() == pytest.approx(before)
