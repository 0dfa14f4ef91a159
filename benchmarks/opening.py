"""Opening of the page in Chromium: `python -m benchmarks.opening URL [URL ...]` opens each desk in turn.

Usable is the page once its Generate button is on screen and a click on it sends an event; the click is repeated until
then. The first visit has an empty cache, the second one that cache. Other programs slow a page down, so the processor
time of the page's main thread is printed beside the medians, with the requests and bytes. Needs Chromium and
playwright.
"""

import argparse
import json
import os
import shutil
import statistics
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING

from benchmarks.command import exit_code

if TYPE_CHECKING:
    from playwright.sync_api import Browser, CDPSession

LONGEST = 60_000  # milliseconds until a page is usable
PAUSE = 1_500  # milliseconds for the events of a load, so that they are not measured with the next visit
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update"]
WINDOW = {"width": 1440, "height": 900}
VISITS = ("first visit", "second visit")
CPU = {"ScriptDuration": "scripts", "LayoutDuration": "layout", "TaskDuration": "main thread"}
LOOK = """(() => {
  const seen = window.opening = {}, send = window.fetch;
  const look = setInterval(() => {
    const button = document.querySelector("#generate");
    if (!button?.offsetParent) return;
    seen.button ??= performance.now();
    button.click();
  }, 20);
  window.fetch = (address, options) => {
    if (String(address?.url ?? address).includes("queue/join")) {
      seen.usable ??= performance.now();
      clearInterval(look);
    }
    return send(address, options);
  };
})()"""
FIRST_PAINT = "() => performance.getEntriesByName('first-contentful-paint')[0]?.startTime ?? 0"


@dataclass(frozen=True)
class Opening:
    """One visit: milliseconds from the navigation, milliseconds of processor time by kind, requests, and kB."""

    first_paint: float
    button: float
    usable: float
    cpu: dict[str, float]
    requests: int
    kilobytes: float


def open_twice(browser: "Browser", url: str) -> dict[str, Opening]:
    """Return a first and a second visit of a new browser context."""
    context = browser.new_context(viewport=WINDOW)  # type: ignore[arg-type]
    page = context.new_page()
    page.add_init_script(LOOK)
    session = context.new_cdp_session(page)
    session.send("Performance.enable", {"timeDomain": "threadTicks"})
    session.send("Network.enable")
    requests: list[str] = []
    received: list[float] = []
    session.on("Network.requestWillBeSent", lambda event: requests.append(event["request"]["url"]))
    session.on("Network.loadingFinished", lambda event: received.append(event["encodedDataLength"]))
    found = {}
    for visit in VISITS:
        requests.clear()
        received.clear()
        page.goto(url, wait_until="commit")
        page.wait_for_function("() => window.opening?.usable", timeout=LONGEST)
        seen = page.evaluate("() => window.opening")
        cpu = _processor_times(session)  # of this document
        first_paint = page.evaluate(FIRST_PAINT)
        size = sum(received) / 1000
        found[visit] = Opening(first_paint, seen["button"], seen["usable"], cpu, len(requests), size)
        page.wait_for_timeout(PAUSE)
        page.goto("about:blank")
    context.close()
    return found


def _processor_times(session: "CDPSession") -> dict[str, float]:
    metrics = {one["name"]: one["value"] for one in session.send("Performance.getMetrics")["metrics"]}
    return {words: 1000 * metrics[name] for name, words in CPU.items()}


def measure(urls: list[str], *, rounds: int, browser: str) -> dict[str, list[dict[str, Opening]]]:
    """Return the visits of each desk, one round after the other."""
    from playwright.sync_api import sync_playwright

    found: dict[str, list[dict[str, Opening]]] = {url: [] for url in urls}
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=browser, args=FLAGS)
        chromium.new_context().new_page()  # which starts what all pages share
        for _ in range(rounds):
            for url in urls:
                found[url].append(open_twice(chromium, url))
        chromium.close()
    return found


def table(visits: list[dict[str, Opening]]) -> str:
    """Return the medians as a Markdown table."""
    lines = [
        "| | first paint, ms | button, ms | usable, ms | main thread, CPU ms | scripts, CPU ms | requests | kB |",
        "|---|--:|--:|--:|--:|--:|--:|--:|",
    ]
    for visit in VISITS:
        all_of = [one[visit] for one in visits]
        figures = [
            *(statistics.median(getattr(one, name) for one in all_of) for name in ("first_paint", "button", "usable")),
            *(statistics.median(one.cpu[kind] for one in all_of) for kind in ("main thread", "scripts")),
            *(statistics.median(getattr(one, name) for one in all_of) for name in ("requests", "kilobytes")),
        ]
        lines.append(f"| {visit} | " + " | ".join(f"{figure:,.0f}" for figure in figures) + " |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.opening", description=__doc__)
    parser.add_argument("urls", nargs="+", metavar="URL", help="address of a running desk")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--browser", default=shutil.which("chromium") or "", help="path of Chromium")
    parser.add_argument("--json", action="store_true", help="print all visits instead of the medians")
    options = parser.parse_args()
    if not options.browser:
        raise ValueError("there is no chromium on the path; name a browser by --browser")
    before = os.getloadavg()[0]
    found = measure(options.urls, rounds=options.rounds, browser=options.browser)
    if options.json:
        print(json.dumps(found, default=vars))
        return
    for url, visits in found.items():
        print(f"\n{url}\n\n{table(visits)}")
    load = f"{before:.1f} before, {os.getloadavg()[0]:.1f} after, of {os.cpu_count()} processors"
    print(f"\nMedians of {options.rounds} rounds; load of the machine: {load}")


if __name__ == "__main__":
    sys.exit(exit_code(main))
