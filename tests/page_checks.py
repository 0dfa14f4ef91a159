"""What the tests of the page share: a desk in a process of its own, a real browser, and the hands of a user."""

import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil
import pytest

sync_api = pytest.importorskip("playwright.sync_api")
sync_api.expect.set_options(timeout=30_000)  # as long as a click waits; a busy machine may need more than five seconds
BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
NEEDS_BROWSER = pytest.mark.skipif(BROWSER is None, reason="no Chromium on this machine (apt-get install chromium)")
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update"]
MODULE = (sys.executable, "-m", "gptdesk")
HIDDEN = ("--port", "0", "--no-browser")
WINDOW = {"width": 1440, "height": 900}


class RunningDesk:
    """A desk in a process of its own."""

    def __init__(
        self, home: Path, *, program: Sequence[str] = MODULE, options: Sequence[str] = HIDDEN, **variables: str
    ) -> None:
        command = [*program, *options, "--home", str(home)]
        self.log = ""
        self.process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=os.environ | variables)
        assert self.process.stderr is not None
        for line in self.process.stderr:
            self.log += line
            if found := re.search(r"ready at (http://\S+)", line):
                self.url = found[1]
                return
        raise AssertionError(f"the desk did not start:\n{self.log}")

    def close(self) -> str:
        """End it as Ctrl-C would; everything it wrote on stderr."""
        assert self.process.stderr is not None
        self.process.send_signal(signal.SIGINT)
        late = threading.Timer(20, self.process.kill)
        late.start()
        rest = self.process.stderr.read()  # not by communicate, which skips what has been read ahead
        self.process.stderr.close()
        self.process.wait()
        late.cancel()
        return self.log + rest


@contextmanager
def running_browser() -> Iterator["sync_api.Browser"]:
    """Chromium without a window on the screen, with one empty page for `watched_page`.

    It asks for less motion: what is scrolled to does not slide away while a button is pressed.
    """
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=BROWSER, args=FLAGS)
        browser.new_context(viewport=WINDOW, reduced_motion="reduce").new_page()
        yield browser
        browser.close()


@contextmanager
def late_answers(page: "sync_api.Page") -> Iterator[None]:
    """Events that ask without the queue are handled at once in here, and their answers arrive at the end of it."""
    held: list[tuple[sync_api.Route, sync_api.APIResponse]] = []
    page.route("**/run/predict*", lambda route: held.append((route, route.fetch())))
    try:
        yield
        assert held, "nothing was asked"
        with page.expect_response("**/run/predict*"):
            for route, response in held:
                route.fulfill(response=response)
    finally:
        page.unroute("**/run/predict*")


@contextmanager
def watched_page(browser: "sync_api.Browser", desk: RunningDesk) -> Iterator["sync_api.Page"]:
    """The page as it first opens. It must load nothing from elsewhere and log no error.

    It is opened in the tab of the test before: a new context costs as much processor time as the page itself.
    """
    context = browser.contexts[0]
    context.clear_cookies()
    (page,) = context.pages
    errors: list[str] = []
    elsewhere: list[str] = []
    watching = {
        "console": lambda message: errors.append(message.text) if message.type == "error" else None,
        "pageerror": lambda error: errors.append(str(error)),
        "request": lambda request: None if _is_ours(request.url, desk) else elsewhere.append(request.url),
    }
    for event, watch in watching.items():
        page.on(event, watch)
    page.set_viewport_size(WINDOW)
    open_page(page, desk)
    try:
        yield page
    finally:
        for event, watch in watching.items():
            page.remove_listener(event, watch)
        page.unroute_all(behavior="ignoreErrors")  # of a test that failed
        page.goto("about:blank")
        _wait_until_idle(desk)  # what it still saves would be the next test's state
    assert errors == []
    assert elsewhere == []


