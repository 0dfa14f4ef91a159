"""The Train tab in a real browser: start, watch, pause, reload, kill, resume, stop, use; previews, lists, bad input."""

import json
import os
import re
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from page_checks import (
    NEEDS_BROWSER,
    RunningDesk,
    choose,
    details,
    late_answers,
    open_page,
    open_tab,
    put,
    settle,
    watched_page,
)

from gptdesk.page.tabs.train.text_source import LONGEST_PASTED
from gptdesk.starter.stories import stories
from gptdesk.training.lock import holding_process
from gptdesk.training.run_directory import RunDirectory

sync_api = pytest.importorskip("playwright.sync_api")
pytestmark = NEEDS_BROWSER
TEXT = "\n".join(stories(5, 24))
LONG = 90_000  # milliseconds that a process may take to begin on a busy machine


@pytest.fixture
def page(browser: "sync_api.Browser", desk: RunningDesk, home: Path) -> Iterator["sync_api.Page"]:
    (home / "page.json").unlink(missing_ok=True)
    with watched_page(browser, desk) as page:
        page.get_by_role("tab", name="Train").click()
        yield page
        if process := holding_process(home):
            process.kill()
            process.wait(20)


def fill(page: "sync_api.Page", *, name: str, text: str = TEXT, steps: int = 100_000) -> None:
    """A tiny model, and steps that last unless they are few."""
    if text:
        page.locator("#train-text textarea").fill(text)
    page.locator("#train-name input").fill(name)
    page.locator("#train-size input").click()
    page.get_by_role("option", name=re.compile("^tiny:")).click()
    page.locator("#train-advanced > button").click()
    settle(page)
    page.locator("#train-tokenizer input").fill("chars")
    page.locator("#train-tokenizer input").press("Tab")
    put(page, "train-steps", steps)
    page.locator("#train-more-model > button").click()
    settle(page)
    put(page, "train-block-size", 32)
    page.locator("#train-more-training > button").click()
    settle(page)
    for option, value in {"batch-size": 4, "evaluate-every": 50, "patience": 0, "save-every": 100}.items():
        put(page, f"train-{option}", value)


def start(page: "sync_api.Page", **chosen: object) -> None:
    fill(page, **chosen)  # type: ignore[arg-type]
    page.locator("#train-start").click()


def says(page: "sync_api.Page", state: str) -> None:
    sync_api.expect(page.locator("#run-state")).to_contain_text(state, timeout=LONG)


def step(page: "sync_api.Page") -> int:
    """The step that the page tells."""
    told = page.locator("#run-tiles b").first
    told.wait_for(timeout=LONG)
    return int(told.inner_text().replace(",", ""))


def wait_for_sample(page: "sync_api.Page") -> None:
    page.locator("#run-samples .pane").first.wait_for(timeout=LONG)


