"""The page of a public desk in a real browser: a reload loses nothing, and no visitor sees or changes another's."""

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch
from page_checks import HIDDEN, NEEDS_BROWSER, WINDOW, RunningDesk, choose, open_page, put, settle

from benchmarks.visitor import Visitor
from models.checkpoint import About, save_checkpoint
from models.gpt import GPT, GPTConfig
from models.tokenizer import character_tokenizer

sync_api = pytest.importorskip("playwright.sync_api")
pytestmark = NEEDS_BROWSER
STORED = "gptdesk-visitor"
HOSTILE = "<img src=x onerror=pwned=1></textarea><script>pwned=2</script>"
BLOCKED = "Object.defineProperty(window, 'localStorage', {get() { throw new DOMException('no', 'SecurityError'); }})"
FULL = "Storage.prototype.setItem = () => { throw new DOMException('full', 'QuotaExceededError'); }"


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a home with a model that takes its time, and one whose context is longer than what is shown."""
    home = tmp_path_factory.mktemp("home")
    tokenizer = character_tokenizer("abcdefghijklmnopqrstuvwxyz ABCDEFGHIJKLMNOPQRSTUVWXYZ.,=</>\n")
    torch.manual_seed(1)
    for name, context, layers, width in (("slow", 4096, 6, 768), ("long", 1500, 1, 32)):
        model = GPT(GPTConfig(tokenizer.vocab_size, block_size=context, n_layer=layers, n_head=2, n_embd=width))
        save_checkpoint(home / "models" / name, model, tokenizer=tokenizer, about=About(source="a test"))
    return home


@contextmanager
def public_desk(home: Path, *, port: str = "0") -> Iterator[RunningDesk]:
    desk = RunningDesk(home, options=[*HIDDEN, "--public", "--port", port], OMP_NUM_THREADS="1")
    try:
        yield desk
    finally:
        log = desk.close()
    assert "Traceback" not in log, log
    assert "does not fit the page" not in log, log  # of what a browser sends


@pytest.fixture(scope="module")
def desk(home: Path) -> Iterator[RunningDesk]:
    with public_desk(home) as desk:
        yield desk


@pytest.fixture
def context(browser: "sync_api.Browser") -> Iterator["sync_api.BrowserContext"]:
    """Return a browser that knows nothing yet; an error in its console fails the test."""
    errors: list[str] = []
    context = browser.new_context(viewport=WINDOW)
    context.on("weberror", lambda error: errors.append(str(error.error)))
    context.on("console", lambda message: errors.append(message.text) if message.type == "error" else None)
    yield context
    context.close()
    # Gradio's page reports the requests that a reload ends
    assert [error for error in errors if "AbortError" not in error and "errored out" not in error] == []


def texts(page: "sync_api.Page") -> list[str]:
    return [box.input_value() for box in page.locator("[id^=text-] textarea:visible").all()]


def prompt(page: "sync_api.Page") -> "sync_api.Locator":
    return page.locator("#prompt textarea")


def run(page: "sync_api.Page", button: str = "generate") -> list[str]:
    """Press a button, wait for the end of the generation, and return the texts."""
    page.evaluate("document.querySelectorAll('#figures p').forEach(p => p.dataset.old = 1)")
    page.locator(f"#{button}").click()
    sync_api.expect(page.locator("#figures p:not([data-old])").first).to_contain_text("ended:", timeout=60_000)
    sync_api.expect(page.locator("#generate")).to_be_enabled()
    return texts(page)


def open_restored(page: "sync_api.Page", desk: RunningDesk) -> None:
    open_page(page, desk)
    page.locator("html.restored").wait_for()


def reload(page: "sync_api.Page") -> None:
    page.reload()
    page.locator("html.restored").wait_for()


def test_a_reload_and_another_start_of_the_desk_lose_nothing(home: Path, context: "sync_api.BrowserContext") -> None:
    page = context.new_page()
    with public_desk(home) as desk:
        open_restored(page, desk)
        put(page, "n", 2)
        put(page, "max-new-tokens", 20)
        put(page, "temperature", 0.6)
        prompt(page).fill("A fox of mine")
        written = run(page)
        seed = page.locator("#seed input, #seed textarea").first.input_value()
        reload(page)
        sync_api.expect(prompt(page)).to_have_value("A fox of mine")
        assert texts(page) == written
        assert page.locator("#temperature input[type=number]").input_value() == "0.6"
        assert page.locator("#seed input, #seed textarea").first.input_value() == seed
        longer = run(page, "continue-2")
        assert longer[0] == written[0]
        assert longer[1].startswith(written[1])
        assert len(longer[1]) > len(written[1])
    with public_desk(home, port=desk.url.rpartition(":")[2].strip("/")):
        reload(page)
        sync_api.expect(page.locator("#text-2 textarea")).to_have_value(longer[1])
        assert texts(page) == longer
        page.locator("#keep-2").click()
        sync_api.expect(page.locator("#text-2")).to_be_hidden()
        prompt(page).fill("Another prompt")
        reload(page)  # at once
        sync_api.expect(prompt(page)).to_have_value("Another prompt")
        assert texts(page) == longer[1:]


def test_a_reload_in_the_middle_of_a_text_keeps_it_so_far(
    desk: RunningDesk, context: "sync_api.BrowserContext"
) -> None:
    page = context.new_page()
    open_restored(page, desk)
    page.wait_for_timeout(1000)  # a desk that has just started may still be answering the page that opens
    choose(page, "model", "slow")
    sync_api.expect(page.locator("#count")).to_contain_text("of 4096")
    put(page, "n", 2)
    put(page, "max-new-tokens", 1000)
    prompt(page).fill("Abc")
    page.locator("#generate").press("Enter")
    page.wait_for_function("document.querySelector('#text-2 textarea')?.value.length > 30")
    seen = texts(page)
    assert page.locator("#model input").input_value() == "slow"
    reload(page)
    sync_api.expect(page.locator("#model input")).to_have_value("slow")
    now = texts(page)
    assert [text[: len(before)] for text, before in zip(now, seen, strict=True)] == seen
    page.locator("#text-1 textarea").fill("Edited by hand")
    page.wait_for_function("localStorage.getItem('gptdesk-visitor')?.includes('Edited by hand')")
    page.close()  # as when a phone kills the tab
    page = context.new_page()
    open_restored(page, desk)
    sync_api.expect(page.locator("#text-2 textarea")).to_have_value(now[1])
    assert texts(page) == ["Edited by hand", now[1]]


def test_only_this_browser_has_them_and_a_button_clears_them(
    desk: RunningDesk, home: Path, browser: "sync_api.Browser", context: "sync_api.BrowserContext"
) -> None:
    files = sorted(home.rglob("*"))
    page = context.new_page()
    open_restored(page, desk)
    prompt(page).fill(HOSTILE)
    page.locator("#text-1 textarea").fill(HOSTILE)
    reload(page)
    sync_api.expect(prompt(page)).to_have_value(HOSTILE)
    assert texts(page) == [HOSTILE]
    assert page.evaluate("window.pwned") is None
    assert page.locator("img[onerror]").count() == 0
    elsewhere = browser.new_context()
    other = elsewhere.new_page()
    open_restored(other, desk)
    assert (prompt(other).input_value(), texts(other)) == ("", [""])
    assert other.evaluate(f"localStorage.getItem('{STORED}')") is None
    elsewhere.close()
    assert sorted(home.rglob("*")) == files  # nothing of it is on the desk

    clear = page.get_by_role("button", name="Clear")
    sync_api.expect(page.locator("#kept-here")).to_contain_text("in this browser alone", use_inner_text=True)
    clear.click()
    assert texts(page) == [HOSTILE]
    page.get_by_role("button", name="Press again to clear").click()
    page.wait_for_function("document.querySelector('#prompt textarea')?.value === ''")
    page.locator("html.restored").wait_for()
    assert (prompt(page).input_value(), texts(page)) == ("", [""])
    assert page.evaluate(f"localStorage.getItem('{STORED}')") is None


def test_what_is_kept_is_bounded_and_the_newest_stays(desk: RunningDesk, context: "sync_api.BrowserContext") -> None:
    page = context.new_page()
    open_restored(page, desk)
    put(page, "n", 3)
    put(page, "max-new-tokens", 1)
    run(page)
    prompt(page).fill("p" * 100_001)
    for number in (1, 2, 3):
        page.locator(f"#text-{number} textarea").fill(f"{number}" + "é" * 60_000)  # of two bytes
    page.wait_for_timeout(1200)
    stored = page.evaluate(f"localStorage.getItem('{STORED}')")
    assert len(stored.encode()) < 300_000
    reload(page)
    sync_api.expect(page.locator("#text-2 textarea")).not_to_have_value("")
    assert prompt(page).input_value() == ""
    assert [text[0] for text in texts(page)] == ["2", "3"]


@pytest.mark.parametrize("fault", [BLOCKED, FULL], ids=["blocked", "full"])
def test_a_browser_that_stores_nothing_shows_the_page_and_says_so(
    desk: RunningDesk, context: "sync_api.BrowserContext", fault: str
) -> None:
    page = context.new_page()
    page.add_init_script(fault)
    open_restored(page, desk)
    put(page, "max-new-tokens", 5)
    prompt(page).fill("A fox")
    assert run(page)[0].startswith("A fox")
    sync_api.expect(page.locator("#kept-here")).to_contain_text("This browser keeps nothing", use_inner_text=True)
    reload(page)
    assert prompt(page).input_value() == ""


DAMAGED = (
    "{",
    "7",
    "[" * 50_000,
    "x" * 400_000,
    json.dumps({"texts": 7, "settings": 7}),
    json.dumps({"texts": [1, None], "settings": {"prompt": ["a"], "model": [1], "n": 99, "chain": {}, "top-k": {}}}),
    json.dumps({"texts": ["\ud800"] * 20, "settings": {"prompt": "\ud800", "model": "gone", "seed": "\ud800"}}),
)


def test_whatever_the_browser_has_stored_the_page_opens(desk: RunningDesk, context: "sync_api.BrowserContext") -> None:
    page = context.new_page()
    for stored in DAMAGED:
        page.goto(desk.url.rstrip("/") + "/health")  # of the same origin, without the script that writes the copy
        page.evaluate("([name, stored]) => localStorage.setItem(name, stored)", [STORED, stored])
        open_restored(page, desk)
        sync_api.expect(page.locator("#count")).not_to_be_empty()
    sync_api.expect(page.locator("#text-8 textarea")).to_have_value("\ufffd")  # half of a character
    assert texts(page) == ["\ufffd"] * 8
    put(page, "n", 1)
    put(page, "max-new-tokens", 5)
    prompt(page).fill("A fox")
    assert run(page)[0].startswith("A fox")


class TableRequests:
    """Requests of a page for the table of a token, or its flip points."""

    ASKS = """number => {
      const {components, dependencies} = gradio_config, {outputs} = dependencies.find(one => one.id === number);
      const name = components.find(one => one.id === outputs[0])?.props.elem_id;
      return outputs.length === 1 && /^token-(explanation|heading)$/.test(name);
    }"""

    def __init__(self, page: "sync_api.Page") -> None:
        self._page, self._numbers = page, list[int]()
        page.on("request", self._note)

    def _note(self, request: "sync_api.Request") -> None:
        if request.method == "POST" and (found := re.search(r'"fn_index":(\d+)', request.post_data or "")):
            self._numbers.append(int(found[1]))

    def after(self, *, temperature: float) -> int:
        """Return how many a move of the slider sends."""
        self._numbers.clear()
        put(self._page, "temperature", temperature)
        self._page.wait_for_timeout(500)
        assert self._numbers  # that the preset is changed is asked for
        return sum(self._page.evaluate(self.ASKS, number) for number in self._numbers)


def test_tokens_of_a_text_are_bounded_shown_as_text_and_the_visitors_own(
    desk: RunningDesk, context: "sync_api.BrowserContext"
) -> None:
    expect = sync_api.expect
    page = context.new_page()
    open_restored(page, desk)
    asked = TableRequests(page)
    choose(page, "model", "long")
    put(page, "max-new-tokens", 10)
    prompt(page).fill("abc" * 400)
    run(page)
    assert asked.after(temperature=0.7) == 0  # the view is closed
    page.locator("#tokens-1").click()
    chips = page.locator(".tokens button")
    expect(chips.last).to_be_visible()
    assert page.locator(".tokens button:not(.cut, .end)").count() == 1024
    assert asked.after(temperature=0.8) == 0  # no token is picked
    chips.nth(-2).click()
    table = page.locator(".token-table tbody tr")
    expect(table.first).to_be_visible()
    cells = table.first.inner_text()
    assert asked.after(temperature=0.3) > 0
    expect(table.first).not_to_have_text(cells, use_inner_text=True)

    # another session that names the same token, or branches from it, gets nothing of this one
    shown = page.locator("#token-explanation").inner_text()
    visitor = Visitor(desk.url)
    for ident in ("token-picked", "token-branched"):
        event = visitor.event(ident, "change")
        given = {ident.replace("-", "_"): '{"i": 1205, "token": 3, "n": 1}'}
        answer = str(visitor.run(event, visitor.values(event, **given)))
        assert "are no longer shown" in answer
        assert "token-table" not in answer
    visitor.close()
    assert page.locator("#token-explanation").inner_text() == shown
    page.locator("#tokens-1").click()
    expect(chips).to_have_count(0)
    assert asked.after(temperature=1.1) == 0

    # hostile text, of letters that the model knows
    page.locator("#text-1 textarea").fill("</span><img src=x onerror=pwned>")
    page.locator("#tokens-1").click()
    expect(page.locator(".tokens")).to_contain_text("<")
    chips.nth(8).click()
    expect(page.locator(".token-heading")).to_be_visible()
    page.locator("#token-search :is(input, textarea)").first.fill(HOSTILE)
    page.wait_for_timeout(400)
    assert page.locator("img[onerror]").count() == 0
    assert page.evaluate("window.pwned") is None


def test_learn_is_bounded_shows_text_as_text_and_keeps_nothing(
    desk: RunningDesk, home: Path, context: "sync_api.BrowserContext"
) -> None:
    expect = sync_api.expect
    slow = {"timeout": 60_000}
    files = sorted(home.rglob("*"))
    page = context.new_page()
    open_restored(page, desk)
    assert "train-text" not in page.content()  # the script of a form that is not there
    page.get_by_role("tab", name="Learn").click()
    page.get_by_role("tab", name="Inside the model").click()
    settle(page)
    page.locator("#inside-text textarea").fill(f"{HOSTILE} " * 30)
    page.locator("#inside-show").click()
    expect(page.locator(".words button").first).to_be_visible(**slow)
    assert page.locator("#inside-maps .words button").count() == 64
    page.get_by_role("tab", name="Tokenizer").click()
    settle(page)
    page.locator("#tokens-text :is(input, textarea)").fill(HOSTILE)
    page.locator("#tokens-show").click()
    expect(page.locator("#tokens-chips")).to_contain_text("<")
    page.locator("#tokens-text :is(input, textarea)").fill("x" * 5_001)
    page.locator("#tokens-show").click()
    expect(page.locator("#tokens-count")).to_contain_text("5,000 can be shown")
    page.get_by_role("tab", name="Shannon's game").click()
    page.locator("#game-start").click()
    expect(page.locator("#game-story .story")).to_contain_text("____", **slow)
    page.locator("#game-word :is(input, textarea)").fill("<img/src/onerror=pwned=3>")
    page.locator("#game-guess").click()
    expect(page.locator("#game-result tbody td").first).to_contain_text("<img")
    page.get_by_role("tab", name="Lessons").click()
    page.get_by_role("radio", name="Attention").click()
    page.locator("#lesson-start").click()
    expect(page.locator("#lesson-question h4").first).to_have_text("Task 1 of 3", **slow)
    page.locator("#lesson-answer label").first.click()
    page.locator("#lesson-check").click()
    expect(page.locator("#lesson-verdict .verdict")).to_be_visible()
    assert page.evaluate("window.pwned") is None
    assert page.locator("img[onerror]").count() == 0
    assert sorted(home.rglob("*")) == files

    # the game of one visitor is not another's
    visitor = Visitor(desk.url)
    event = visitor.event("game-guess")
    assert "there is no story" in str(visitor.run(event, visitor.values(event, game_word="fox")))
    visitor.close()
