"""Silences of a scope on the page of an incident: a responder begins and ends one, a viewer sees who said so."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from streamlit.testing.v1 import AppTest

from benchmarks.running import until
from dashboard import source
from tests.e2e.api.conftest import NAMES, PATIENCE_S, RESPONDER, VIEWER, Site

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(600)]
APP = Path(__file__).parents[3] / "dashboard" / "app.py"
NOTE = "[index](https://evil) <b>is rebuilt</b>"


@pytest.fixture
def page_of(site: Site) -> Iterator[Callable[[str], AppTest]]:
    """The page of an incident as whoever has that token sees it."""
    settings = site.settings.model_copy(deep=True)
    settings.dashboard.sign_in = "token"
    source.configure(settings)

    def page(token: str) -> AppTest:
        app = AppTest.from_file(str(APP), default_timeout=PATIENCE_S)
        app.query_params["id"] = NAMES[2]
        app.run().switch_page("views/incident.py").run()
        app.text_input[0].set_value(token)
        app.button[0].click().run()
        app.query_params["id"] = NAMES[2]
        return app.run()

    yield page
    source.configure(site.settings)


def press(page: AppTest, label: str) -> None:
    next(button for button in page.button if button.label == label).click().run()
    assert not page.exception


def said(page: AppTest) -> list[str]:
    """What the page says of silences of this scope."""
    return [text.value for text in page.text if text.value.startswith("● provider openai, model gpt-2 until")]


def succeeds(page: AppTest, words: str) -> None:
    until(lambda: [one.value for one in page.run().success] == [words], PATIENCE_S, words)


def becomes(site: Site, status: str) -> None:
    client = site.client()
    until(lambda: client.get(f"incidents/{NAMES[2]}")["status"] == status, PATIENCE_S, status)


def test_a_responder_silences_a_scope_and_ends_that_again(site: Site, page_of: Callable[[str], AppTest]) -> None:
    page = page_of(RESPONDER)
    assert not said(page)
    assert page.multiselect[0].value == ["provider", "model"], "the scope of the incident"

    press(page, "Silence the scope")
    assert any("Tick the box" in warning.value for warning in page.warning), "nothing is silenced by a slip"
    assert not page.success

    next(box for box in page.text_input if box.label == "Why" and "scope" in str(box.form_id)).set_value(NOTE)
    page.checkbox[0].check()
    press(page, "Silence the scope")
    succeeds(page, "Silenced the scope.")
    (one,) = said(page)
    assert one.endswith(f"by responder token: {NOTE}")
    becomes(site, "silenced")

    seen = page_of(VIEWER)
    assert said(seen) == [one]
    assert not {"Silence the scope", "End this silence"} & {button.label for button in seen.button}

    press(page, "End this silence")
    succeeds(page, "Ended the silence.")
    assert not said(page)
    becomes(site, "open")
