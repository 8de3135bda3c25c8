"""Windows, a change and incidents of the known fleet: a tool that fails silently, and a slow provider before that."""

from __future__ import annotations

import json
import math
from datetime import UTC, datetime, timedelta
from typing import Final

from dimwatch import records
from dimwatch.store.client import StoreClient
from tests.unit.dashboard.rows import HOSTILE, row

OPEN: Final = "0123456789abcdef"
"""The incident that goes on: a tool of one agent, for 20 minutes."""
OVER: Final = "fedcba9876543210"
"""The one that is over: a slow provider, from 100 to 40 minutes ago."""
GOOD: Final = "b" * 32
"""The trace of a call as it was before."""
QUIET: Final = "00000000000000aa"
"""One whose measure has no windows, hours ago; somebody called it false."""
MINUTES: Final = 300


def _ago(now: datetime, minutes: float) -> datetime:
    return now - timedelta(minutes=minutes)


def windows(now: datetime) -> list[dict[str, object]]:
    """One row a minute and series: ten calls of a tool and of a model, five runs."""
    first = now.replace(second=0, microsecond=0) - timedelta(minutes=MINUTES)
    found: list[dict[str, object]] = []
    for minute in range(MINUTES):
        ago = MINUTES - minute
        time = first + timedelta(minutes=minute)
        slow = 40 < ago <= 100
        of: dict[str, object] = {"time": time, "agent": "triage", "width_s": 60}
        model = of | {"subject": "model", "provider": "openai", "model": "gpt-4.1", "n": 10.0}
        tool = of | {"subject": "tool", "tool": "lookup", "n": 10.0}
        run = of | {"subject": "run", "n": 5.0}
        found += [
            row(records.WINDOW, **model, signal="model_error", total=0.0),
            row(records.WINDOW, **model, signal="model_speed", total=10 * math.log(20 if slow else 50)),
            row(records.WINDOW, **model, signal="model_latency", total=0.0, bucket=[0, 80], bucket_count=[9, 1]),
            row(records.WINDOW, **tool, signal="tool_error", total=0.0),
            row(records.WINDOW, **tool, signal="tool_silent_failure", total=8.0 if ago <= 20 else minute % 2),
            row(records.WINDOW, **run, signal="run_failed", total=1.0 if ago <= 20 else 0.0),
        ]
        if not 10 < ago <= 15:
            found.append(row(records.WINDOW, **run, signal="run_traffic", total=0.0))
    return found


def _signal(name: str, observed: float, expected: float, since: datetime, direct: bool = True) -> dict[str, object]:
    return {
        "signal": name,
        "observed": observed,
        "expected": expected,
        "evidence": 42.4,
        "since": f"{since:%Y-%m-%dT%H:%M:%SZ}",
        "n": 200,
        "direct": direct,
    }


def incidents(now: datetime) -> list[dict[str, object]]:
    """Three, and an earlier version of one of them."""
    began, begun = _ago(now, 20), _ago(now, 100)
    signals = [
        _signal("tool_silent_failure", 0.8, 0.05, began),
        _signal("run_failed", 0.2, 0.01, began, direct=False),
        _signal("run_traffic", 4.0, 5.0, began, direct=False),
    ]
    causes = [{"type": "change", "what": HOSTILE, "evidence": 0.8, "at": f"{began:%Y-%m-%dT%H:%M:%SZ}", "change": "c"}]
    going = {
        "id": OPEN, "kind": "tool_degradation", "status": "open", "agent": "triage", "tool": "lookup",
        "opened_at": _ago(now, 16), "started_at": began, "signals": json.dumps(signals), "causes": json.dumps(causes),
        "runs": 80.0, "cost_usd": 1.5, "summary": HOSTILE,
    }  # fmt: skip
    slow = [_signal("model_slow", 0.9, 0.05, begun), _signal("model_speed", 20.0, 50.0, begun)]
    return [
        row(records.INCIDENT, **going, severity="warning", version=1),
        row(records.INCIDENT, **going, severity="critical", version=2),
        row(records.INCIDENT, id=OVER, kind="brownout", severity="ticket", status="resolved", provider="openai",
            opened_at=_ago(now, 95), started_at=begun, resolved_at=_ago(now, 40), signals=json.dumps(slow),
            causes="[]", runs=300.0, cost_usd=3.0, summary="openai: output speed fell", version=7),
        row(records.INCIDENT, id=QUIET, kind="slo_burn", severity="warning", status="false", agent="triage",
            opened_at=_ago(now, 240), started_at=_ago(now, 250), resolved_at=_ago(now, 230),
            signals=json.dumps([_signal("burn_rate_1h", 20.0, 14.4, _ago(now, 250))]), causes="[]", runs=3.0,
            cost_usd=0.0, summary="an objective burns", version=2),
    ]  # fmt: skip


def changes(now: datetime) -> list[dict[str, object]]:
    """One just before the onset, one of an agent that has nothing to do with it."""
    of = {"attribute": "prompt", "before": "old", "after": HOSTILE, "time": _ago(now, 22), "status": "appeared"}
    return [
        row(records.CHANGE, **of, id="c", agent="triage", effects="[]", version=1),
        row(records.CHANGE, **of, id="d", agent="coder", effects="[]", version=1),
    ]


def spans(now: datetime) -> list[dict[str, object]]:
    """A tool call as it was before, and a slow and a usual model call."""
    common = {"trace_id": GOOD, "agent": "triage", "effective_status": "ok", "received_time": now, "version": 1}
    model = {"kind": "llm", "counted": True, "provider": "openai", "request_model": "gpt-4.1", "output_tokens": 100}
    return [
        row(records.SPAN, **common, kind="tool", tool="lookup", span_id="6" * 16, start_time=_ago(now, 119),
            duration_ns=5_000_000, tool_result="[1]"),
        row(records.SPAN, **{**common, "trace_id": "c" * 32}, **model, span_id="7" * 16, start_time=_ago(now, 90),
            duration_ns=5_000_000_000),
        row(records.SPAN, **{**common, "trace_id": "d" * 32}, **model, span_id="8" * 16, start_time=_ago(now, 119),
            duration_ns=2_000_000_000),
    ]  # fmt: skip


def deliveries(now: datetime) -> list[dict[str, object]]:
    """Two attempts to tell of the one that goes on."""
    of = {"incidents": [OPEN], "target": "ops", "target_type": "webhook", "event": "trigger", "version": 1}
    return [
        row(records.DELIVERY, **of, id=str(attempt), attempt=attempt, state=state, time=_ago(now, 16 - attempt),
            error=HOSTILE)
        for attempt, state in ((1, "retrying"), (2, "delivered"))
    ]  # fmt: skip


def fill_fleet(client: StoreClient, now_ns: int) -> None:
    """Put everything into the store."""
    now = datetime.fromtimestamp(now_ns // 1_000_000_000, UTC)
    tables = {
        "window": (records.WINDOW, windows(now)),
        "incident": (records.INCIDENT, incidents(now)),
        "change": (records.CHANGE, changes(now)),
        "span": (records.SPAN, spans(now)),
        "delivery": (records.DELIVERY, deliveries(now)),
    }
    for name, (schema, rows) in tables.items():
        client.insert(f"{name}_versions", records.table_from_rows(schema, rows))