@contextmanager
def held_answer(page: "sync_api.Page", words: str) -> Iterator[None]:
    """Let the server answer a tick with these words, and keep the answer back until the end of the block."""
    held: list[tuple[sync_api.Route, sync_api.APIResponse]] = []

    def hold_one(route: "sync_api.Route") -> None:
        answer = route.fetch(max_retries=3)  # the server closes connections that were idle
        if not held and words in answer.text().replace("*", ""):
            held.append((route, answer))
        else:
            route.fulfill(response=answer)

    page.route("**/run/predict*", hold_one)
    for _ in range(LONG // 100):
        if not held:
            page.wait_for_timeout(100)
    yield
    route, answer = held[0]
    route.fulfill(response=answer)
    page.unroute("**/run/predict*")


def wait_for_state(page: "sync_api.Page", run: Path, state: str) -> None:
    for _ in range(LONG // 100):
        if RunDirectory(run).status().state != state:
            page.wait_for_timeout(100)
    assert RunDirectory(run).status().state == state


def test_start_watch_pause_reload_kill_resume_stop_and_use(
    page: "sync_api.Page", desk: RunningDesk, home: Path
) -> None:
    start(page, name="tale")
    says(page, "tale trains")
    wait_for_sample(page)
    sync_api.expect(page.locator("#run-losses figure")).to_contain_text("best:", timeout=LONG)
    assert page.locator("#run-losses .dot").count() >= 1
    first = step(page)
    page.wait_for_function(
        "first => +document.querySelector('#run-tiles b').innerText.replace(/,/g, '') > first", arg=first, timeout=LONG
    )

    with held_answer(page, "tale trains"):
        page.locator("#run-pause").click()
        wait_for_state(page, home / "runs" / "tale", "paused")
        page.locator("#run-logarithmic input").first.check()  # draws the run as it is now
        says(page, "tale is paused")
    page.wait_for_timeout(500)
    says(page, "tale is paused")  # an answer that arrives late does not stay on the page
    paused = step(page)

    open_page(page, desk)  # a page that knows nothing shows the same run
    page.get_by_role("tab", name="Train").click()
    says(page, "tale is paused")
    assert step(page) >= paused
    page.locator("#run-resume").click()
    says(page, "tale trains")

    process = holding_process(home)
    assert process is not None
    process.kill()
    says(page, "tale was interrupted")
    page.locator("#run-resume").click()
    says(page, "tale trains")
    assert step(page) >= paused  # it was resumed from a checkpoint, and pausing has saved one
    page.locator("#run-stop").click()
    says(page, "saved as tale")

    page.locator("#run-use").click()
    sync_api.expect(page.locator("#model input")).to_have_value(
        re.compile(r"^tale( \(best on unseen text, step \d+\))?$")  # named so where the last step has a model, too
    )
    page.locator("#generate").click()
    sync_api.expect(page.locator("#figures")).to_contain_text("tokens/s", timeout=LONG)
    sync_api.expect(details(page)).to_contain_text("tale")
    sync_api.expect(page.locator("#text-1 textarea")).not_to_have_value("")


def test_while_one_trains_another_waits_and_its_newest_save_can_be_talked_to(page: "sync_api.Page", home: Path) -> None:
    start(page, name="talk")
    says(page, "talk trains")
    page.get_by_role("tab", name="New run").click()
    page.locator("#train-name input").fill("second")
    page.locator("#train-start").click()
    says(page, "second waits in the queue, place 1")
    page.get_by_role("tab", name="All runs").click()
    sync_api.expect(page.locator("#runs-table")).to_contain_text("queued, place 1")
    open_tab(page, "Watch")
    page.locator("#run-unqueue").click()
    says(page, "second has not started")
    assert not (home / "runs" / "second" / "queued").exists()
    open_tab(page, "New run")
    with late_answers(page):
        page.get_by_role("tab", name="Watch").click()
        choose(page, "run", "talk")
    page.wait_for_timeout(500)  # for what the answers change
    says(page, "talk trains")
    sync_api.expect(page.locator("#run-use")).to_be_visible(timeout=LONG)
    page.locator("#run-use").click()
    sync_api.expect(page.locator("#model input")).to_have_value("run talk, latest checkpoint")
    page.locator("#generate").click()
    sync_api.expect(page.locator("#figures")).to_contain_text("tokens/s", timeout=LONG)


def test_runs_on_a_classic_that_was_fetched_end_and_are_compared(page: "sync_api.Page", home: Path) -> None:
    (home / "texts").mkdir(exist_ok=True)
    (home / "texts" / "alice.txt").write_text(TEXT, encoding="utf-8")
    page.get_by_label("From the library").check()
    choose(page, "train-library", "Lewis Carroll: Alice's Adventures in Wonderland")
    sync_api.expect(page.locator("#train-library-note")).to_contain_text("On this computer")
    page.locator("#train-fetch").click()
    sync_api.expect(page.locator("#train-fetch-line")).to_contain_text("It is on this computer now")
    start(page, name="", text="", steps=60)
    says(page, "saved as alice")
    plan = json.loads((home / "runs" / "alice" / "plan.json").read_text())
    assert plan["data"] == [str(home / "texts" / "alice.txt")]
    page.get_by_role("tab", name="New run").click()
    page.locator("#train-name input").fill("shorter")
    put(page, "train-steps", 55)
    put(page, "train-learning-rate", 0.001)
    page.locator("#train-start").click()
    says(page, "saved as shorter")
    lines = (home / "runs" / "shorter" / "metrics.jsonl").read_text().splitlines()
    assert json.loads(lines[-1])["step"] == 55

    page.get_by_role("tab", name="All runs").click()
    table = page.locator("#runs-table")
    sync_api.expect(table).to_contain_text("60 of 60")
    sync_api.expect(table).to_contain_text("55 of 55")
    open_tab(page, "Watch")
    with late_answers(page):
        page.get_by_role("tab", name="All runs").click()
        page.locator("#runs-chosen").get_by_label("alice", exact=True).check()
        sync_api.expect(page.locator("#runs-curves figcaption")).to_be_visible()
    page.locator("#runs-chosen").get_by_label("shorter", exact=True).check()
    sync_api.expect(page.locator("#runs-curves figcaption")).to_contain_text("shorter")
    told = page.locator("#runs-differences")
    sync_api.expect(told).to_contain_text("Learning rate")
    sync_api.expect(told).to_contain_text("0.001")
    sync_api.expect(told).not_to_contain_text("Batch size")
    page.locator("#runs-chosen").get_by_label("alice", exact=True).uncheck()
    page.locator("#runs-table").get_by_role("button", name="alice", exact=True).click()
    sync_api.expect(page.locator("#run input")).to_have_value("alice")
    says(page, "saved as alice")
    open_tab(page, "All runs")
    page.locator("#runs-delete").click()
    sync_api.expect(page.locator("#runs-really")).to_contain_text("Delete shorter with all checkpoints")
    page.locator("#runs-really").click()
    sync_api.expect(table).not_to_contain_text("shorter")
    assert not (home / "runs" / "shorter").exists()
    assert (home / "models" / "shorter").exists()  # what came of it stays

    page.set_viewport_size({"width": 390, "height": 844})
    for view in ("New run", "Watch", "All runs"):
        page.get_by_role("tab", name=view).click()
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")


def test_a_preview_tells_what_the_run_will_take_and_bad_texts_are_refused_before_a_run_exists(
    page: "sync_api.Page", home: Path, tmp_path: Path
) -> None:
    page.locator("#train-time").get_by_label("30 minutes").check()
    sync_api.expect(page.locator("#train-size input")).to_have_value(re.compile("^small"))
    sync_api.expect(page.locator("#train-max-minutes input")).to_have_value("30")
    sync_api.expect(page.locator("#train-choice")).to_contain_text("3.11M parameters")
    ticked = page.locator("#train-time input:checked")
    sync_api.expect(ticked).to_have_count(1)
    fill(page, name="seen")
    sync_api.expect(ticked).to_have_count(0)  # the choices are no longer those of 30 minutes
    page.locator("#train-preview").click()
    facts = page.locator("#train-facts")
    sync_api.expect(facts).to_contain_text("Tokens", timeout=LONG)
    shown = page.locator("#train-rows .row-of-text").first.inner_text()
    assert len(shown.strip()) >= 10
    assert shown.strip()[:10] in re.sub(r"\s+", " ", TEXT) or shown[:10] in TEXT
    assert not (home / "runs" / "seen").exists()
    outdated = page.locator("#train-outdated p")
    sync_api.expect(outdated).to_have_count(0)
    put(page, "train-steps", 20)
    sync_api.expect(outdated).to_have_text("Something has changed since: preview again.")
    page.locator("#train-preview").click()
    sync_api.expect(outdated).to_have_count(0)
    sync_api.expect(facts).to_contain_text("Tokens", timeout=LONG)

    page.locator("#train-text textarea").fill("Hello.")
    page.locator("#train-start").click()
    line = page.locator("#train-line")
    sync_api.expect(line).to_contain_text("give more text", timeout=LONG)
    sync_api.expect(page.locator("#train-outdated")).to_be_visible()  # the figures are those of another text
    page.locator("#train-use-starter").click()  # the suggestion for a short text, in one click
    sync_api.expect(page.locator("#train-from input")).to_have_value("starter")
    sync_api.expect(page.locator("#train-hint")).to_be_hidden()
    (tmp_path / "letter.pdf").write_bytes(b"%PDF-1.7\n\x00\x01\x02\xff" * 300)
    page.get_by_label("Choose files").check()
    page.locator("#train-files input[type=file]").set_input_files([tmp_path / "letter.pdf"])
    sync_api.expect(page.locator("#train-files")).to_contain_text("letter")
    page.locator("#train-start").click()
    sync_api.expect(line).to_contain_text("⚠ letter.pdf", timeout=LONG)
    assert not (home / "runs" / "seen").exists()
    page.locator("#train-preview").click()
    sync_api.expect(line).to_contain_text("⚠ letter.pdf", timeout=LONG)
    sync_api.expect(facts).to_be_empty()
    page.get_by_label("Paste a text").check()
    box, long = page.locator("#train-text textarea"), TEXT * (LONGEST_PASTED // len(TEXT) + 1)
    box.fill(long)
    pasted = page.locator("#train-files").get_by_text("pasted", exact=True)
    sync_api.expect(pasted).to_have_count(1)  # beside the PDF
    sync_api.expect(page.locator("#train-source").get_by_label("Choose files")).to_be_checked()
    page.get_by_label("Paste a text").check()
    box.evaluate("(box, text) => { box.value = text; box.dispatchEvent(new Event('input', {bubbles: true})); }", long)
    sync_api.expect(pasted).to_have_count(2)  # a text that grew, too


def test_bad_input_is_told_in_a_sentence(page: "sync_api.Page", home: Path) -> None:
    cases = (
        ("", "steps", 10, "preview", "text"),
        ("too short", "steps", 11, "preview", "tokens to train on"),
        ("\x00\x01" * 500, "steps", 12, "start", "not a text file"),
        (TEXT, "learning-rate", 0, "preview", "learning_rate must be"),
        (TEXT, "batch-size", 10**7 + 1, "start", "batch_size must be"),
    )
    fill(page, name="bad")
    line = page.locator("#train-line")
    for text, option, value, button, told in cases:
        page.locator("#train-text textarea").fill(text)
        put(page, f"train-{option}", value)
        page.locator(f"#train-{button}").click()
        sync_api.expect(line).to_contain_text(told, timeout=LONG)
        assert "⚠" in line.inner_text()
        sync_api.expect(page.locator(f"#train-{button}")).to_be_enabled()
    put(page, "train-batch-size", 4)
    sync_api.expect(line.locator("p")).to_have_count(0)  # what was said of another number goes
    assert page.locator("#train-name input").input_value() == "bad"  # nothing is lost
    assert not (home / "runs" / "bad").exists()


def test_files_are_copied_and_a_changed_text_is_asked_about(page: "sync_api.Page", home: Path, tmp_path: Path) -> None:
    (tmp_path / "one.txt").write_text(TEXT[:5000], encoding="utf-8")
    (tmp_path / "two.txt").write_text(TEXT[5000:], encoding="utf-16")
    page.get_by_label("Choose files").check()
    page.locator("#train-files input[type=file]").set_input_files([tmp_path / "one.txt", tmp_path / "two.txt"])
    sync_api.expect(page.locator("#train-files")).to_contain_text("two")
    start(page, name="changing", text="")
    says(page, "changing trains")
    sync_api.expect(page.locator("#run-stop")).to_be_focused()
    page.keyboard.press("Escape")
    says(page, "saved as changing")
    texts = sorted((home / "pasted" / "changing").iterdir())
    assert [path.name for path in texts] == ["001 one.txt", "002 two.txt"]
    texts[0].write_text(TEXT + "One more line.\n", encoding="utf-8")
    page.locator("#run-resume").click()
    says(page, "has changed since it began")
    page.locator("#run-accept").click()
    says(page, "changing trains")
    process = holding_process(home)
    assert process is not None
    os.kill(process.pid, signal.SIGTERM)
    says(page, "changing was stopped")


def test_choosing_and_typing_are_remembered(page: "sync_api.Page", desk: RunningDesk, tmp_path: Path) -> None:
    (tmp_path / "letters.txt").write_text("Dear diary, this is a page.", encoding="utf-8")
    fill(page, name="kept")
    page.get_by_label("Choose files").check()
    page.locator("#train-files input[type=file]").set_input_files([tmp_path / "letters.txt"])
    sync_api.expect(page.locator("#train-hint")).to_be_visible()  # a page is little for a new model
    choose(page, "train-schedule", "linear")
    page.get_by_label("A folder on this computer").check()
    page.locator("#train-place textarea, #train-place input").fill("~/letters")
    page.locator("#train-place textarea, #train-place input").press("Tab")
    page.wait_for_timeout(500)
    open_page(page, desk)
    page.get_by_role("tab", name="Train").click()
    page.get_by_role("tab", name="New run").click()
    sync_api.expect(page.locator("#train-name input")).to_have_value("kept")
    page.locator("#train-advanced > button").click()
    page.locator("#train-more-training > button").click()
    sync_api.expect(page.locator("#train-schedule input")).to_have_value("linear")
    sync_api.expect(page.locator("#train-evaluate-every input")).to_have_value("50")
    for suited in ("learning-rate", "warmup-steps"):
        sync_api.expect(page.locator(f"#train-{suited} input")).to_have_value("")
    sync_api.expect(page.locator("#train-place textarea, #train-place input")).to_have_value("~/letters")
    page.get_by_label("Choose files").check()
    sync_api.expect(page.locator("#train-files")).to_contain_text("letters")
    page.get_by_label("Paste a text").check()
    sync_api.expect(page.locator("#train-text textarea")).to_have_value(TEXT)
