"""A small, known fleet in the store's tables: every figure that the pages show can be counted by hand."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from importlib import resources

import pyarrow as pa

from dimwatch import records
from dimwatch.store.client import StoreClient

HOSTILE = "<img src=x onerror=alert(1)> [click](javascript:alert(1)) **bold** `; DROP TABLE spans --"
TRACE = "a" * 32
"""The trace that looks green and is not."""
VIEWS = sorted(
    file.name.removesuffix(".py")
    for file in resources.files("dashboard").joinpath("views").iterdir()
    if file.name.endswith(".py")
)
"""The names of all pages."""

_NEUTRAL = {
    pa.string(): "",
    pa.int64(): 0,
    pa.uint32(): 0,
    pa.float64(): 0.0,
    pa.bool_(): False,
    pa.list_(pa.string()): [],
    pa.list_(pa.int16()): [],
    pa.list_(pa.uint32()): [],
    pa.map_(pa.string(), pa.string()): [],
}


def row(schema: pa.Schema, **values: object) -> dict[str, object]:
    """A row with these values; the others are null where that is allowed, else empty."""
    assert not values.keys() - set(schema.names), values.keys() - set(schema.names)
    return {f.name: values.get(f.name, None if f.nullable else _NEUTRAL.get(f.type)) for f in schema}


def _trace(number: int, now: datetime, **values: object) -> dict[str, object]:
    trace_id = TRACE if number == 0 else f"{number:032x}"
    return row(
        records.TRACE,
        **{
            "trace_id": trace_id,
            "run_id": trace_id,
            "agent": "triage",
            "service": "support",
            "start_time": now - timedelta(minutes=10, seconds=number),
            "duration_ns": 2_000_000_000,
            "reported_status": "unset",
            "effective_status": "ok",
            "outcome": "ok",
            "complete": True,
            "spans": 3,
            "steps": 1,
            "tool_calls": 1,
            "input_tokens": 900,
            "output_tokens": 100,
            "cost_usd": 0.01,
            "version": 1,
            **values,
        },
    )


def traces(now: datetime) -> list[dict[str, object]]:
    """Ten traces: two green but failed, one that reports its error, one rescued, six fine."""
    failed = {"effective_status": "error", "outcome": "failed"}
    return [
        _trace(0, now, effective_status="error", outcome="degraded"),
        _trace(1, now, **failed),
        _trace(2, now, **failed, reported_status="error"),
        _trace(3, now, outcome="rescued"),
        *(_trace(number, now) for number in range(4, 9)),
        _trace(9, now, agent="coder", service="coding", cost_usd=None),
        # In the range before, and twice, as a late span would leave it.
        *(_trace(10, now, start_time=now - timedelta(minutes=70), version=version) for version in (1, 2)),
    ]


def spans(now: datetime) -> list[dict[str, object]]:
    """The spans of the first trace, with content, and one model call whose request is not known."""
    start = now - timedelta(minutes=10)
    common = {
        "trace_id": TRACE,
        "agent": "triage",
        "service": "support",
        "received_time": now,
        "reported_status": "unset",
        "effective_status": "ok",
        "convention": "otel_genai",
        "version": 1,
    }
    model = {"kind": "llm", "provider": "openai", "counted": True, "input_tokens": 900, "finish_reason": "stop"}
    return [
        row(records.SPAN, **common, span_id="1" * 16, name="invoke_agent", kind="agent", start_time=start,
            duration_ns=2_000_000_000),
        row(records.SPAN, **common, **model, span_id="2" * 16, parent_span_id="1" * 16, name="chat", start_time=start,
            duration_ns=1_000_000_000, output_tokens=100, time_to_first_token_ns=200_000_000,
            request_model="gpt-4.1", response_model="gpt-4.1-2025-04-14", input_messages="[]"),
        row(records.SPAN, **common, **model, span_id="3" * 16, parent_span_id="1" * 16, name="chat", start_time=start,
            duration_ns=3_000_000_000, output_tokens=100, response_model="gpt-4.1-2025-04-14"),
        row(records.SPAN, **{**common, "effective_status": "error"}, effective_reason="silent_tool_failure",
            span_id="4" * 16, parent_span_id="1" * 16, name=HOSTILE, kind="tool", tool="lookup",
            start_time=start + timedelta(seconds=1), duration_ns=500_000_000, tool_arguments='{"id": 1}',
            tool_result=HOSTILE, attributes=[(HOSTILE, HOSTILE)]),
        row(records.SPAN, **common, span_id="5" * 16, parent_span_id="1" * 16, name="lookup", kind="tool",
            tool="lookup", start_time=start + timedelta(seconds=1), duration_ns=500_000_000, tool_result="[]"),
    ]  # fmt: skip


def observations(now: datetime) -> list[dict[str, object]]:
    """Two rules: one only now, one also in the hour before."""

    def found(identity: str, rule: str, minutes: int, **values: object) -> dict[str, object]:
        return row(
            records.OBSERVATION,
            **{
                "id": identity,
                "rule": rule,
                "severity": "warning",
                "confidence": 0.9,
                "trace_id": TRACE,
                "span_id": "4" * 16,
                "time": now - timedelta(minutes=minutes),
                "service": "support",
                "agent": "triage",
                "tool": "lookup",
                "summary": HOSTILE,
                "evidence": '{"snippet": "502 Bad Gateway"}',
                "version": 1,
                **values,
            },
        )

    return [
        found("a", "silent_tool_failure", 10),
        found("b", "empty_tool_result", 10, severity="info", span_id="5" * 16),
        *(found(f"c{n}", "empty_tool_result", 50, severity="info", trace_id=f"{n:032x}") for n in range(8)),
    ]


def drops(now: datetime) -> list[dict[str, object]]:
    """One reason, counted twice."""
    return [
        row(records.DROP, id=identity, time=now - timedelta(minutes=5), stage="decode", signal="spans",
            reason="malformed", count=3, version=1)
        for identity in ("x", "y")
    ]  # fmt: skip


def fill(client: StoreClient, now_ns: int) -> None:
    """Put everything into the store."""
    now = datetime.fromtimestamp(now_ns // 1_000_000_000, UTC)
    tables = {"trace": traces(now), "span": spans(now), "observation": observations(now), "drop": drops(now)}
    schemas = {"trace": records.TRACE, "span": records.SPAN, "observation": records.OBSERVATION, "drop": records.DROP}
    for name, rows in tables.items():
        client.insert(f"{name}_versions", records.table_from_rows(schemas[name], rows))
