"""The pages, run as Streamlit runs them."""

from __future__ import annotations

import socket
from importlib import resources
from pathlib import Path

import pytest
from streamlit.testing.v1 import AppTest

from dashboard import source
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


def test_now_shows_what_looks_green_and_is_not(filled: Settings) -> None:
    page = _page("now")
    assert not page.exception
    shown = _metrics(page)
    assert shown["Green but failed"] == "20.0 %"
    assert shown["Failed in truth"] == "30.0 %"
    assert shown["Reported errors"] == "10.0 %"
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
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    source.configure(Settings(data=tmp_path, store=Store(http_port=port)))
    page = _page(name, trace_id=TRACE, id="a" * 16)
    assert not page.exception
    assert "The store does not answer" in _prose(page)


def test_trace_shows_reported_beside_effective_with_evidence(filled: Settings) -> None:
    page = _page("trace", trace_id=TRACE)
    assert not page.exception
    shown = _metrics(page)
    assert (shown["Outcome"], shown["Reported"], shown["Effective"]) == ("degraded", "unset", "error")
    assert any("502 Bad Gateway" in code.value for code in page.code)
    assert any("silent_tool_failure" in text.value for text in page.text)
    assert page.selectbox[0].value == "4" * 16


def test_trace_says_what_it_does_not_know(filled: Settings) -> None:
    assert "No such trace" in _prose(_page("trace", trace_id="f" * 32))
    assert "32 hexadecimal digits" in _prose(_page("trace", trace_id="../../etc"))
    assert "paste a trace id" in _prose(_page("trace"))


@pytest.mark.parametrize("name", ["now", "trace"])
def test_text_from_telemetry_never_reaches_markdown(filled: Settings, name: str) -> None:
    page = _page(name, trace_id=TRACE)
    assert HOSTILE not in _prose(page)
    assert "onerror" not in _prose(page)
    held = [text.value for text in page.text] + [code.value for code in page.code]
    held += [frame.value.to_string(max_colwidth=200) for frame in page.dataframe]
    assert any("onerror" in text for text in held)


def test_app_starts_on_the_page_now(filled: Settings) -> None:
    app = AppTest.from_file(str(resources.files("dashboard").joinpath("app.py")), default_timeout=60).run()
    assert not app.exception
    assert "Green but failed" in _metrics(app)
