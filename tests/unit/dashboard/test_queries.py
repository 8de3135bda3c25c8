"""The figures, counted by hand."""

from __future__ import annotations

from datetime import UTC, datetime

import pandas as pd
import pytest

from dashboard import covered, health, incidents, queries, reach, source, spending
from dashboard.queries import RANGES, View
from dimwatch import records
from dimwatch.settings import Settings
from dimwatch.store.client import StoreClient
from tests.unit.dashboard.rows import TRACE, row

pytestmark = pytest.mark.e2e
VIEW_QUERIES = ("rules", "findings", "agents", "drops", "agent_names", "over_time")


@pytest.fixture
def view(filled: Settings, now_ns: int) -> View:
    return View.of("1h", now_ns)


def test_totals_count_each_trace_once_and_the_range_before(view: View) -> None:
    now = queries.totals(view)
    assert (now["traces"], now["failed"], now["green"], now["reported_errors"]) == (10, 3, 2, 1)
    assert (now["traces_before"], now["failed_before"]) == (1, 0)
    assert now["spent_usd"] == pytest.approx(0.09)
    assert now["unpriced"] == 1
    assert now["tokens"] == 10_000


def test_over_time_has_every_bucket(view: View) -> None:
    counts = queries.over_time(view)
    assert len(counts) == 5 * 61
    assert counts.groupby("class")["traces"].sum().to_dict() == {
        "fine": 6,
        "rescued": 1,
        "incomplete": 0,
        "reported error": 1,
        "green but failed": 2,
    }


def test_rules_compare_with_the_hour_before(view: View) -> None:
    by_rule = queries.rules(view).set_index("rule")
    assert by_rule["recent"].to_dict() == {"silent_tool_failure": 1, "empty_tool_result": 1}
    assert by_rule["usual"].to_dict() == {"silent_tool_failure": 0, "empty_tool_result": 2}
    assert by_rule["worst"].to_dict() == {"silent_tool_failure": "warning", "empty_tool_result": "info"}


def test_findings_can_be_narrowed(view: View) -> None:
    assert len(queries.findings(view)) == 10
    assert list(queries.findings(view, rule="silent_tool_failure")["severity"]) == ["warning"]
    assert len(queries.findings(view, severity="info")) == 9


def test_agents_come_sickest_first(view: View) -> None:
    agents = queries.agents(view)
    assert list(agents["agent"]) == ["triage", "coder"]
    assert agents["failure_rate"].tolist() == [pytest.approx(3 / 9), 0]
    assert agents["green"].tolist() == [2, 0]


def test_models_are_merged_under_the_name_that_is_asked_for(view: View) -> None:
    models = spending.models(view)
    assert list(models["model"]) == ["gpt-4.1"]
    assert models["calls"].tolist() == [2]
    assert models["input"].tolist() == [1800]
    assert list(models["answered"].iloc[0]) == ["gpt-4.1-2025-04-14"]


def test_drops_are_summed(view: View) -> None:
    assert queries.drops(view)[["reason", "dropped"]].iloc[0].tolist() == ["malformed", 6]


def test_coverage_says_what_is_missing_and_how_old_the_newest_is(view: View) -> None:
    told = covered.agents(view).iloc[0]
    assert (told["who"], told["conventions"], told["spans"]) == ("triage", "otel_genai", 5)
    assert told["output_tokens"] == 1
    assert told["input_messages"] == 0.5
    assert told["tool_definitions"] == 0
    assert told["tool_arguments"] == 0.5
    lag = covered.lag(view)
    assert lag.received is not None
    assert lag.received < pd.Timedelta(minutes=1)
    assert lag.closed is None, "no window is not an old one"
    assert covered.canaries(view).empty


def test_coverage_names_the_rules_that_are_blind(filled: Settings, view: View) -> None:
    source.configure(filled, lambda counts: ([f"blind to {counts[0]}"], []))
    assert covered.agents(view)["blind"].iloc[0] == ["blind to triage"]


def test_spending_is_counted_and_compared(view: View) -> None:
    told = spending.spending(view)
    assert told.usd == pytest.approx(0.09)
    assert told.vain_usd == pytest.approx(0.03)
    assert told.per_success == pytest.approx(0.09 / 7)
    assert told.per_success_before == pytest.approx(0.01)
    assert (told.runs, told.unpriced) == (10, 1)
    by_agent = spending.by(view, "agent").set_index("name")
    assert by_agent["runs"].to_dict() == {"triage": 9, "coder": 1}
    assert by_agent["vain"]["triage"] == pytest.approx(1 / 3)
    assert spending.over_time(view)["rate"].sum() / 60 == pytest.approx(0.09)


