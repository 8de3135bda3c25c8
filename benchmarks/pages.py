"""How fast the pages are for a person: Chromium against a dashboard that runs, and pictures of every page.

    dimwatch up --demo                                                 in another shell
    python -m benchmarks.pages http://127.0.0.1:8501
    python -m benchmarks.pages http://127.0.0.1:8501 --shots pictures/ --rounds 0

Per page, the median of some rounds: milliseconds until its first content, in a fresh profile of the browser and when it
was visited before; until all of it stands; and from a click on another time range until the page has changed. The page
`(empty)` is a script of Streamlit with a time range and a heading, by a server of its own: what no page of ours can be
faster than on this machine, now. Console errors are told.
"""

from __future__ import annotations

import argparse
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final, NamedTuple

from playwright.sync_api import Browser, BrowserContext, Page, sync_playwright

from benchmarks.ports import free_ports
from benchmarks.running import until

_PAGES: Final = ("", "incident", "trace", "tools", "models", "agents", "cost", "scope", "coverage", "replay")
_LOOKS: Final = (("light", 1500), ("dark", 1500), ("light", 900), ("dark", 900))
_CONTENT: Final = "[data-testid=stMainBlockContainer] :is(h4, [data-testid=stMetric], [data-testid=stCaptionContainer])"
_TOLD: Final = "[data-testid=stMainBlockContainer] [data-testid=stCaptionContainer]"
"""The first of them says from when to when."""
_STILL: Final = """() => document.querySelector('[data-testid=stApp]')?.dataset.testScriptState === 'notRunning'
    && !document.querySelector('[data-testid=stStatusWidget], [data-testid=stSkeleton]')"""
_CLOCK: Final = f"""(() => {{
    const still = {_STILL};
    const told = () => document.querySelector('{_TOLD}')?.innerText;
    const once = (is, then) => is() ? then() : requestAnimationFrame(() => once(is, then));
    const shown = () => document.querySelector('{_CONTENT}')?.checkVisibility();
    once(shown, () => {{
        window.first = performance.now();
        once(still, () => {{ window.complete = performance.now(); }});
    }});
    document.addEventListener('click', () => {{
        const began = performance.now(), was = told();
        const other = () => location.search.includes('range=6h') && told() !== was && still();
        once(other, () => {{ window.changed = performance.now() - began; }});
    }}, {{capture: true, once: true}});
}})()"""
"""Looked at by the page itself, frame by frame: by the time that another process hears of it, which has to wait for the
same CPU, a person has seen it for long."""
_PROBES: Final = ("/_stcore/health", "/_stcore/host-config")
"""Streamlit looks for itself below a page's own address first, and is told 404 there."""
_PATIENCE_MS: Final = 60_000
_EMPTY: Final = """import streamlit as st
st.set_page_config(layout="wide")
chosen = st.segmented_control("Time range", ["1h", "6h"], default="1h", key="range", bind="query-params")
st.caption(chosen)
st.markdown("#### Empty")
"""


class Times(NamedTuple):
    """Milliseconds of a page; NaN where it has no time range."""

    first: float
    again: float
    complete: float
    changed: float


