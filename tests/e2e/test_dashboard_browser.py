"""The dashboard in a real browser: store and dashboard as processes, pages looked at by Chromium."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, ConsoleMessage, Page, sync_playwright

from benchmarks.ports import free_ports
from dimwatch.clock import SystemClock
from dimwatch.settings import Settings, Store
from dimwatch.store.client import StoreClient
from tests.needs import program
from tests.unit.dashboard.fleet_rows import OPEN, fill_fleet
from tests.unit.dashboard.rows import HOSTILE, TRACE, VIEWS, fill

pytestmark = [pytest.mark.browser, pytest.mark.e2e, pytest.mark.timeout(600)]

PATIENCE_S = 120.0
SYSTEM_BROWSERS = ("chromium", "chromium-browser", "google-chrome")


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=5) as response:
            return bool(response.status == 200)
    except OSError:
        return False


def _until(true: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not true():
        assert time.monotonic() < deadline, f"waited too long for {what}"
        time.sleep(0.05)


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a dashboard over a store that holds the known fleet."""
    data: Path = tmp_path_factory.mktemp("browser")
    store_port, dashboard_port = free_ports(2)
    environment = os.environ | {
        "DIMWATCH_DATA": str(data),
        "DIMWATCH_STORE__HTTP_PORT": str(store_port),
        "DIMWATCH_DASHBOARD__PORT": str(dashboard_port),
    }
    processes = [
        subprocess.Popen([sys.executable, "-m", "dimwatch", role], env=environment) for role in ("store", "dashboard")
    ]
    try:
        _until(lambda: _answers(f"http://127.0.0.1:{store_port}/ping"), "the store")
        client = StoreClient(Settings(data=data, store=Store(http_port=store_port)), writer=True)
        now_ns = SystemClock().now_ns()
        fill(client, now_ns)
        fill_fleet(client, now_ns)
        client.close()
        _until(lambda: _answers(f"http://127.0.0.1:{dashboard_port}/_stcore/health"), "the dashboard")
        yield f"http://127.0.0.1:{dashboard_port}"
    finally:
        for process in reversed(processes):
            process.send_signal(signal.SIGTERM)
        statuses = [process.wait(PATIENCE_S) for process in processes]
    assert statuses == [0, 0]


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        own = playwright.chromium.executable_path
        path = program(own, *SYSTEM_BROWSERS, remedy="playwright install chromium, or apt-get install chromium")
        chromium = playwright.chromium.launch(
            executable_path=path, args=["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"]
        )
        yield chromium
        chromium.close()


def test_a_person_sees_what_is_wrong_and_follows_it(address: str, browser: Browser) -> None:
    page = browser.new_page(viewport={"width": 1500, "height": 1000})
    page.set_default_timeout(PATIENCE_S * 1000)
    strangers: list[str] = []
    dialogs: list[str] = []
    page.on("request", lambda request: None if _ours(request.url, address) else strangers.append(request.url))
    page.on("dialog", lambda dialog: dialogs.append(dialog.message))

    page.goto(address)
    page.get_by_text("Green but failed", exact=True).first.wait_for()
    page.get_by_text("20.0 %").first.wait_for()
    page.locator("[data-testid=stVegaLiteChart] canvas, [data-testid=stVegaLiteChart] svg").first.wait_for()
    page.get_by_text("24h", exact=True).click()
    page.wait_for_url("**/?range=24h")

    # From the page Now to the incident, and what it says there.
    look = page.get_by_role("link", name="Look into it").first  # the old one stays until the new one is drawn
    assert look.get_attribute("href") == f"/incident?id={OPEN}"
    page.get_by_text(HOSTILE).first.wait_for()
    page.goto(f"{address}/incident?id={OPEN}")
    page.get_by_text("Still open", exact=True).wait_for()
    page.get_by_text(HOSTILE).first.wait_for()
    page.locator("[data-testid=stVegaLiteChart] canvas, [data-testid=stVegaLiteChart] svg").first.wait_for()
    page.get_by_text("Traces as they were before").wait_for()

    # Straight to a trace, as a link in a finding or in a chat leads there.
    page.goto(f"{address}/trace?trace_id={TRACE}")
    page.get_by_text("degraded", exact=True).wait_for()
    page.get_by_text("502 Bad Gateway").first.wait_for()
    page.get_by_text(HOSTILE).first.wait_for()
    page.get_by_role("link", name="Now").wait_for()

    assert strangers == []
    assert dialogs == []
    page.close()


