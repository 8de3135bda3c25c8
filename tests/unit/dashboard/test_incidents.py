"""Incidents: what is asked of the store, counted by hand, and the pages, run as Streamlit runs them."""

from __future__ import annotations

import math
from importlib import resources

import pandas as pd
import pytest
from streamlit.testing.v1 import AppTest

from dashboard import charts, health, incidents, queries
from dashboard.health import Place
from dashboard.incidents import Incident, Timeline
from dashboard.queries import View
from dashboard.signals import SIGNALS
from tests.unit.dashboard.fleet_rows import GOOD, OPEN, OVER, QUIET
from tests.unit.dashboard.rows import HOSTILE, TRACE, VIEWS

pytestmark = pytest.mark.e2e


def _incident(incident_id: str) -> Incident:
    found = incidents.incident(incident_id)
    assert found is not None
    return found


def _drawn(about: Incident, signal: str, now: pd.Timestamp) -> Timeline:
    names = list(incidents.agents(about, now)["agent"])
    measure = next(m for m in about.measures if m.signal == signal)
    return incidents.timeline(about, measure, names, now)


def _around(told: Timeline, time: pd.Timestamp, before: bool) -> pd.DataFrame:
    data = told.data
    return data[data["end"] <= time] if before else data[data["begin"] >= time]


def test_open_incidents_come_first_in_their_latest_version(fleet: pd.Timestamp) -> None:
    found = incidents.incidents(View.of("1h", fleet.value))
    assert [(one.id, one.severity, one.open) for one in found] == [(OPEN, "critical", True), (OVER, "ticket", False)]
    assert [one.id for one in incidents.incidents(View.of("15m", fleet.value))] == [OPEN]
    assert [one.id for one in incidents.incidents(View.of("1h", fleet.value, "coder"))] == [OVER]
    assert found[0].place == "triage / lookup"
    assert found[0].drawable[0].signal == "tool_silent_failure"
    assert found[0].evidence == 42.4


def test_health_compares_with_the_hours_before(fleet: pd.Timestamp) -> None:
    (told,) = health.health(View.of("15m", fleet.value), ("provider", "model"), ("model_error", "model_speed"))
    assert told.place.words == "openai / gpt-4.1"
    assert told.value("model_speed").now == pytest.approx(50)
    assert told.value("model_error").text == "0.0 %   was 0.0 %"
    (told,) = health.health(View.of("1h", fleet.value), ("model",), ("model_speed",))
    assert told.value("model_speed").off == 0
    assert math.isnan(told.value("model_first_token").now)
    assert not health.health(View.of("1h", fleet.value, "coder"), ("provider",), ("model_error",))


def test_health_marks_what_is_worse_and_puts_it_first(fleet: pd.Timestamp) -> None:
    (told,) = health.health(View.of("15m", fleet.value), ("tool",), ("tool_error", "tool_silent_failure"))
    value = told.value("tool_silent_failure")
    assert (value.off, value.worse, value.text[:8]) == (1, True, "▲ 80.0 %")
    assert told.worse == 1


def test_courses_have_what_was_usual(fleet: pd.Timestamp) -> None:
    view = View.of("15m", fleet.value)
    (course,) = health.courses(view, Place(tool="lookup"), ("tool_silent_failure", "tool_latency"))
    assert course.data["value"].tolist() == pytest.approx([0.8] * len(course.data))
    assert course.high < 0.2
    assert 0.05 < course.usual < 0.1
    (traffic,) = health.courses(view, Place(agent="triage"), ("run_traffic",))
    assert traffic.usual == pytest.approx(5)


def test_measurements_are_told_as_they_are_spread(fleet: pd.Timestamp) -> None:
    spread = health.histogram(View.of("1h", fleet.value), ("model",), ("model_latency",))
    told = health.quantiles(spread, ("model",), (0.5, 0.95))[("gpt-4.1", "model_latency")]
    assert told == pytest.approx([1.04**-0.5, 1.04**79.5])
    assert health.names(View.of("1h", fleet.value), "tool") == ["lookup"]


def test_watched_series_and_since_when(fleet: pd.Timestamp) -> None:
    series, since = incidents.watched(View.of("1h", fleet.value))
    assert series == 3
    assert since == fleet.floor("min") - pd.Timedelta(minutes=300)


