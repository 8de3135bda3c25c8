"""How fast the pages are for a person: Chromium against a dashboard that runs, and pictures of every page.

    dimwatch up --demo                                                 in another shell
    python -m benchmarks.pages http://127.0.0.1:8501
    python -m benchmarks.pages http://127.0.0.1:8501 --shots pictures/

Per page: milliseconds until its first content and until all of it stands, and from a click on another time range until
the page has changed. Console errors are told.
"""

from __future__ import annotations

import argparse
import os
import shutil
import sys
import time
from pathlib import Path
from typing import Final

from playwright.sync_api import Browser, Page, sync_playwright

_PAGES: Final = ("", "incident", "trace", "tools", "models", "agents", "cost", "scope", "coverage", "replay")
_LOOKS: Final = (("light", 1500), ("dark", 1500), ("light", 900), ("dark", 900))
_CONTENT: Final = "[data-testid=stMainBlockContainer] :is(h4, [data-testid=stMetric], [data-testid=stCaptionContainer])"
_STILL: Final = "() => !document.querySelector('[data-testid=stStatusWidget], [data-testid=stSkeleton]')"
_PROBES: Final = ("/_stcore/health", "/_stcore/host-config")
"""Streamlit looks for itself below a page's own address first, and is told 404 there."""
_PATIENCE_MS: Final = 60_000


def main() -> int:
    """Look at every page, print, and take pictures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("address")
    parser.add_argument("--incident", default="", help="id of the incident that is looked at")
    parser.add_argument("--trace", default="", help="id of the trace that is looked at, beside the list")
    parser.add_argument("--shots", type=Path, help="put pictures of every page here, in two widths, light and dark")
    args = parser.parse_args()
    pages = {name or "now": f"{args.address}/{name}" for name in _PAGES}
    if args.incident:
        pages["incident"] += f"?id={args.incident}"
    if args.trace:
        pages["one_trace"] = f"{pages['trace']}?trace_id={args.trace}"
    problems: list[str] = []
    with sync_playwright() as playwright:
        own = Path(playwright.chromium.executable_path)
        path = str(own) if own.exists() else shutil.which("chromium") or shutil.which("chromium-browser")
        browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox", "--disable-gpu"])
        print(f"load {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores")
        print(f"{'page':12}{'first ms':>10}{'all ms':>10}{'range ms':>10}")
        for name, address in pages.items():
            first, complete, changed = _times(browser, address, problems)
            print(f"{name:12}{first:10.0f}{complete:10.0f}{changed:10.0f}", flush=True)
            for scheme, width in _LOOKS if args.shots else ():
                _shoot(browser, address, scheme, width, args.shots / f"{name}-{scheme}-{width}.png", problems)
        browser.close()
    for problem in dict.fromkeys(problems):
        print(f"console: {problem}", file=sys.stderr)
    return 1 if problems else 0


def _opened(browser: Browser, scheme: str, width: int, problems: list[str]) -> Page:
    page = browser.new_page(viewport={"width": width, "height": 1800}, color_scheme=scheme)  # type: ignore[arg-type]
    page.set_default_timeout(_PATIENCE_MS)
    page.on("pageerror", lambda error: problems.append(str(error)))
    page.on(
        "console",
        lambda told: (
            problems.append(f"{told.text} ({told.location.get('url', '')})")
            if told.type == "error" and not str(told.location.get("url", "")).endswith(_PROBES)
            else None
        ),
    )
    return page


def _times(browser: Browser, address: str, problems: list[str]) -> tuple[float, float, float]:
    page = _opened(browser, "light", 1500, problems)
    began = time.perf_counter()
    page.goto(address)
    page.wait_for_selector(_CONTENT)
    first = time.perf_counter()
    page.wait_for_function(_STILL)
    complete = time.perf_counter()
    changed = complete
    other = page.get_by_text("6h", exact=True)
    if other.count():
        changed = time.perf_counter()
        other.click()
        page.wait_for_url("**range=6h**")
        page.wait_for_function(_STILL)
        complete, changed = complete, time.perf_counter() - changed + complete
    page.close()
    return tuple(1000 * span for span in (first - began, complete - began, changed - complete))  # type: ignore[return-value]


def _shoot(browser: Browser, address: str, scheme: str, width: int, path: Path, problems: list[str]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    page = _opened(browser, scheme, width, problems)
    page.goto(address)
    page.wait_for_selector(_CONTENT)
    page.wait_for_function(_STILL)
    page.wait_for_timeout(1500)  # charts draw themselves after everything else
    page.screenshot(path=str(path))
    page.close()


if __name__ == "__main__":
    sys.exit(main())