LOOKS = (("light", 1500), ("dark", 900))
"""On every page: each colour scheme and each width once."""
PROBES = ("/_stcore/health", "/_stcore/host-config")
"""Streamlit looks for itself below a page's own address first, and is told 404 there."""
STILL = """() => document.querySelector('[data-testid=stApp]')?.dataset.testScriptState === 'notRunning'
    && !document.querySelector('[data-testid=stStatusWidget], [data-testid=stSkeleton]')"""
FITS = "() => document.documentElement.scrollWidth <= document.documentElement.clientWidth"
"""Nothing sticks out at the side."""


@pytest.mark.parametrize("name", VIEWS)
def test_every_page_draws_itself_without_an_error(address: str, browser: Browser, name: str) -> None:
    """Pictures go into the folder DIMWATCH_SCREENSHOTS, if it is set."""
    query = {"incident": f"?id={OPEN}", "now": "?range=6h"}.get(name, "?range=6h")
    for scheme, width in LOOKS:
        page = browser.new_page(viewport={"width": width, "height": 1400}, color_scheme=scheme)  # type: ignore[arg-type]
        page.set_default_timeout(PATIENCE_S * 1000)
        problems: list[str] = []
        _listen(page, problems)
        page.goto(f"{address}/{'' if name == 'now' else name}{query}")
        page.locator("[data-testid=stMainBlockContainer] :is(h4, [data-testid=stMetric], button)").first.wait_for()
        page.wait_for_function(STILL)
        assert page.get_by_text("The store refuses a query").count() == 0
        page.wait_for_function(FITS)  # charts take their width after they are drawn
        if folder := os.environ.get("DIMWATCH_SCREENSHOTS"):
            page.wait_for_timeout(1500)  # charts draw themselves after everything else
            page.screenshot(path=Path(folder) / f"{name}-{scheme}-{width}.png", full_page=True)
        page.close()
        assert problems == []


def test_a_person_who_was_paged_is_at_the_offending_span_in_three_clicks(address: str, browser: Browser) -> None:
    page = browser.new_page(viewport={"width": 1500, "height": 1400})
    page.set_default_timeout(PATIENCE_S * 1000)
    page.goto(f"{address}/incident?id={OPEN}")  # the first click: the link of the page
    with page.context.expect_page(timeout=PATIENCE_S * 1000) as opened:
        page.get_by_role("link", name="Look at the clearest one").click()
    trace = opened.value
    trace.set_default_timeout(PATIENCE_S * 1000)
    trace.get_by_text("Content of a span").wait_for()
    assert f"trace_id={TRACE}" in trace.url
    payload = trace.locator("pre.payload", has_text="DROP TABLE")
    payload.first.wait_for()
    assert trace.locator("pre.payload img").count() == 0, "telemetry stays text"
    trace.close()
    page.close()


def test_filters_stay_in_the_address_over_pages_and_by_keyboard(address: str, browser: Browser) -> None:
    page = browser.new_page(viewport={"width": 1500, "height": 1000})
    page.set_default_timeout(PATIENCE_S * 1000)
    page.goto(f"{address}/agents?range=24h&agent=triage")
    page.get_by_text("In detail").wait_for()
    page.get_by_role("link", name="Cost").first.click()
    page.get_by_text("By agent").wait_for()
    page.wait_for_url(lambda url: "/cost" in url and "range=24h" in url and "agent=triage" in url)
    page.wait_for_function(STILL)  # what is typed while the page is drawn may go to what is replaced
    end = page.get_by_role("textbox", name="End of the time range")
    end.focus()
    page.keyboard.type("2026-01-31 12:00")
    page.keyboard.press("Enter")
    page.get_by_text("31 Jan 12:00").first.wait_for()
    page.wait_for_url(lambda url: "until=2026-01-31T" in url)
    page.close()


def _listen(page: Page, problems: list[str]) -> None:
    page.on("pageerror", lambda error: problems.append(str(error)))
    page.on("console", lambda told: problems.append(told.text) if _bad(told) else None)


def _bad(told: ConsoleMessage) -> bool:
    return told.type == "error" and not str(told.location.get("url", "")).endswith(PROBES)


def _ours(url: str, address: str) -> bool:
    return url.startswith((address, address.replace("http", "ws"), "data:", "blob:"))