def test_timeline_of_a_ratio_has_what_was_usual(fleet: pd.Timestamp) -> None:
    about = _incident(OPEN)
    told = _drawn(about, "tool_silent_failure", fleet)
    assert told.usual == pytest.approx(0.05, abs=0.005)
    assert told.low == pytest.approx(0)
    assert told.high == pytest.approx(0.1, abs=0.02)
    assert _around(told, about.started + pd.Timedelta(minutes=2), before=False)["value"].min() == pytest.approx(0.8)
    assert told.data["trials"].sum() >= 10 * 190


def test_timeline_of_events_shows_minutes_in_which_nothing_happened(fleet: pd.Timestamp) -> None:
    told = _drawn(_incident(OPEN), "run_traffic", fleet)
    assert told.usual == pytest.approx(5)
    assert (told.data["begin"].diff().dropna().nunique()) == 1
    assert told.data["value"].min() < 5


def test_timeline_of_a_level_and_of_its_tail(fleet: pd.Timestamp) -> None:
    about = _incident(OVER)
    told = _drawn(about, "model_speed", fleet)
    assert told.usual == pytest.approx(50)
    assert told.data["value"].min() == pytest.approx(20)
    assert told.until <= fleet
    tail = _drawn(about, "model_slow", fleet)
    assert tail.usual == pytest.approx(1.04**79.5)


def test_timeline_of_what_is_not_kept_is_empty_and_can_be_drawn(fleet: pd.Timestamp) -> None:
    about = _incident(OPEN)
    measure = about.measures[0]
    told = incidents.timeline(about, measure, ["nobody"], fleet)
    assert told.data.empty
    assert math.isnan(told.usual)


def test_chart_breaks_its_line_where_nothing_was_measured(fleet: pd.Timestamp) -> None:
    begin = fleet.floor("min") + pd.to_timedelta([0, 60, 240], unit="s")
    data = pd.DataFrame(
        {"begin": begin, "time": begin, "end": begin + pd.Timedelta(minutes=1), "value": 1.0, "trials": 9}
    )
    told = Timeline(data, SIGNALS["model_error"], fleet, fleet, math.nan, math.nan, math.nan)
    marks = pd.DataFrame([{"time": fleet, "kind": "began", "label": "began", "detail": ""}])
    line = charts.timeline(told, marks).to_dict()["layer"][0]
    values = charts.timeline(told, marks).to_dict()["datasets"][line["data"]["name"]]
    assert [row["value"] is None for row in values] == [False, False, True, False]


def test_agents_and_changes_are_those_of_the_scope(fleet: pd.Timestamp) -> None:
    about = _incident(OPEN)
    hit = incidents.agents(about, fleet)
    assert list(hit["agent"]) == ["triage"]
    assert 0.15 < hit["failed"].iloc[0] / (hit["runs"].iloc[0] + 25) < 0.25
    changed = incidents.changes(about, ["triage"], fleet)
    assert list(changed["id"]) == ["c"]


def test_examples_are_bad_ones_during_and_good_ones_before(fleet: pd.Timestamp) -> None:
    about = _incident(OPEN)
    lead = about.drawable[0]
    assert list(incidents.bad_examples(about, lead, ["triage"], fleet)["trace_id"]) == [TRACE]
    assert list(incidents.good_examples(about, lead, ["triage"], fleet)["trace_id"]) == [GOOD]
    failed = next(m for m in about.measures if m.signal == "run_failed")
    assert len(incidents.bad_examples(about, failed, ["triage"], fleet)) == 2
    assert incidents.bad_examples(about, failed, ["coder"], fleet).empty

    slow = _incident(OVER)
    speed = next(m for m in slow.measures if m.signal == "model_speed")
    assert incidents.bad_examples(slow, speed, [], fleet)["value"].tolist() == [20]
    assert incidents.good_examples(slow, speed, [], fleet)["value"].tolist() == [50]


def _page(name: str, **query: str) -> AppTest:
    page = AppTest.from_file(str(resources.files("dashboard").joinpath("views", f"{name}.py")), default_timeout=60)
    for key, value in query.items():
        page.query_params[key] = value
    page.run()
    assert not page.exception
    return page


def _prose(page: AppTest) -> str:
    return "\n".join(str(element.value) for kind in (page.markdown, page.caption) for element in kind)