def _wait_until_idle(desk: RunningDesk) -> None:
    """Wait until a desk computes nothing, three seconds at most."""
    with suppress(psutil.Error):  # it has ended
        process = psutil.Process(desk.process.pid)
        for _ in range(50):
            before = sum(process.cpu_times()[:2])
            time.sleep(0.06)
            if sum(process.cpu_times()[:2]) - before < 0.015 and not _is_writing(process):
                return


def _is_writing(process: psutil.Process) -> bool:
    """Return whether a thread waits for the disk, as one does that saves without computing."""
    with suppress(OSError):
        threads = Path(f"/proc/{process.pid}/task").glob("*/stat")
        return any(one.read_text().rpartition(")")[2].split()[0] == "D" for one in threads)
    return False


def _is_ours(url: str, desk: RunningDesk) -> bool:
    return url.startswith((desk.url, "data:", "blob:"))


def open_page(page: "sync_api.Page", desk: RunningDesk) -> None:
    """Go there and wait until it is ready."""
    page.goto(desk.url)
    page.locator("#generate").wait_for()
    page.locator("html.appeared").wait_for()


@contextmanager
def answered(page: "sync_api.Page") -> Iterator[None]:
    """Wait at the end of the block, ten seconds at most, until what the page asked for within it is shown."""
    asked: set[sync_api.Request] = set()

    def begin(request: "sync_api.Request") -> None:
        if "/run/predict" in request.url or "/queue/data" in request.url:
            asked.add(request)

    def end(request: "sync_api.Request") -> None:
        asked.discard(request)

    watching = {"request": begin, "requestfinished": end, "requestfailed": end}
    for event, watch in watching.items():
        page.on(event, watch)
    yield
    for _ in range(100):
        page.wait_for_timeout(100)
        if not asked:
            break
    for event, watch in watching.items():
        page.remove_listener(event, watch)
    page.wait_for_timeout(100)


def open_tab(page: "sync_api.Page", name: str) -> None:
    """Open a tab, and wait for the answers to what that asks for: they draw anew what is done meanwhile."""
    with answered(page):
        page.get_by_role("tab", name=name).click()


def until_saved(page: "sync_api.Page", home: Path, text: str) -> None:
    """Wait until this is in the browser's own file, which is written after page.json and is read first."""
    for _ in range(150):
        files = sorted((home / "browsers").glob("*.json"), key=lambda file: file.stat().st_mtime)
        if files and text in files[-1].read_text("utf-8"):
            return page.wait_for_timeout(200)
        page.wait_for_timeout(200)
    raise AssertionError(f"{text} was not saved within 30 s")


def choose(page: "sync_api.Page", name: str, value: str) -> None:
    """Choose from a list, by a second try if it opened where what arrives above it has pushed it out of sight."""
    box, option = page.locator(f"#{name} input"), page.locator(f"#{name}").get_by_role("option", name=value, exact=True)
    box.click()
    try:
        option.click(timeout=5_000)
    except sync_api.TimeoutError:
        box.press("Escape")
        box.blur()
        box.click()
        option.click()


def put(page: "sync_api.Page", name: str, value: object) -> None:
    """Type a number into the box of a slider or number field."""
    box = page.locator(f"#{name} input[type=number]")
    for _ in range(6):
        box.fill(str(value))
        box.press("Tab")
        if box.input_value() == str(value):
            return
        page.wait_for_timeout(500)  # the maximum that follows from the model may be on its way


def details(page: "sync_api.Page") -> "sync_api.Locator":
    """Open the stats below the text, and return them."""
    unfold(page, "details")
    return page.locator("#all-stats")


def unfold(page: "sync_api.Page", name: str) -> None:
    """Open an accordion, if it is closed."""
    heading = page.locator(f"#{name} > button")
    if "open" not in (heading.get_attribute("class") or "").split():
        heading.click()
        settle(page)


def settle(page: "sync_api.Page") -> None:
    """Wait until what was just opened has its first values, which come two frames later."""
    page.evaluate("() => new Promise(d => requestAnimationFrame(() => requestAnimationFrame(() => setTimeout(d, 50))))")
