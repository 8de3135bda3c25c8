"""The pages, run as Streamlit runs them."""

from __future__ import annotations

from importlib import resources
from pathlib import Path

import pytest
from streamlit.testing.v1 import AppTest

from benchmarks.ports import free_ports
from dashboard import source, traces
from dimwatch.settings import Settings, Store
from tests.unit.dashboard.rows import HOSTILE, TRACE, VIEWS

pytestmark = pytest.mark.e2e


def _page(name: str, **query: str) -> AppTest:
    page = AppTest.from_file(str(resources.files("dashboard").joinpath("views", f"{name}.py")), default_timeout=60)
    for key, value in query.items():
        page.query_params[key] = value
    return page.run()


def _metrics(page: AppTest) -> dict[str, str]:
    return {metric.label: metric.value for metric in page.metric}


def _prose(page: AppTest) -> str:
    """Everything that goes through Markdown or HTML."""
    return "\n".join(str(element.value) for kind in (page.markdown, page.caption) for element in kind)


def _payloads(page: AppTest) -> list[str]:
    return [box.proto.body for box in page.get("html") if "payload" in box.proto.body]


def test_now_shows_what_looks_green_and_is_not(filled: Settings) -> None:
    page = _page("now")
    assert not page.exception
    shown = _metrics(page)
    assert shown["Green but failed"] == "20.0 %"
    assert shown["Failed in truth"] == "30.0 %"
    assert shown["Reported errors"] == "10.0 %"
    assert shown["Pages this week"] == "0"
    frames = [frame.value for frame in page.dataframe]
    links = [frame["trace"].iloc[0] for frame in frames if "trace" in frame]
    assert links == [f"/trace?trace_id={TRACE}"]


def test_now_without_windows_says_what_is_missing(filled: Settings) -> None:
    page = _page("now")
    assert "Nothing is watched yet" in _prose(page)
    assert "No window with a model call" in _prose(page)


def test_now_narrows_by_the_address(filled: Settings) -> None:
    shown = _metrics(_page("now", agent="coder", range="15m"))
    assert shown["Green but failed"] == "0.0 %"


def test_now_without_telemetry_says_where_to_send_it(empty: Settings) -> None:
    page = _page("now")
    assert not page.exception
    assert "No telemetry yet" in _prose(page)
    assert f"http://127.0.0.1:{empty.receiver.http_port}" in page.code[0].value


@pytest.mark.parametrize("name", VIEWS)
def test_every_page_says_what_an_empty_store_lacks(name: str, empty: Settings) -> None:
    page = _page(name)
    assert not page.exception
    assert _prose(page)


@pytest.mark.parametrize("name", ["now", "incident", "trace", "tools", "cost", "coverage"])
def test_store_away_is_said(name: str, tmp_path: Path) -> None:
    (port,) = free_ports(1)
    source.configure(Settings(data=tmp_path, store=Store(http_port=port)))
    page = _page(name, trace_id=TRACE, id="a" * 16)
    assert not page.exception
    assert "The store does not answer" in _prose(page)


def test_trace_shows_reported_beside_effective_with_evidence(filled: Settings) -> None:
    page = _page("trace", trace_id=TRACE)
    assert not page.exception
    shown = _metrics(page)
    assert (shown["Outcome"], shown["Reported"], shown["Effective"]) == ("degraded", "unset", "error")
    assert any("502 Bad Gateway" in box for box in _payloads(page))
    assert any("silent_tool_failure" in text.value for text in page.text)
    assert page.selectbox(key="span_id").value == "4" * 16


def test_trace_says_what_it_does_not_know(filled: Settings) -> None:
    assert "No such trace" in _prose(_page("trace", trace_id="f" * 32))
    assert "32 hexadecimal digits" in _prose(_page("trace", trace_id="../../etc"))


def test_traces_can_be_searched(filled: Settings) -> None:
    def found(**query: str) -> list[str]:
        frames = [frame.value for frame in _page("trace", **query).dataframe]
        return [str(trace) for frame in frames for trace in frame["trace"]]

    assert len(found()) == 10
    assert found(**{"class": "reported error"}) == [f"/trace?trace_id={2:032x}"]
    assert found(text="AAAAAAAA") == [f"/trace?trace_id={TRACE}"]
    assert found(agent="coder", order="slowest") == [f"/trace?trace_id={9:032x}"]
    assert found(text="' OR 1 = 1 --") == []


def test_evidence_is_marked_where_it_stands_and_stays_text(filled: Settings) -> None:
    page = _page("trace", trace_id=TRACE)
    result = next(box for box in _payloads(page) if "DROP TABLE" in box)
    assert "&lt;img src=x onerror" in result
    assert "<img" not in result
    marked = traces.marked(
        '{"a": "gone \\"away\\"", "b": 1}', traces.evidence(['{"x": ["gone \\"away\\""]}', "no JSON"])
    )
    assert [(text, mark) for text, mark in marked if mark] == [('gone \\"away\\"', True)]
    nested = traces.evidence(['{"result": "{\\"error\\":{\\"message\\":\\"no answer\\"}}"}'])
    assert ("no answer", True) in traces.marked('{\n  "error": {\n    "message": "no answer"\n  }\n}', nested)
    assert "".join(text for text, _ in marked) == '{"a": "gone \\"away\\"", "b": 1}'


@pytest.mark.parametrize(
    "messages",
    [
        '[{"role": "system", "content": "x"}, {"role": "user", "content": "hello"}]',
        '[{"role": "user", "parts": [{"type": "text", "content": "hello"}]}]',
        '{"messages": [{"role": "human", "content": [{"type": "text", "text": "hello"}]}]}',
        '{"0.message.role": "user", "0.message.content": "hello"}',
        "hello",
    ],
)
def test_what_was_said_is_read_in_every_convention(messages: str) -> None:
    assert traces.last_said(messages, "user") == "hello"
    assert traces.last_said(None, "user") == ""


@pytest.mark.parametrize("name", ["now", "trace"])
def test_text_from_telemetry_never_reaches_markdown(filled: Settings, name: str) -> None:
    page = _page(name, trace_id=TRACE)
    assert HOSTILE not in _prose(page)
    assert "onerror" not in _prose(page)
    held = [text.value for text in page.text] + _payloads(page)
    held += [frame.value.to_string(max_colwidth=200) for frame in page.dataframe]
    assert any("onerror" in text for text in held)


def test_app_starts_on_the_page_now(filled: Settings) -> None:
    app = AppTest.from_file(str(resources.files("dashboard").joinpath("app.py")), default_timeout=60).run()
    assert not app.exception
    assert "Green but failed" in _metrics(app)