def test_now_begins_with_what_is_wrong(fleet: pd.Timestamp) -> None:
    page = _page("now")
    assert HOSTILE in [text.value for text in page.text]
    assert any("triage / lookup" in text.value and "80 runs hit" in text.value for text in page.text)
    assert "critical" in _prose(page)
    assert "tool degradation" in _prose(page)
    assert any("1 over in this time range" in expander.label for expander in page.expander)
    table = next(frame.value for frame in page.dataframe if "lasted" in frame.value)
    assert table["incident"].tolist() == [f"/incident?id={OVER}"]
    weather = next(frame.value for frame in page.dataframe if "model_speed" in frame.value)
    assert weather["open"].tolist() == ["/models?provider=openai&model=gpt-4.1"]


def test_now_for_another_agent_is_calm(fleet: pd.Timestamp) -> None:
    assert "3 series are watched, what is normal has been learned since" in _prose(_page("now", agent="coder"))


def test_incident_that_goes_on(fleet: pd.Timestamp) -> None:
    page = _page("incident", id=OPEN)
    shown_ = {metric.label: metric.value for metric in page.metric}
    assert shown_["Still open"].startswith("2")
    assert shown_["Runs hit"] == "80"
    assert page.selectbox[0].options[0] == "tool calls that fail without saying so"
    frames = [frame.value for frame in page.dataframe]
    links = [list(frame["trace"]) for frame in frames if "trace" in frame]
    assert links == [[f"/trace?trace_id={TRACE}"], [f"/trace?trace_id={GOOD}"]]
    signals = next(frame for frame in frames if "usual" in frame)
    assert signals["observed"].tolist()[0] == "80.0 %"
    assert signals["part"].tolist() == ["itself", "consequence", "consequence"]

    page.selectbox[0].select("run_traffic").run()
    assert not page.exception
    assert "Runs that do not come leave no trace." in _prose(page)


def test_pages_of_the_week_count_what_is_above_a_ticket(fleet: pd.Timestamp) -> None:
    told = queries.pages(View.of("1h", fleet.value))
    assert (told["pages"], told["false_pages"], told["delivered"], told["given_up"]) == (2, 1, 1, 0)


def test_incident_says_who_was_told(fleet: pd.Timestamp) -> None:
    table = next(frame.value for frame in _page("incident", id=OPEN).dataframe if "attempt" in frame.value)
    assert table[["target", "state", "attempt"]].to_numpy().tolist() == [
        ["ops", "retrying", 1],
        ["ops", "delivered", 2],
    ]
    assert "Nobody was told" in _prose(_page("incident", id=OVER))


def test_incident_that_is_over(fleet: pd.Timestamp) -> None:
    page = _page("incident", id=OVER)
    assert "resolved" in _prose(page)
    assert "Over" in [metric.label for metric in page.metric]
    assert page.selectbox[0].value == "model_speed"
    page.selectbox[0].select("model_slow").run()
    assert not page.exception
    assert "one of twenty exceeds" in _prose(page)


def test_incident_without_windows_is_shown_with_what_was_measured(fleet: pd.Timestamp) -> None:
    page = _page("incident", id=QUIET)
    assert "no signal to draw" in _prose(page)
    assert "false" in _prose(page)
    assert any("14.4" in frame.value.to_string() for frame in page.dataframe), "measured, but not in windows"
    assert not page.selectbox


def test_incident_page_says_what_it_does_not_know(fleet: pd.Timestamp) -> None:
    assert "No such incident" in _prose(_page("incident", id="f" * 16))
    assert "hexadecimal digits" in _prose(_page("incident", id="../../etc"))
    assert "paste an incident id" in _prose(_page("incident"))


@pytest.mark.parametrize(("name", "query"), [("now", {}), ("incident", {"id": OPEN})])
def test_text_from_telemetry_never_reaches_markdown(fleet: pd.Timestamp, name: str, query: dict[str, str]) -> None:
    page = _page(name, **query)
    assert "onerror" not in _prose(page)
    held = [text.value for text in page.text] + [f.value.to_string(max_colwidth=200) for f in page.dataframe]
    assert any("onerror" in text for text in held)


@pytest.mark.parametrize("name", VIEWS)
def test_every_page_draws_a_fleet(fleet: pd.Timestamp, name: str) -> None:
    assert "refuses" not in _prose(_page(name, range="6h"))