def test_faults_cost_what_clean_runs_do_not(filled: Settings, now_ns: int) -> None:
    client = StoreClient(filled, writer=True)
    start = datetime.fromtimestamp(now_ns // 1_000_000_000 - 60, UTC)
    common = {"agent": "triage", "start_time": start, "outcome": "failed", "rules": ["tool_loop"], "version": 1}
    dear = row(records.TRACE, **common, trace_id="e" * 32, cost_usd=0.5)
    client.insert("trace_versions", records.table_from_rows(records.TRACE, [dear]))
    client.close()
    (told,) = spending.faults(View.of("1h", now_ns)).to_dict("records")
    assert (told["rule"], told["hit"], told["vain_usd"]) == ("tool_loop", 1, 0.5)
    assert told["extra_usd"] == pytest.approx(0.49)


def test_what_agents_reach_has_a_first_time(view: View) -> None:
    assert reach.counts(view) == {"tool": (1, 1), "argument": (1, 1), "resource": (0, 0)}
    ledger = reach.ledger(view, "")
    assert set(zip(ledger["kind"], ledger["who"], ledger["tool"], ledger["name"], strict=True)) == {
        ("tool", "triage", "lookup", ""),
        ("argument", "triage", "lookup", "id"),
    }
    assert ledger["trace_id"].tolist() == [TRACE, TRACE]
    assert len(reach.ledger(view, "argument")) == 1


def test_what_is_shared_between_users_is_found(filled: Settings, now_ns: int) -> None:
    client = StoreClient(filled, writer=True)
    start = datetime.fromtimestamp(now_ns // 1_000_000_000 - 60, UTC)
    for number, user in enumerate(("ann", "bob", "bob")):
        ids = {"trace_id": f"{number + 100:032x}", "agent": "triage", "start_time": start, "version": 1}
        call = row(records.SPAN, **ids, span_id=f"{number:016x}", kind="tool", tool="crm", received_time=start,
                   tool_arguments='{"account": "A-77", "n": 1, "text": "' + user + '"}')  # fmt: skip
        run = row(records.TRACE, **ids, user_id=user, conversation_id=f"talk of {user}")
        client.insert("span_versions", records.table_from_rows(records.SPAN, [call]))
        client.insert("trace_versions", records.table_from_rows(records.TRACE, [run]))
    client.close()
    (told,) = reach.shared(View.of("1h", now_ns)).to_dict("records")
    assert (told["tool"], told["argument"], told["value"], told["users"], told["calls"]) == (
        "crm",
        "account",
        "A-77",
        2,
        3,
    )


def test_agent_narrows_everything(filled: Settings, now_ns: int) -> None:
    view = View.of("1h", now_ns, "coder")
    assert queries.totals(view)["traces"] == 1
    assert list(queries.agents(view)["agent"]) == ["coder"]
    assert spending.models(view).empty
    assert queries.agent_names(view) == ["coder", "triage"]


@pytest.mark.parametrize("name", RANGES)
def test_every_range_works_on_an_empty_store(empty: Settings, now_ns: int, name: str) -> None:
    view = View.of(name, now_ns)
    assert queries.totals(view)["traces"] == 0
    assert queries.over_time(view)["traces"].sum() == 0
    assert not queries.any_telemetry()
    for query in VIEW_QUERIES:
        assert len(getattr(queries, query)(view)) == 0 or query == "over_time"


def test_hostile_values_stay_values(filled: Settings, now_ns: int) -> None:
    view = View.of("1h", now_ns, "'; DROP TABLE span_versions --")
    assert queries.totals(view)["traces"] == 0
    assert queries.trace("' OR 1 = 1 --") is None
    assert queries.any_telemetry()


def test_every_query_is_explained_by_the_engine(filled: Settings, now_ns: int) -> None:
    since = View.of("1h", now_ns).since
    texts = ("rule", "severity", "id", "trace_id", "span_id", "tenant", "signal", "kind", "measure", "about")
    more = ("dimension", "class", "text", "order")
    lists = ("agents", "outcomes", "trace_ids", "signals")
    values = (
        View.of("1h", now_ns).values(before=since, step=60, rows=5, width_s=60, target=1.0)
        | dict.fromkeys((*texts, *more, *incidents.SCOPE), "")
        | {name: [] for name in lists}
        | {f"by_{name}": True for name in health.NAMES}
    )
    client = StoreClient(filled)
    for name in source.names():
        assert client.rows(f"EXPLAIN {source.sql(name)}", values), name
    client.close()
