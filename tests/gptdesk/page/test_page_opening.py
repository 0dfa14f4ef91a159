"""The page as it opens in a real browser: what was set before, after a reload and a restart; sizes and themes."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from page_checks import NEEDS_BROWSER, RunningDesk, answered, choose, open_page, put, until_saved

sync_api = pytest.importorskip("playwright.sync_api")
pytestmark = NEEDS_BROWSER


def test_whatever_way_it_was_changed_it_is_remembered(page: "sync_api.Page", desk: RunningDesk, home: Path) -> None:
    put(page, "temperature", 0.4)
    page.locator("#prompt textarea").press_sequentially("typed")
    page.wait_for_timeout(300)
    page.locator("#prompt textarea").press("Control+a")
    page.keyboard.insert_text("Pasted")  # as a paste does, it presses no key
    page.locator("#temperature button").click()  # back to the preset's value
    sync_api.expect(page.locator("#temperature input[type=number]")).to_have_value("0.8")
    until_saved(page, home, '"Pasted"')
    until_saved(page, home, '"temperature": 0.8')
    open_page(page, desk)
    sync_api.expect(page.locator("#prompt textarea")).to_have_value("Pasted")
    sync_api.expect(page.locator("#temperature input[type=number]")).to_have_value("0.8")
    page.get_by_role("button", name="Once upon a time").click()
    until_saved(page, home, '"Once upon a time"')
    open_page(page, desk)
    sync_api.expect(page.locator("#prompt textarea")).to_have_value("Once upon a time")


STATUSES = """async () => {
  const file = document.head.innerHTML.match(/assets\\/statustracker-[^"]*\\.js/)[0];
  const statuses = new (Object.values(await import("/" + file)).find(part => part?.prototype?.resolve_args))();
  statuses.register(1, [], [5, 6], "hidden");
  statuses.register(2, [7], [8], "hidden");
  const held = [];
  for (const fn_index of [1, 2]) for (const [status, stream_state] of [["pending", null], ["complete", "closed"]]) {
    statuses.update({fn_index, status, stream_state});
    held.push(Object.keys(statuses.current).join() + (statuses.current[7]?.status ?? ""));
  }
  return held;
}"""


def test_an_ended_event_leaves_no_status_to_its_inputs(page: "sync_api.Page") -> None:
    """Gradio's page updates every component that has a status three times an event."""
    assert page.evaluate(STATUSES) == ["", "", "7pending", "7complete"]


def test_reset_gives_back_the_value_of_the_preset(page: "sync_api.Page") -> None:
    temperature, texts = (page.locator(f"#{name} input[type=number]") for name in ("temperature", "n"))
    choose(page, "preset", "Adventurous")
    sync_api.expect(temperature).to_have_value("1.2")
    put(page, "temperature", 0.4)
    sync_api.expect(page.locator("#preset")).to_contain_text("Preset, changed")
    page.get_by_role("button", name="Reset Temperature").click()
    sync_api.expect(temperature).to_have_value("1.2")
    put(page, "n", 4)
    page.get_by_role("button", name="Reset Texts").click()  # of no preset
    sync_api.expect(texts).to_have_value("1")


def test_a_text_is_still_there_after_a_reload(page: "sync_api.Page", desk: RunningDesk) -> None:
    put(page, "max-new-tokens", 20)
    page.locator("#prompt textarea").fill("Mia")
    page.locator("#generate").click()
    sync_api.expect(page.locator("#figures")).to_contain_text("ended:", timeout=30_000)
    sync_api.expect(page.locator("#generate")).to_be_enabled()
    page.wait_for_timeout(500)  # until the stream is closed: one that is cut off is an error of the page
    shown = page.locator("#text-1 textarea").input_value()
    assert shown.startswith("Mia")
    page.route("**/run/predict*", lambda route: None)  # kept back
    page.goto(desk.url)
    page.wait_for_function("document.querySelector('#tabs')?.inert")  # it is seen although nothing is restored
    sync_api.expect(page.locator("#prompt textarea")).to_be_visible()
    sync_api.expect(page.locator("#show-me")).to_be_hidden()  # it is for those who have no text yet
    for name in ("#precision input", "#prompt textarea"):  # what is saved would overwrite a choice and a text
        box = page.locator(name).bounding_box()
        assert box is not None
        page.mouse.click(box["x"] + 20, box["y"] + 20)
        page.keyboard.type("lost")
    sync_api.expect(page.get_by_role("listbox")).to_have_count(0)
    sync_api.expect(page.locator("#prompt textarea")).to_have_value("")
    page.unroute("**/run/predict*")  # which lets them go
    sync_api.expect(page.locator("#text-1 textarea")).to_have_value(shown)
    sync_api.expect(page.locator("#show-me")).to_be_hidden()
    page.locator("#prompt textarea").fill("Ada")
    sync_api.expect(page.locator("#prompt textarea")).to_have_value("Ada")


LOAD = """() => {
  const {components, dependencies} = gradio_config;
  const {id} = components.find(one => one.props.elem_id === "compare-differs");
  return dependencies.find(one => one.targets.some(([, event]) => event === "load") && one.outputs.includes(id)).id;
}"""


def test_another_tab_takes_input_once_its_saved_state_is_there(page: "sync_api.Page", desk: RunningDesk) -> None:
    load, held = page.evaluate(LOAD), list[sync_api.Route]()

    def keep_back(route: "sync_api.Route") -> None:
        is_load = json.loads(route.request.post_data or "{}").get("fn_index") == load
        held.append(route) if is_load else route.continue_()

    page.route("**/run/predict*", keep_back)
    page.goto(desk.url)
    page.locator("html.appeared").wait_for()
    page.locator("#prompt textarea").fill("Ada")  # Generate waits for no other
    page.get_by_role("tab", name="Compare").click()
    label, radio = (page.locator(f"#compare-differs {part}").last for part in ("label", "input"))
    box = label.bounding_box()
    assert box is not None
    page.mouse.click(box["x"] + 20, box["y"] + 10)
    sync_api.expect(radio).not_to_be_checked()
    sync_api.expect(page.locator("html.restored")).to_have_count(0)
    assert len(held) == 1
    held[0].continue_()
    page.locator("html.restored").wait_for()
    label.click()
    sync_api.expect(radio).to_be_checked()
    page.unroute("**/run/predict*")


def test_what_was_set_is_there_after_a_reload_and_a_restart(
    page: "sync_api.Page", browser: "sync_api.Browser", desk: RunningDesk, home: Path, tmp_path: Path
) -> None:
    """The desk that starts anew has nothing but the file: it is one of another home."""
    page.locator("#prompt textarea").fill("A tale of two tests")
    put(page, "temperature", 0.35)
    put(page, "n", 2)
    with answered(page):  # a second try of choosing would set the temperature again
        choose(page, "preset", "Adventurous")
    sync_api.expect(page.locator("#temperature input[type=number]")).to_have_value("1.2")
    put(page, "temperature", 0.45)
    until_saved(page, home, "0.45")
    with answered(page):  # what is restored is saved again, a widget after the other
        open_page(page, desk)
    assert_as_set(page)
    shutil.copy(home / "page.json", tmp_path)
    restarted = RunningDesk(tmp_path, OMP_NUM_THREADS="1")
    page = browser.new_page()
    try:
        open_page(page, restarted)
        assert_as_set(page)
    finally:
        page.close()
        restarted.close()


def assert_as_set(page: "sync_api.Page") -> None:
    sync_api.expect(page.locator("#prompt textarea")).to_have_value("A tale of two tests")
    sync_api.expect(page.locator("#temperature input[type=number]")).to_have_value("0.45")
    sync_api.expect(page.locator("#n input[type=number]")).to_have_value("2")
    sync_api.expect(page.locator("#top-k")).to_be_hidden()  # not in that preset


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_nothing_sticks_out(browser: "sync_api.Browser", desk: RunningDesk, theme: str) -> None:
    page = browser.new_page(color_scheme=theme)
    for width, height in ((1440, 900), (390, 844)):
        page.set_viewport_size({"width": width, "height": height})
        if page.url == "about:blank":
            open_page(page, desk)
        page.wait_for_function("width => document.documentElement.scrollWidth <= width", arg=width)
        if width < 900:
            page.locator("#rail-button").click()  # a sheet on a phone
        for name in ("prompt", "generate", "model", "temperature", "max-new-tokens", "seed"):
            box = page.locator(f"#{name}").bounding_box()
            assert box is not None
            assert box["x"] >= 0
            assert box["x"] + box["width"] <= width + 1
        assert page.evaluate("document.body.classList.contains('dark')") == (theme == "dark")
    page.close()


def test_a_second_desk_for_the_same_home_shows_the_first(desk: RunningDesk, home: Path) -> None:
    command = [sys.executable, "-m", "gptdesk", "--no-browser", "--home", str(home)]
    second = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert second.returncode == 0
    assert f"already running at {desk.url}" in second.stderr
