"""The dashboard in a real browser: store and dashboard as processes, pages looked at by Chromium."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, sync_playwright

from dimwatch.clock import SystemClock
from dimwatch.settings import Settings, Store
from dimwatch.store.client import StoreClient
from tests.needs import program
from tests.unit.dashboard.fleet_rows import OPEN, fill_fleet
from tests.unit.dashboard.rows import HOSTILE, TRACE, fill

pytestmark = [pytest.mark.browser, pytest.mark.e2e]

PATIENCE_S = 60.0
SYSTEM_BROWSERS = ("chromium", "chromium-browser", "google-chrome")


def _port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
    return port


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=2) as response:
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
    store_port, dashboard_port = _port(), _port()
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
        statuses = [process.wait(30) for process in processes]
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


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_person_sees_what_is_wrong_and_follows_it(
    address: str, browser: Browser, scheme: str, tmp_path: Path
) -> None:
    page = browser.new_page(viewport={"width": 1500, "height": 1000}, color_scheme=scheme)  # type: ignore[arg-type]
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
    look = page.get_by_role("link", name="Look into it")
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


def _ours(url: str, address: str) -> bool:
    return url.startswith((address, address.replace("http", "ws"), "data:", "blob:"))
