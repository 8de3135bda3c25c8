"""What people do in a browser: acknowledge and silence an incident by the keyboard alone, and sign in by OIDC."""

from __future__ import annotations

import os
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import pytest
from playwright.sync_api import Browser, Page, sync_playwright

from benchmarks.ports import free_ports
from benchmarks.running import until
from tests.e2e.api.conftest import NAMES, PATIENCE_S, Site
from tests.needs import program
from tests.oidc_provider import CLIENT, SECRET, Provider

pytestmark = [pytest.mark.browser, pytest.mark.e2e, pytest.mark.timeout(600)]
INCIDENT = NAMES[3]


@contextmanager
def dashboard(site: Site, settings: Mapping[str, str] | None = None, port: int | None = None) -> Iterator[str]:
    port = port or free_ports(1)[0]
    environment = os.environ | {
        "DIMWATCH_DATA": str(site.settings.data),
        "DIMWATCH_STORE__HTTP_PORT": str(site.settings.store.http_port),
        "DIMWATCH_API__PORT": str(site.settings.api.port),
        "DIMWATCH_DASHBOARD__PORT": str(port),
        "DIMWATCH_TELEMETRY__HEALTH_PORT": "0",
        **{f"DIMWATCH_{name.upper()}": value for name, value in (settings or {}).items()},
    }
    process = subprocess.Popen([sys.executable, "-P", "-m", "dimwatch", "dashboard"], env=environment)

    def answers() -> bool:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/_stcore/health", timeout=5) as response:
                return bool(response.status == 200)
        except OSError:
            return False

    try:
        until(answers, PATIENCE_S, "the dashboard does not answer")
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait(PATIENCE_S)


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        own = playwright.chromium.executable_path
        names = (own, "chromium", "chromium-browser", "google-chrome")
        path = program(*names, remedy="playwright install chromium, or apt-get install chromium")
        chromium = playwright.chromium.launch(
            executable_path=path, args=["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"]
        )
        yield chromium
        chromium.close()


def tab_to(page: Page, words: str) -> None:
    """Press Tab until what has the focus says so, and no more than an icon's name besides."""
    seen: list[str] = []
    deadline = time.monotonic() + PATIENCE_S  # a page that is drawn again meanwhile begins at its top
    while time.monotonic() < deadline:
        page.keyboard.press("Tab")
        said = str(page.evaluate("document.activeElement?.innerText") or "").strip().splitlines()
        if said[:1] == [words]:
            return
        seen += said[:1]
    pytest.fail(f"the keyboard does not reach {words!r}, but {sorted(set(seen))}")


def test_an_incident_is_acknowledged_and_silenced_by_keyboard(site: Site, browser: Browser) -> None:
    with dashboard(site) as address:
        page = browser.new_page(viewport={"width": 1400, "height": 900})
        page.set_default_timeout(PATIENCE_S * 1000)
        page.goto(f"{address}/incident?id={INCIDENT}")
        page.get_by_role("button", name="Acknowledge").wait_for()
        tab_to(page, "Acknowledge")
        page.keyboard.press("Enter")
        page.get_by_text("Acknowledged.", exact=True).wait_for()
        page.get_by_role("button", name="Acknowledge").wait_for(state="detached")
        assert site.client().get(f"incidents/{INCIDENT}")["status"] == "acknowledged"

        tab_to(page, "Silence")
        page.keyboard.press("Enter")
        page.get_by_role("button", name="Silence it").wait_for()  # parts of a form load one by one
        page.get_by_label("Why").fill("the provider knows")
        page.keyboard.press("Enter")
        page.get_by_text("Silenced.", exact=True).wait_for()
        page.get_by_label("Why").wait_for(state="hidden")
        (said, *_) = site.client().get(f"incidents/{INCIDENT}")["orders"]
        assert (said["action"], said["note"], said["outcome"]) == ("silence", "the provider knows", "obeyed")

        tab_to(page, "Silence scope")
        page.keyboard.press("Enter")
        for part in (page.get_by_role("checkbox"), page.get_by_role("button", name="Silence the scope")):
            part.wait_for(state="attached")
        page.get_by_label("Why").fill("all of it")
        page.keyboard.press("Tab")
        page.keyboard.press("Space")
        tab_to(page, "Silence the scope")
        page.keyboard.press("Enter")
        page.get_by_text("Silenced the scope.", exact=True).wait_for()
        page.get_by_text("provider openai, model gpt-3 until").wait_for()
        page.get_by_label("Why").wait_for(state="hidden")
        page.close()


VIEWER, RESPONDER, STRANGER = "viewer@example.com", "Responder@example.com", "stranger@elsewhere.example"
PEOPLE = {mail: {"email": mail, "email_verified": True} for mail in (VIEWER, RESPONDER, STRANGER)}


@pytest.fixture
def provider_and_address(site: Site) -> Iterator[tuple[Provider, str]]:
    """Who says who people are, and a dashboard that believes it."""
    (port,) = free_ports(1)
    redirect_uri = f"http://127.0.0.1:{port}/oauth2callback"
    people = {"sign_in": "oidc", "viewers": '["viewer@example.com"]', "responders": '["responder@example.com"]'}
    kept = site.settings.data / "secrets.toml"
    with Provider(PEOPLE, redirect_uri) as provider:
        kept.write_text(
            f'[auth]\nredirect_uri = "{redirect_uri}"\ncookie_secret = "{"c" * 40}"\nclient_id = "{CLIENT}"\n'
            f'client_secret = "{SECRET}"\n'
            f'server_metadata_url = "{provider.issuer}/.well-known/openid-configuration"\n'
        )
        with dashboard(site, {f"dashboard__{name}": value for name, value in people.items()}, port) as address:
            yield provider, address
    kept.unlink()


def test_people_sign_in_by_oidc(site: Site, browser: Browser, provider_and_address: tuple[Provider, str]) -> None:
    provider, address = provider_and_address
    incident = f"{address}/incident?id={NAMES[4]}"
    page = browser.new_page(viewport={"width": 1400, "height": 900})
    page.set_default_timeout(PATIENCE_S * 1000)

    def sign_in(account: str) -> None:
        page.get_by_role("button", name="Sign in").click()
        page.get_by_role("link", name=account).click()

    page.goto(incident)
    page.get_by_role("button", name="Sign in").wait_for()
    assert page.get_by_text("gpt-4").count() == 0, "nothing is told to who has not signed in"

    provider.forge = True
    sign_in(RESPONDER)
    page.get_by_text("Incidents and traces are for those who may see them.").wait_for()
    provider.forge = False
    sign_in(STRANGER)
    page.get_by_text("You may not look at this").wait_for()
    page.get_by_role("button", name="Sign out").click()

    sign_in(VIEWER)
    page.get_by_text(VIEWER, exact=True).wait_for()
    page.goto(incident)
    page.get_by_text(f"Signed in as {VIEWER}, who may look.").wait_for()
    assert page.get_by_role("button", name="Acknowledge").count() == 0
    page.get_by_role("button", name="Sign out").click()

    sign_in(RESPONDER)
    page.get_by_text(RESPONDER.lower(), exact=True).wait_for()
    page.goto(incident)
    page.get_by_role("button", name="Acknowledge").click()
    page.get_by_text("Acknowledged.", exact=True).wait_for()
    (said, *_) = site.client().get(f"incidents/{NAMES[4]}")["orders"]
    assert (said["action"], said["by"], said["outcome"]) == ("acknowledge", RESPONDER.lower(), "obeyed")
    assert provider.refusals == []
    page.close()