def main() -> int:
    """Look at every page, print, and take pictures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("address")
    parser.add_argument("--incident", default="", help="id of the incident that is looked at")
    parser.add_argument("--trace", default="", help="id of the trace that is looked at, beside the list")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--shots", type=Path, help="put pictures of every page here, in two widths, light and dark")
    args = parser.parse_args()
    pages = {name or "now": f"{args.address}/{name}" for name in _PAGES}
    if args.incident:
        pages["incident"] += f"?id={args.incident}"
    if args.trace:
        pages["one_trace"] = f"{pages['trace']}?trace_id={args.trace}"
    problems: list[str] = []
    with sync_playwright() as playwright, _empty_page() as empty:
        own = Path(playwright.chromium.executable_path)
        path = str(own) if own.exists() else shutil.which("chromium") or shutil.which("chromium-browser")
        browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox", "--disable-gpu"])
        _measure(browser, {"(empty)": empty, **pages}, args.rounds, problems)
        for name, address in pages.items():
            for scheme, width in _LOOKS if args.shots else ():
                _shoot(browser, address, scheme, width, args.shots / f"{name}-{scheme}-{width}.png", problems)
        browser.close()
    for problem in dict.fromkeys(problems):
        print(f"console: {problem}", file=sys.stderr)
    return 1 if problems else 0


def _measure(browser: Browser, pages: dict[str, str], rounds: int, problems: list[str]) -> None:
    """In rounds over all pages, so that load that comes and goes is shared by all."""
    if not rounds:
        return
    taken: dict[str, list[Times]] = {name: [] for name in pages}
    loads = []
    for _ in range(rounds):
        for name, address in pages.items():
            taken[name].append(_times(browser, address, problems))
        loads.append(os.getloadavg()[0])
    load = f"load {min(loads):.1f} to {max(loads):.1f} on {os.cpu_count()} cores"
    print(f"medians of {rounds} rounds in milliseconds; {load}, this browser's and the dashboard's own included")
    print(f"{'page':12}{'first':>8}{'worst':>8}{'again':>8}{'all':>8}{'range':>8}{'worst':>8}")
    for name, times in taken.items():
        first, again, complete, changed = (statistics.median(column) for column in zip(*times, strict=True))
        worst = max(one.first for one in times), max(one.changed for one in times)
        print(f"{name:12}{first:8.0f}{worst[0]:8.0f}{again:8.0f}{complete:8.0f}{changed:8.0f}{worst[1]:8.0f}")


@contextmanager
def _empty_page() -> Iterator[str]:
    (port,) = free_ports(1)
    address = f"http://127.0.0.1:{port}"
    with tempfile.TemporaryDirectory(prefix="dimwatch-pages-") as folder:
        script = Path(folder, "empty.py")
        script.write_text(_EMPTY)
        options = ("headless=true", "fileWatcherType=none", f"port={port}", "address=127.0.0.1")
        command = [sys.executable, "-m", "streamlit", "run", str(script), "--browser.gatherUsageStats=false"]
        command += [f"--server.{option}" for option in options]
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            until(lambda: _answers(f"{address}/_stcore/health"), 60.0, "the empty page is not there")
            yield address
        finally:
            process.terminate()
            process.wait(30)


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=2):
            return True
    except OSError:
        return False


def _listened(page: Page, problems: list[str]) -> Page:
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


def _times(browser: Browser, address: str, problems: list[str]) -> Times:
    profile = browser.new_context(viewport={"width": 1500, "height": 1800}, color_scheme="light")
    first, complete, changed = _visit(profile, address, problems)
    again, _, _ = _visit(profile, address, problems)
    profile.close()
    return Times(first, again, complete, changed)


def _visit(profile: BrowserContext, address: str, problems: list[str]) -> tuple[float, float, float]:
    page = _listened(profile.new_page(), problems)
    page.add_init_script(_CLOCK)
    page.goto(address)
    first, complete, changed = _clock(page, "first"), _clock(page, "complete"), float("nan")
    other = page.get_by_text("6h", exact=True)
    if other.count():
        other.click()
        changed = _clock(page, "changed")
    page.close()
    return first, complete, changed


def _clock(page: Page, name: str) -> float:
    page.wait_for_function(f"() => window.{name}")
    return float(page.evaluate(f"window.{name}"))


def _shoot(browser: Browser, address: str, scheme: str, width: int, path: Path, problems: list[str]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    page = browser.new_page(viewport={"width": width, "height": 1800}, color_scheme=scheme)  # type: ignore[arg-type]
    _listened(page, problems).goto(address)
    page.wait_for_selector(_CONTENT)
    page.wait_for_function(_STILL)
    page.wait_for_timeout(1500)  # charts draw themselves after everything else
    page.screenshot(path=str(path), full_page=True)
    page.close()


if __name__ == "__main__":
    sys.exit(main())
