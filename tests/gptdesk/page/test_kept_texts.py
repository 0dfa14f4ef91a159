"""Texts that outlive a killed desk, a full disk and another browser; recipes in another home; the history by keys."""

import json
import os
import re
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from page_checks import NEEDS_BROWSER, RunningDesk, open_page, put

sync_api = pytest.importorskip("playwright.sync_api")
pytestmark = NEEDS_BROWSER

# makes each token take its time, whatever the computer
PAUSE = """
import time
from typing import ClassVar
from pydantic import Field
from samplers import Sampler

class Pause(Sampler):
    '''Wait before each token.'''

    name = "pause"
    neutral: ClassVar = {"seconds": 0.0}
    seconds: float = Field(0.0, ge=0, le=1, description="seconds before each token")

    def __call__(self, logits, tokens):
        time.sleep(self.seconds)
        return logits
"""
FULL_DISK = """
import resource, runpy
resource.setrlimit(resource.RLIMIT_FSIZE, (40_000, 40_000))
runpy.run_module("gptdesk", run_name="__main__", alter_sys=True)
"""


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a home with the sampler `pause`, set to a twentieth of a second."""
    home = tmp_path_factory.mktemp("home")
    (home / "samplers").mkdir()
    (home / "samplers" / "pause.py").write_text(PAUSE)
    chain = {"order": ["temperature", "pause"], "options": {"seconds": 0.05}}
    (home / "page.json").write_text(json.dumps({"Generate": {"chain": chain}}))
    return home


@pytest.fixture
def page(browser: "sync_api.Browser") -> Iterator["sync_api.Page"]:
    """Return a page of a browser that has no cookie yet."""
    context = browser.new_context(viewport={"width": 1440, "height": 900})
    yield context.new_page()
    context.close()


def press_until(page: "sync_api.Page", key: str, wanted: str, *, most: int = 80) -> None:
    """Press a key until the focus is on an element of this selector."""
    for _ in range(most):
        if page.evaluate("selector => document.activeElement.matches(selector)", wanted):
            return
        page.keyboard.press(key)
    raise AssertionError(f"{key} does not lead to {wanted}")


def test_a_killed_desk_has_the_text_so_far_and_a_recipe_repeats_it_elsewhere(
    browser: "sync_api.Browser", page: "sync_api.Page", home: Path, tmp_path: Path
) -> None:
    desk = RunningDesk(home, OMP_NUM_THREADS="1")
    open_page(page, desk)
    page.locator("#prompt textarea").fill("Once upon a time")
    page.locator("#generate").click()
    box = page.locator("#text-1 textarea")
    page.wait_for_function("document.querySelector('#text-1 textarea').value.length > 130")
    os.kill(desk.process.pid, signal.SIGKILL)
    seen = box.input_value()[:60]
    desk.process.communicate()

    desk = RunningDesk(home, OMP_NUM_THREADS="1")
    open_page(page, desk)  # in the browser that knows the desk that was killed
    sync_api.expect(box).to_have_value(re.compile(f"^{re.escape(seen)}"))
    page.get_by_role("tab", name="History").click()
    page.locator("#history-list label").first.click()
    sync_api.expect(page.locator("#history-texts")).to_contain_text(seen)
    sync_api.expect(page.locator("#history-facts")).to_contain_text("the program ended before the text did")
    page.locator("#history-recipe").click()
    sync_api.expect(page.locator("#history-recipe-file")).to_be_visible()
    link = page.locator("#history-link [data-recipe]").get_attribute("data-recipe")

    # another browser does not change what this one shows
    context = browser.new_context()
    other = context.new_page()
    open_page(other, desk)
    begun = re.compile(f"^{re.escape(seen)}")  # with the last state, which was perhaps killed a moment later
    sync_api.expect(other.locator("#text-1 textarea")).to_have_value(begun)
    other.locator("#prompt textarea").fill("Of another browser")
    put(other, "n", 3)
    other.wait_for_timeout(700)
    open_page(page, desk)
    assert page.locator("#prompt textarea").input_value() == "Once upon a time"
    assert page.locator("#n input[type=number]").input_value() == "1"
    assert desk.close().count("Traceback") == 0

    # its recipe, opened by the link in another home
    (tmp_path / "samplers").mkdir()
    (tmp_path / "samplers" / "pause.py").write_text(PAUSE)
    elsewhere = RunningDesk(tmp_path, OMP_NUM_THREADS="1")
    other.goto(f"{elsewhere.url}{link}")
    sync_api.expect(other.locator("#recipe-summary")).to_contain_text("Once upon a time")
    other.locator("#recipe-run").click()
    sync_api.expect(other.locator("#recipe-run-line")).to_contain_text("The same text came out")
    sync_api.expect(other.locator("#recipe-result")).to_contain_text(seen)
    context.close()
    assert elsewhere.close().count("Traceback") == 0


def test_a_full_disk_and_a_damaged_history_are_one_sentence_and_texts_go_on(
    page: "sync_api.Page", tmp_path: Path
) -> None:
    (tmp_path / "history.sqlite").write_bytes(b"no database")
    desk = RunningDesk(tmp_path, program=(sys.executable, "-c", FULL_DISK), OMP_NUM_THREADS="1")
    open_page(page, desk)
    page.locator("#prompt textarea").fill("Once upon a time")
    page.locator("#generate").click()
    sync_api.expect(page.locator("#figures")).to_contain_text("ended:")
    assert len(page.locator("#text-1 textarea").input_value()) > 100
    page.get_by_role("tab", name="History").click()
    count = page.locator("#history-count")
    sync_api.expect(count).to_contain_text("texts are generated, but not saved in the history")
    sync_api.expect(count).to_contain_text("is damaged; it is kept as history.sqlite.damaged")
    assert (tmp_path / "history.sqlite.damaged").read_bytes() == b"no database"
    assert desk.close().count("Traceback") == 0


def test_keys_alone_lead_from_the_prompt_to_an_export(page: "sync_api.Page", tmp_path: Path) -> None:
    desk = RunningDesk(tmp_path, OMP_NUM_THREADS="1")
    try:
        open_page(page, desk)
        press_until(page, "Tab", "#prompt textarea")
        page.keyboard.type("Dear diary,")
        press_until(page, "Tab", "#generate")
        page.keyboard.press("Enter")
        sync_api.expect(page.locator("#figures")).to_contain_text("ended:")
        press_until(page, "Shift+Tab", "[role=tab]")
        press_until(page, "ArrowRight", "[data-tab-id=History]")
        sync_api.expect(page.locator("#history-list label")).to_have_count(1)
        press_until(page, "Tab", "#history-list input")
        page.keyboard.press("Space")
        # the list may just be drawn anew, by the answer that opens the tab: then once more, as anybody would
        page.wait_for_timeout(1_000)
        if not page.locator("#history-list input").is_checked():
            page.locator("#history-list input").press("Space")
        sync_api.expect(page.locator("#history-list input")).to_be_checked()
        sync_api.expect(page.locator("#history-texts")).to_contain_text("Dear diary,")
        press_until(page, "Tab", "#history-export")
        with page.expect_download() as download:
            page.keyboard.press("Enter")
        [entry] = json.loads(download.value.path().read_text("utf-8"))
        assert entry["prompt"] == "Dear diary,"
    finally:
        log = desk.close()
    assert log.count("Traceback") == 0
