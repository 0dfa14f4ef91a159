"""The Generate tab in a real browser: no text is lost, and inputs keep to what was typed."""

from pathlib import Path

import pytest
import torch
from page_checks import NEEDS_BROWSER, RunningDesk, choose, open_page, put

from models.checkpoint import About, save_checkpoint
from models.gpt import GPT, GPTConfig
from models.tokenizer import character_tokenizer

sync_api = pytest.importorskip("playwright.sync_api")
pytestmark = NEEDS_BROWSER
EXAMPLE = "Dear diary,"


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Create a home with a slow model, and a fast one whose context has 64 characters."""
    home = tmp_path_factory.mktemp("home")
    tokenizer = character_tokenizer("abcdefghijklmnopqrstuvwxyz ABCDEFGHIJKLMNOPQRSTUVWXYZ.,\n")
    torch.manual_seed(1)
    for name, context, layers, width in (("slow", 4096, 6, 768), ("short", 64, 1, 32)):
        model = GPT(GPTConfig(tokenizer.vocab_size, block_size=context, n_layer=layers, n_head=2, n_embd=width))
        save_checkpoint(home / "models" / name, model, tokenizer=tokenizer, about=About(source="a test"))
    return home


def texts(page: "sync_api.Page") -> list[str]:
    """Return the texts of the boxes shown."""
    return [box.input_value() for box in page.locator("[id^=text-] textarea:visible").all()]


def run(page: "sync_api.Page", button: str = "generate") -> list[str]:
    """Press a button, wait for the end of the generation, and return the texts."""
    page.evaluate("document.querySelectorAll('#figures p').forEach(p => p.dataset.old = 1)")
    page.locator(f"#{button}").click()
    sync_api.expect(page.locator("#figures p:not([data-old])").first).to_contain_text("ended:", timeout=60_000)
    sync_api.expect(page.locator("#generate")).to_be_enabled()
    return texts(page)


def prompt(page: "sync_api.Page") -> "sync_api.Locator":
    return page.locator("#prompt textarea")


def number(page: "sync_api.Page", name: str) -> "sync_api.Locator":
    return page.locator(f"#{name} input[type=number]")


def labels(page: "sync_api.Page") -> list[str]:
    return [one.inner_text() for one in page.locator("[id^=text-] [data-testid=block-info]:visible").all()]


def three(page: "sync_api.Page") -> list[str]:
    choose(page, "model", "short")
    put(page, "max-new-tokens", 10)
    put(page, "n", 3)
    prompt(page).fill("The fox")
    return run(page)


def test_continue_extends_the_chosen_text_alone_and_undo_goes_back(page: "sync_api.Page") -> None:
    first, second, third = three(page)
    sync_api.expect(page.locator("#undo")).to_be_enabled()
    page.locator("#chosen input").nth(1).check()
    put(page, "n", 1)  # how many the next Generate makes is another matter
    after = run(page, "continue")
    assert (after[0], after[2]) == (first, third)
    assert after[1].startswith(second)
    assert len(after[1]) == len(second) + 10
    sync_api.expect(page.locator("#chosen input").nth(1)).to_be_checked()
    page.locator("#undo").click()
    sync_api.expect(page.locator("#text-2 textarea")).to_have_value(second)
    assert texts(page) == [first, second, third]
    replaced = run(page)
    assert len(replaced) == 1
    page.locator("#undo").click()
    sync_api.expect(page.locator("#text-3")).to_be_visible()
    assert texts(page) == [first, second, third]
    page.locator("#undo").click()
    sync_api.expect(page.locator("#text-2")).to_be_hidden()
    assert texts(page) == [""]
    sync_api.expect(page.locator("#undo")).to_be_disabled()


def test_a_reload_brings_back_chooser_labels_edits_and_undo(page: "sync_api.Page", desk: RunningDesk) -> None:
    first, second, third = three(page)
    box = page.locator("#text-2 textarea")
    box.focus()
    box.press("Control+End")
    for _ in range(3):
        box.press("Backspace")  # which Gradio does not take for input
    edited = second[:-3]
    page.wait_for_timeout(900)
    open_page(page, desk)
    sync_api.expect(page.locator("#text-2 textarea")).to_have_value(edited)
    assert texts(page) == [first, edited, third]
    assert labels(page) == ["Text 1", "Text 2", "Text 3"]
    assert page.locator("#chosen input").count() == 3
    page.locator("#chosen input").nth(2).check()
    assert run(page, "continue")[2].startswith(third)
    for _ in range(2):
        page.locator("#undo").click()
        page.wait_for_timeout(300)
    assert texts(page) == [""]


def test_a_reload_in_the_middle_keeps_the_text_so_far(browser: "sync_api.Browser", desk: RunningDesk) -> None:
    page = browser.new_page()  # unwatched: Gradio complains of the connection that the reload cuts
    open_page(page, desk)
    choose(page, "model", "slow")
    put(page, "max-new-tokens", 1000)
    prompt(page).fill("The fox")
    page.locator("#generate").click()
    page.wait_for_function("document.querySelector('#text-1 textarea').value.length > 60")
    open_page(page, desk)
    page.wait_for_function("document.querySelector('#text-1 textarea').value.length > 20")
    assert texts(page)[0].startswith("The fox")
    page.close()


def test_a_pasted_seed_is_the_one_that_is_used(page: "sync_api.Page") -> None:
    choose(page, "model", "short")
    put(page, "max-new-tokens", 5)
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    page.evaluate("navigator.clipboard.writeText('42')")
    sync_api.expect(page.locator("#new-seed input")).to_be_checked()
    page.locator("#seed input").click()
    page.keyboard.press("Control+a")
    page.keyboard.press("Control+v")
    sync_api.expect(page.locator("#new-seed input")).not_to_be_checked()
    run(page)
    sync_api.expect(page.locator("#figures")).to_contain_text("seed 42")


def test_an_example_can_be_taken_back(page: "sync_api.Page") -> None:
    own = "My own beginning, which took an hour"
    prompt(page).press_sequentially(own)
    page.get_by_role("button", name=EXAMPLE).click()
    sync_api.expect(prompt(page)).to_have_value(EXAMPLE)
    page.keyboard.press("Control+z")
    sync_api.expect(prompt(page)).to_have_value(own)
    page.get_by_role("button", name=EXAMPLE).click()
    sync_api.expect(prompt(page)).to_have_value(EXAMPLE)
    sync_api.expect(page.locator("#count")).to_contain_text("of 256 tokens")
    sync_api.expect(page.locator("#undo")).to_be_enabled()
    page.locator("#undo").click()
    sync_api.expect(prompt(page)).to_have_value(own)


def test_tab_closes_the_lists_it_leaves_and_escape_stops(page: "sync_api.Page") -> None:
    choose(page, "model", "slow")
    put(page, "max-new-tokens", 1000)
    page.locator("#model input").focus()
    for name in ("precision", "preset"):
        page.keyboard.press("Tab")
        sync_api.expect(page.locator(f"#{name} input")).to_be_focused()
        sync_api.expect(page.locator("[role=listbox]")).to_have_count(1)  # its own
    page.keyboard.press("Tab")
    sync_api.expect(page.locator("[role=listbox]")).to_have_count(0)
    page.keyboard.press("Control+Enter")
    page.wait_for_function("document.querySelector('#text-1 textarea').value.length > 10")
    page.keyboard.press("Escape")
    sync_api.expect(page.locator("#figures")).to_contain_text("you stopped it")


def test_numbers_that_are_cleared_or_out_of_range(page: "sync_api.Page") -> None:
    for name, before in (("top-p", "0.9"), ("max-new-tokens", "150")):
        number(page, name).fill(before)
        number(page, name).press("Tab")
        number(page, name).fill("")
        number(page, name).press("Tab")
        sync_api.expect(number(page, name)).to_have_value(before)
    for name, typed, becomes in (("top-p", "2", "1"), ("n", "0", "1"), ("temperature", "-1", "0")):
        number(page, name).fill(typed)
        number(page, name).press("Tab")
        sync_api.expect(number(page, name)).to_have_value(becomes)
        sync_api.expect(page.locator(f"#{name} .range-note")).to_contain_text(f"{typed} became {becomes}")
        put(page, name, "1")
        sync_api.expect(page.locator(f"#{name} .range-note")).to_have_count(0)


def test_the_most_new_tokens_follow_the_model(page: "sync_api.Page", desk: RunningDesk) -> None:
    most = page.locator("#max-new-tokens input[type=range]")
    sync_api.expect(most).to_have_attribute("max", "256")
    choose(page, "model", "short")
    sync_api.expect(most).to_have_attribute("max", "64")
    sync_api.expect(number(page, "max-new-tokens")).to_have_value("64")
    sync_api.expect(page.locator("#max-new-tokens .range-note")).to_contain_text("200 became 64")
    choose(page, "model", "slow")
    sync_api.expect(most).to_have_attribute("max", "1000")
    put(page, "max-new-tokens", 900)
    page.wait_for_timeout(2_000)  # until it is saved, also by a busy machine: a request cut off is an error of the page
    open_page(page, desk)
    sync_api.expect(number(page, "max-new-tokens")).to_have_value("900")


def test_a_stop_string_is_named(page: "sync_api.Page") -> None:
    choose(page, "model", "short")
    put(page, "max-new-tokens", 64)
    page.get_by_role("button", name="More").click()
    page.locator("#stop-strings textarea").fill("\n".join("aeiou"))
    run(page)
    sync_api.expect(page.locator("#figures")).to_contain_text('ended: stop string "')


def test_hebrew_is_written_from_the_right(page: "sync_api.Page") -> None:
    prompt(page).fill("שלום עולם")
    assert prompt(page).evaluate("box => getComputedStyle(box).unicodeBidi") == "plaintext"
    ink = """box => {
      const twin = document.createElement("div");
      const style = getComputedStyle(box);
      Object.assign(twin.style, {width: "300px", direction: style.direction, unicodeBidi: style.unicodeBidi,
        textAlign: style.textAlign});
      twin.textContent = box.value;
      document.body.append(twin);
      const range = document.createRange();
      range.selectNodeContents(twin);
      const [text, whole] = [range.getBoundingClientRect(), twin.getBoundingClientRect()];
      twin.remove();
      return [text.left - whole.left, whole.right - text.right];
    }"""
    left, right = prompt(page).evaluate(ink)
    assert right < 2 < left
    prompt(page).fill("Hello")
    left, right = prompt(page).evaluate(ink)
    assert left < 2 < right
