"""Signing in to the dashboard with a token: who has not sees nothing, and a viewer can not act."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from streamlit.testing.v1 import AppTest

from dashboard import source
from tests.e2e.api.conftest import NAMES, PATIENCE_S, RESPONDER, VIEWER, Site

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(600)]
APP = Path(__file__).parents[3] / "dashboard" / "app.py"


@pytest.fixture
def page(site: Site) -> Iterator[AppTest]:
    settings = site.settings.model_copy(deep=True)
    settings.dashboard.sign_in = "token"
    source.configure(settings)
    app = AppTest.from_file(str(APP), default_timeout=PATIENCE_S)
    app.query_params["id"] = NAMES[3]
    yield app.run().switch_page("views/incident.py")
    source.configure(site.settings)


def sign_in(page: AppTest, token: str) -> AppTest:
    page.text_input[0].set_value(token)
    return page.button[0].click().run()


def labels(page: AppTest) -> set[str]:
    return {button.label for button in page.button}


def test_who_has_not_signed_in_sees_nothing(page: AppTest) -> None:
    assert labels(page.run()) == {"Sign in"}
    for wrong in ("guess", "Ж" * 8, "a b"):
        assert [error.value for error in sign_in(page, wrong).error] == ["This token is not known."]
        assert labels(page) == {"Sign in"}


@pytest.mark.parametrize(("token", "acts"), [(VIEWER, False), (RESPONDER, True)])
def test_a_viewer_looks_and_a_responder_acts(page: AppTest, token: str, acts: bool) -> None:
    sign_in(page.run(), token)
    page.query_params["id"] = NAMES[3]
    page.run()
    assert not page.exception
    assert ("Resolve" in labels(page)) == acts
    assert any("Responders can" in caption.value for caption in page.caption) == (not acts)
    next(button for button in page.button if button.label == "Sign out").click().run()
    assert labels(page) == {"Sign in"}
