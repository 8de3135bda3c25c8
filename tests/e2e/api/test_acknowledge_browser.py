"""A person acknowledges and silences an incident in a browser, by the keyboard alone."""

from __future__ import annotations

import os
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from playwright.sync_api import Browser, Page, sync_playwright

from benchmarks.ports import free_ports
from benchmarks.running import until
from tests.e2e.api.conftest import NAMES, Site
from tests.needs import program

pytestmark = [pytest.mark.browser, pytest.mark.e2e, pytest.mark.timeout(180)]
PATIENCE_S = 60.0
INCIDENT = NAMES[3]


@contextmanager
def dashboard(site: Site) -> Iterator[str]:
    (port,) = free_ports(1)
    environment = os.environ | {
        "DIMWATCH_DATA": str(site.settings.data),
        "DIMWATCH_STORE__HTTP_PORT": str(site.settings.store.http_port),
        "DIMWATCH_API__PORT": str(site.settings.api.port),
        "DIMWATCH_DASHBOARD__PORT": str(port),
        "DIMWATCH_TELEMETRY__HEALTH_PORT": "0",
    }
    process = subprocess.Popen([sys.executable, "-P", "-m", "dimwatch", "dashboard"], env=environment)

    def answers() -> bool:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/_stcore/health", timeout=2) as response:
                return bool(response.status == 200)
        except OSError:
            return False

    try:
        until(answers, PATIENCE_S, "the dashboard does not answer")
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait(30)


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
    seen = []
    for _ in range(60):
        page.keyboard.press("Tab")
        said = str(page.evaluate("document.activeElement?.innerText") or "").strip().splitlines()
        if said[:1] == [words]:
            return
        seen += said[:1]
    pytest.fail(f"the keyboard does not reach {words!r}, but {seen}")


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
        page.get_by_label("Why").fill("the provider knows")
        page.keyboard.press("Enter")
        page.get_by_text("Silenced.", exact=True).wait_for()
        (said, *_) = site.client().get(f"incidents/{INCIDENT}")["orders"]
        assert (said["action"], said["note"], said["outcome"]) == ("silence", "the provider knows", "obeyed")

        tab_to(page, "Silence scope")
        page.keyboard.press("Enter")
        page.get_by_label("Why").fill("all of it")
        page.keyboard.press("Tab")
        page.keyboard.press("Space")
        tab_to(page, "Silence the scope")
        page.keyboard.press("Enter")
        page.get_by_text("Silenced the scope.", exact=True).wait_for()
        page.get_by_text("provider openai, model gpt-3 until").wait_for()
        page.close()
