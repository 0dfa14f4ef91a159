"""The Generate tab in a real browser: no text is lost, and inputs keep to what was typed."""

import json
import re
from pathlib import Path

import pytest
import torch
from page_checks import NEEDS_BROWSER, WINDOW, RunningDesk, choose, details, open_page, put, unfold, until_saved

from gptdesk.history import History
from models.checkpoint import About, save_checkpoint
from models.gpt import GPT, GPTConfig
from models.tokenizer import character_tokenizer

sync_api = pytest.importorskip("playwright.sync_api")
pytestmark = NEEDS_BROWSER
EXAMPLE = "Dear diary,"
# clicks on Generate as soon as it is there again, as one does who wanted to press Stop
LATE_CLICK = """() => {
  let isBusy = false;
  const timer = setInterval(() => {
    const button = document.querySelector("#generate");
    isBusy ||= button.disabled;
    if (!isBusy || button.disabled) return;
    clearInterval(timer);
    window.late = true;
    const {x, y, width, height} = button.getBoundingClientRect();
    const hit = document.elementFromPoint(x + width / 2, y + height / 2);
    hit.dispatchEvent(new MouseEvent("click", {bubbles: true, detail: 1}));
  }, 10);
}"""


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
    page.locator(f"#{button}").click()  # a key would not wait until it is shown and can be pressed
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
    put(page, "n", 1)  # how many the next Generate makes is another matter
    after = run(page, "continue-2")
    sync_api.expect(page.locator("#continue-2")).to_be_focused()  # although the run was short
    assert (after[0], after[2]) == (first, third)
    assert after[1].startswith(second)
    assert len(after[1]) == len(second) + 10
    page.locator("#undo").click()
    sync_api.expect(page.locator("#text-2 textarea")).to_have_value(second)
    assert texts(page) == [first, second, third]
    page.locator("#keep-3").click()
    sync_api.expect(page.locator("#text-2")).to_be_hidden()
    assert texts(page) == [third]
    sync_api.expect(page.locator("#figures")).to_contain_text("Text 3 was kept.")  # not the tokens of all three
    sync_api.expect(page.locator("#keep-1")).to_be_hidden()  # of one text there is nothing to choose
    page.locator("#undo").click()
    sync_api.expect(page.locator("#text-3")).to_be_visible()
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


def test_a_reload_brings_back_cards_labels_edits_and_undo(page: "sync_api.Page", desk: RunningDesk, home: Path) -> None:
    first, second, third = three(page)
    box = page.locator("#text-2 textarea")
    box.focus()
    box.press("Control+End")
    for _ in range(3):
        box.press("Backspace")  # which Gradio does not take for input
    edited = second[:-3]
    until_saved(page, home, json.dumps(edited))
    open_page(page, desk)
    sync_api.expect(page.locator("#text-2 textarea")).to_have_value(edited)
    assert texts(page) == [first, edited, third]
    assert labels(page) == ["Text 1", "Text 2", "Text 3"]
    assert run(page, "continue-3")[2].startswith(third)
    page.locator("#undo").click()
    sync_api.expect(page.locator("#text-3 textarea")).to_have_value(third)
    page.locator("#undo").click()
    sync_api.expect(page.locator("#text-2")).to_be_hidden()
    sync_api.expect(page.locator("#text-1 textarea")).to_have_value("")
    assert texts(page) == [""]


def test_a_reload_in_the_middle_keeps_the_text_so_far_and_a_reading_speed_slows_the_showing_alone(
    browser: "sync_api.Browser", desk: RunningDesk, home: Path
) -> None:
    (page,) = browser.contexts[0].pages  # unwatched: Gradio complains of the connection that the reload cuts
    open_page(page, desk)
    choose(page, "model", "slow")
    put(page, "max-new-tokens", 1000)
    prompt(page).fill("The fox")
    page.locator("#generate").click()
    page.wait_for_function("document.querySelector('#text-1 textarea').value.length > 60")
    open_page(page, desk)
    page.wait_for_function("document.querySelector('#text-1 textarea').value.length > 20")
    assert texts(page)[0].startswith("The fox")
    page.wait_for_timeout(1000)  # the opened tab lists the models anew
    assert page.locator("#model input").input_value() == "slow"

    box, figures = page.locator("#text-1 textarea"), page.locator("#figures")
    put(page, "max-new-tokens", 60)
    unfold(page, "more")
    put(page, "reading-speed", 10)  # a word each 6 s
    page.locator("#generate").click()
    sync_api.expect(figures).to_contain_text(" tokens/s · ended: max new tokens reached · shown at 10 words a minute")
    page.keyboard.press("Escape")
    sync_api.expect(figures).to_contain_text("The model had written more, which the history has.")
    sync_api.expect(page.locator("#generate")).to_be_enabled()
    written = written_last(home)
    assert len(written) == len("The fox") + 60
    shown = box.input_value()
    assert "The fox" < shown < written
    assert written.startswith(shown)
    open_page(page, desk)
    sync_api.expect(box).to_have_value(shown)
    unfold(page, "more")
    sync_api.expect(number(page, "reading-speed")).to_have_value("10")
    page.locator("#generate").click()
    sync_api.expect(figures).to_contain_text("ended: max new tokens reached")
    assert len(box.input_value()) < len(written_last(home))
    open_page(page, desk)  # what was not shown is not lost
    sync_api.expect(box).to_have_value(written_last(home))
    unfold(page, "more")
    put(page, "reading-speed", 0)
    run(page)
    sync_api.expect(figures).not_to_contain_text("words a minute")


def written_last(home: Path) -> str:
    """Return the prompt and text of the newest entry of the history."""
    history = History(home / "history.sqlite")
    entry = history.entry(history.search()[0].id)
    history.close()
    return entry.prompt + entry.sequences[0].text


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
    sync_api.expect(details(page)).to_contain_text("seed 42")


def test_an_example_and_a_saved_prompt_can_be_taken_back(page: "sync_api.Page") -> None:
    own = "My own beginning, which took an hour"
    prompt(page).press_sequentially(own)
    page.get_by_role("button", name=EXAMPLE).click()
    sync_api.expect(prompt(page)).to_have_value(EXAMPLE)
    sync_api.expect(page.locator("#undo")).to_be_enabled()  # its event has ended
    page.keyboard.press("Control+z")
    sync_api.expect(prompt(page)).to_have_value(own)
    page.get_by_role("button", name=EXAMPLE).click()
    sync_api.expect(prompt(page)).to_have_value(EXAMPLE)
    sync_api.expect(page.locator("#count")).to_contain_text("of 256 tokens")
    sync_api.expect(page.locator("#undo")).to_be_enabled()
    page.locator("#undo").click()
    sync_api.expect(prompt(page)).to_have_value(own)

    prompt(page).fill("A <b>sea</b> of ${words}")
    unfold(page, "prompt-options")
    page.locator("#prompt-name").locator("input, textarea").fill("poems/sea")
    page.locator("#prompt-save").click()
    sync_api.expect(page.get_by_text("Saved as poems/sea.")).to_be_visible()
    prompt(page).fill("My own beginning")
    page.get_by_role("tab", name="Settings").click()  # where it can be renamed
    page.get_by_role("tab", name="Generate").click()
    choose(page, "saved-prompt", "poems/sea")
    sync_api.expect(prompt(page)).to_have_value("A <b>sea</b> of ${words}")
    sync_api.expect(page.locator("#undo")).to_be_enabled()
    page.locator("#undo").click()
    sync_api.expect(prompt(page)).to_have_value("My own beginning")


def test_keys_close_the_lists_they_leave_and_stop_a_run_also_one_that_has_not_begun(page: "sync_api.Page") -> None:
    choose(page, "model", "slow")
    choose(page, "precision", "int8")
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
    assert page.locator("#precision input").input_value() == "int8"  # leaving the list of models changes nothing

    # in quick succession
    sync_api.expect(page.locator("#generate")).to_be_enabled()
    opened = page.locator("input[role=combobox][aria-expanded=true]")
    page.locator("#model input").focus()
    for key in ("ArrowDown", "Tab", "ArrowDown", "Tab", "ArrowDown", "Tab", "ArrowDown", "Tab"):
        page.keyboard.press(key)
    sync_api.expect(opened).to_have_count(0)
    page.wait_for_timeout(1_200)  # until nothing closes lists by itself
    page.evaluate("""() => {  // each list opens although another input has the focus
      document.querySelector("#prompt textarea").focus();
      for (const list of document.querySelectorAll("#model input, #preset input"))
        list.dispatchEvent(new FocusEvent("focus"));
    }""")
    sync_api.expect(opened).to_have_count(2)
    page.keyboard.press("Escape")
    sync_api.expect(opened).to_have_count(0)
    number(page, "top-p").focus()
    page.evaluate("document.querySelectorAll('#figures p').forEach(p => p.dataset.old = 1)")
    page.evaluate("""() => {
      const press = (key, ctrlKey = false) => document.activeElement.dispatchEvent(
        new KeyboardEvent("keydown", {key, ctrlKey, bubbles: true, cancelable: true}));
      press("Enter", true);
      press("Escape");
    }""")
    said = page.locator("#figures p:not([data-old])").first
    sync_api.expect(said).to_contain_text(re.compile("[Yy]ou stopped it"), timeout=60_000)
    sync_api.expect(page.locator("#generate")).to_be_enabled()


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


def test_the_most_new_tokens_follow_the_model(page: "sync_api.Page", desk: RunningDesk, home: Path) -> None:
    most = page.locator("#max-new-tokens input[type=range]")
    sync_api.expect(most).to_have_attribute("max", "256")
    choose(page, "model", "short")
    sync_api.expect(most).to_have_attribute("max", "64")
    sync_api.expect(number(page, "max-new-tokens")).to_have_value("64")
    sync_api.expect(page.locator("#max-new-tokens .range-note")).to_contain_text("200 became 64")
    choose(page, "model", "slow")
    sync_api.expect(most).to_have_attribute("max", "1000")
    put(page, "max-new-tokens", 900)
    until_saved(page, home, '"max_new_tokens": 900')
    open_page(page, desk)
    sync_api.expect(number(page, "max-new-tokens")).to_have_value("900")


def test_a_stop_string_is_named_choices_and_banned_phrases_hold_and_a_mistake_is_said(page: "sync_api.Page") -> None:
    choose(page, "model", "short")
    put(page, "max-new-tokens", 64)
    page.get_by_role("button", name="More").click()
    page.locator("#stop-strings textarea").fill("\n".join("aeiou"))
    page.locator("#stop-strings textarea").press("Tab")
    run(page)
    sync_api.expect(page.locator("#figures")).to_contain_text('ended: stop string "')
    page.locator("#stop-strings textarea").fill("")
    put(page, "max-new-tokens", 30)
    page.locator("#banned-phrases textarea").fill("e\n\n t")
    page.locator("#word-bias textarea").fill("fox: 3")
    run(page)
    text = page.locator("#text-1 textarea").input_value()
    assert text
    assert "e" not in text
    assert " t" not in text
    page.locator("#choices textarea").fill(" yes\n no")
    page.locator("#generate").click()
    sync_api.expect(page.get_by_text("the choice ' yes' cannot be spelled by tokens of the model")).to_be_visible()
    page.locator("#banned-phrases textarea").fill("zebra")
    run(page)
    assert page.locator("#text-1 textarea").input_value() in (" yes", " no")
    page.locator("#word-bias textarea").fill("fox")
    page.locator("#generate").click()
    sync_api.expect(page.get_by_text("a word bias is a word and a number such as dragon: 3")).to_be_visible()


CODE_EVENT = """() => {
  const {components, dependencies} = gradio_config;
  const button = components.find(one => one.props.elem_id === "code-update").id;
  return dependencies.find(one => one.targets.some(([id]) => id === button)).id;
}"""


def test_code_follows_a_change_that_comes_before_the_answer_to_the_one_before(page: "sync_api.Page") -> None:
    code, shown = page.evaluate(CODE_EVENT), page.locator("#request-code .cm-content")
    prompt(page).fill("Before")
    page.get_by_role("button", name="Use from code").click()
    sync_api.expect(shown).to_contain_text("Before")
    held: list[sync_api.Route] = []

    def hold(route: "sync_api.Route") -> None:
        if held or json.loads(route.request.post_data or "{}").get("fn_index") != code:
            route.continue_()
        else:
            held.append(route)

    page.route("**/gradio_api/run/predict", hold)
    prompt(page).fill("While it is read")
    for _ in range(300):
        if not held:
            page.wait_for_timeout(100)
    assert held, "the code was not asked for within 30 s"
    prompt(page).fill("After that")
    page.wait_for_timeout(2_500)  # four looks of the script, of which one presses the button
    held[0].continue_()
    sync_api.expect(shown).to_contain_text("After that")
    page.unroute_all()


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


def test_a_moved_sampler_keeps_the_seed_for_one_text_and_marks_the_preset(
    page: "sync_api.Page", desk: RunningDesk, home: Path
) -> None:
    seed = page.locator("#seed input, #seed textarea").first
    new_seed = page.locator("#new-seed input")
    temperature = page.locator("#temperature input[type=number]")
    temperature.fill("0.9")
    temperature.blur()
    sync_api.expect(page.locator("#preset").locator("xpath=ancestor-or-self::*[1]")).to_contain_text("changed")
    assert new_seed.is_checked()  # nothing has been generated that another text could be compared with
    run(page, "generate")
    drawn = seed.input_value()
    temperature.fill("0.2")
    temperature.blur()
    sync_api.expect(new_seed).not_to_be_checked()
    note, kept = page.locator("#seed-note"), "The next text uses the same seed"
    sync_api.expect(note).to_contain_text(kept)
    until_saved(page, home, f'"kept_seed": "{drawn}"')
    open_page(page, desk)
    sync_api.expect(note).to_contain_text(kept)
    run(page)
    assert seed.input_value() == drawn
    sync_api.expect(new_seed).to_be_checked()  # for that text alone
    sync_api.expect(note).not_to_contain_text(kept)
    run(page)
    assert seed.input_value() != drawn
    drawn = seed.input_value()
    unfold(page, "more")
    page.locator("#banned-phrases textarea").press_sequentially("dragon")
    sync_api.expect(note).to_contain_text(kept)
    run(page)
    assert seed.input_value() == drawn
    sync_api.expect(new_seed).to_be_checked()
    choose(page, "preset", "Careful")
    sync_api.expect(new_seed).not_to_be_checked()
    seed.fill("7")
    sync_api.expect(note).not_to_contain_text(kept)  # the user has decided
    first = run(page)
    sync_api.expect(new_seed).not_to_be_checked()
    page.evaluate(LATE_CLICK)
    assert run(page) == first
    page.wait_for_timeout(500)
    assert page.evaluate("window.late")
    sync_api.expect(page.locator("#figures")).to_contain_text("The text is the same as before: same seed.")
    put(page, "temperature", 1.5)
    run(page)
    page.locator("#compare-before").click()
    compared = page.locator("#history-compared")
    sync_api.expect(compared.locator(".pane")).to_have_count(2)
    page.wait_for_timeout(500)  # the tab that opens reads the list again
    sync_api.expect(compared).to_contain_text("temperature")


def test_the_prompt_is_pale_in_the_text_also_when_another_is_typed(page: "sync_api.Page") -> None:
    three(page)
    marks = page.locator("#canvas .veil mark")
    sync_api.expect(marks).to_have_text(["The fox"] * 3)
    prompt(page).fill("The")
    page.wait_for_timeout(600)  # looks of the script
    sync_api.expect(marks).to_have_text(["The fox"] * 3)
    veil, box = page.locator("#text-1 .veil").bounding_box(), page.locator("#text-1 textarea").bounding_box()
    assert veil is not None
    assert box is not None
    assert abs(veil["x"] - box["x"]) + abs(veil["y"] - box["y"]) < 2
    run(page)
    sync_api.expect(marks).to_have_text(["The"] * 3)
    # a short text after a long one leaves no empty lines
    box, heights = page.locator("#text-1 textarea"), []
    for text in ("a line\n" * 12, "one line"):
        box.fill(text)
        page.wait_for_timeout(300)
        heights.append(box.bounding_box()["height"])  # type: ignore[index]
    assert heights[0] > 200
    assert heights[1] < 80


def test_settings_fold_on_a_desktop_and_are_a_sheet_on_a_phone(page: "sync_api.Page") -> None:
    rail, button = page.locator("#rail"), page.locator("#rail-button")
    sync_api.expect(button).to_have_attribute("aria-expanded", "true")
    button.click()
    sync_api.expect(rail).to_be_hidden()
    page.reload()
    sync_api.expect(button).to_have_attribute("aria-expanded", "false")
    sync_api.expect(rail).to_be_hidden()
    button.click()
    sync_api.expect(rail).to_be_visible()
    page.set_viewport_size({"width": 390, "height": 844})
    sync_api.expect(rail).to_be_hidden()
    for close in ("Escape", "Enter"):
        button.focus()
        page.keyboard.press("Enter")
        sync_api.expect(page.get_by_role("dialog", name="Sampling")).to_be_visible()
        sync_api.expect(page.locator("#rail-close")).to_be_focused()
        page.keyboard.press("Shift+Tab")  # what is behind the sheet is out of reach
        sync_api.expect(page.locator("#rail-close")).to_be_focused()
        page.keyboard.press(close)
        sync_api.expect(rail).to_be_hidden()
        sync_api.expect(button).to_be_focused()


def test_stop_takes_the_place_of_generate_and_the_focus(page: "sync_api.Page") -> None:
    generate, stop = page.locator("#generate"), page.locator("#stop")
    page.locator("#show-me").focus()  # the button of the first visit stays where it is
    page.keyboard.press("Enter")
    sync_api.expect(page.locator("#figures")).to_contain_text("ended:")
    sync_api.expect(page.locator("#show-me")).to_be_focused()
    choose(page, "model", "slow")
    put(page, "max-new-tokens", 1000)
    prompt(page).fill("a")
    sync_api.expect(stop).to_be_hidden()
    generate.focus()
    page.keyboard.press("Enter")
    sync_api.expect(stop).to_be_focused()
    sync_api.expect(generate).to_be_hidden()
    live = page.locator("#live")
    sync_api.expect(live).to_have_text("Generating.")
    page.get_by_role("tab", name="Compare").click()
    page.wait_for_timeout(1200)  # two looks of the script
    sync_api.expect(live).to_have_text("Generating.")
    page.get_by_role("tab", name="Generate").click()
    stop.focus()
    page.keyboard.press("Enter")
    sync_api.expect(generate).to_be_focused()
    sync_api.expect(live).to_have_text("Generation ended.")
    sync_api.expect(stop).to_be_hidden()
    again = page.locator("#continue-1")
    sync_api.expect(again).to_be_visible()
    again.focus()
    page.keyboard.press("Enter")
    sync_api.expect(stop).to_be_focused()
    page.keyboard.press("Escape")
    sync_api.expect(again).to_be_focused()


def test_tokens_of_a_text_are_explained_and_branched_from(page: "sync_api.Page") -> None:
    expect = sync_api.expect
    choose(page, "model", "short")
    put(page, "max-new-tokens", 10)
    put(page, "n", 1)
    prompt(page).fill("The fox")
    [before] = run(page)
    page.locator("#tokens-1").click()
    chips = page.locator(".tokens button")
    expect(chips).to_have_count(18)  # a character each, and what comes next
    assert [chip.inner_text() for chip in chips.all()[:5]] == ["T", "h", "e", "·", "f"]
    expect(page.locator("#tokens-1")).to_have_attribute("aria-expanded", "true")
    chips.nth(8).focus()
    page.keyboard.press("ArrowRight")
    expect(page.locator(".token-tip")).to_contain_text("rank")
    page.keyboard.press("Enter")
    table = page.locator(".token-table tbody tr")
    expect(page.locator(".token-heading")).to_contain_text("Token 10")
    expect(page.locator(".token-heading")).to_contain_text("this seed")
    expect(table.filter(has_text="in the text")).to_have_count(1)
    # the table follows the slider on the logits that are there
    cells = table.first.inner_text()
    redrawn = page.locator("#token-redrawn")
    expect(redrawn).to_be_hidden()
    put(page, "temperature", 0.2)
    expect(table.first).not_to_have_text(cells, use_inner_text=True)
    put(page, "temperature", 0.8)
    expect(table.first).to_have_text(cells, use_inner_text=True)
    expect(redrawn).to_contain_text("this seed writes the same text.")
    # and so does the text: the first token that is drawn otherwise is crossed out, and those after it are marked
    put(page, "top-k", 1)
    expect(redrawn).to_contain_text("this seed writes the same text up to token")
    lines = chips.evaluate_all("chips => chips.map(chip => getComputedStyle(chip).textDecorationLine)")
    first = lines.index("line-through")
    assert first >= 7  # none of the prompt
    assert lines[:first] == ["none"] * first
    expect(redrawn).to_contain_text(f"up to token {first}, then")
    assert lines[first + 1 : 17] == ["underline"] * (16 - first)
    put(page, "top-k", 50)
    expect(redrawn).to_contain_text("this seed writes the same text.")
    expect(table.first).to_have_text(cells, use_inner_text=True)
    page.locator("#token-search input, #token-search textarea").first.fill("Q")
    expect(page.locator(".token-table tbody").get_by_text("Q", exact=True)).to_have_count(1)
    other = page.locator(".token-table tr:not(.own) .branches").first
    letter = other.evaluate("button => button.closest('tr').querySelector('b').textContent").replace("·", " ")
    page.evaluate("document.querySelectorAll('#figures p').forEach(p => p.dataset.old = 1)")
    other.click()
    expect(page.locator("#text-2 textarea")).not_to_have_value("")
    expect(page.locator("#generate")).to_be_enabled()
    kept, branched = texts(page)
    assert kept == before
    assert branched.startswith(before[:9] + letter.replace("⏎", "\n"))
    assert len(branched) == 20
    page.locator("#undo").click()
    expect(page.locator("#text-2")).to_be_hidden()
    assert texts(page) == [before]
    page.locator("#tokens-1").click()
    expect(chips).to_have_count(0)
    # a text that the model cannot spell is one sentence, shown as text
    page.locator("#text-1 textarea").fill("<img src=x onerror=alert(1)>")
    page.locator("#tokens-1").click()
    expect(page.locator(".token-fault")).to_contain_text("not among them: '<'")
    assert page.locator("#token-view img").count() == 0


def test_tokens_and_their_table_are_scrolled_to_below_long_texts(page: "sync_api.Page") -> None:
    choose(page, "model", "short")
    page.set_viewport_size({"width": 390, "height": 844})
    page.locator("#text-1 textarea").fill("The fox.\n" * 60)
    box = page.locator("#text-1 textarea")
    assert box.evaluate("box => box.scrollHeight <= box.clientHeight")  # the page scrolls, not the text
    page.locator("#tokens-1").click()
    is_seen = "element => { const {top} = element.getBoundingClientRect(); return top > -2 && top < innerHeight - 80; }"
    view = page.locator(".token-view")
    sync_api.expect(view).to_be_focused()
    page.wait_for_function(f"({is_seen})(document.querySelector('.token-view'))")
    page.locator(".tokens button:not(.cut)").nth(9).click()  # the first ones no longer fit the context
    page.locator(".token-table tbody").first.wait_for()
    page.wait_for_function(f"({is_seen})(document.querySelector('.token-table tbody'))")
    sync_api.expect(page.locator("#live")).to_contain_text("Token 485")


def test_contradictions_of_a_story_are_underlined_once_asked(page: "sync_api.Page") -> None:
    expect = sync_api.expect
    told = "Once upon a time, there was a shy boy named Tom. Tom had a red kite and took it everywhere."
    mill, beach = "They went to the old mill.", "They went to the beach."
    payload = "<img src=x onerror=pwned=1></span><script>pwned=2</script>."
    expect(page.locator("#story-check")).to_be_visible()
    page.locator("#text-1 textarea").fill(f"{told} {mill} {beach} {payload}")
    assert page.locator(".story-check").count() == 0  # nothing is read before it is opened
    unfold(page, "story-check")
    lie = page.locator(".story-check .lie")
    expect(lie).to_have_count(1, timeout=60_000)
    expect(page.locator(".story-check .summary")).to_contain_text("1 contradiction in 5 sentences. 1 sentence in grey")
    expect(page.locator(".story-check .unknown")).to_have_text(payload)
    assert page.evaluate("window.pwned") is None
    expect(page.locator(".story-check .broken")).to_have_count(0)
    page.locator("#story-check > button").focus()
    page.keyboard.press("Tab")
    expect(lie).to_be_focused()
    expect(page.locator(".story-check .broken")).to_have_text(mill)
    expect(page.locator(".story-check li.current")).to_contain_text("no way leads from there to the beach")
    expect(lie).to_have_accessible_description(re.compile("no way leads from there to the beach"))
    page.locator("#text-1 textarea").fill("The train was late.")
    page.locator("#story-check > button").click()
    page.locator("#story-check > button").click()
    expect(page.locator(".story-check")).to_contain_text("not a story of the starter's world")
    choose(page, "model", "short")
    expect(page.locator("#story-check")).to_be_hidden()
    choose(page, "model", "starter")
    put(page, "max-new-tokens", 5)
    run(page)
    expect(page.locator(".story-check")).to_have_count(0)
    expect(page.locator("#story-check > button")).not_to_have_class(re.compile(r"\bopen\b"))


def test_tokens_are_coloured_by_the_difference_to_another_model(page: "sync_api.Page") -> None:
    expect = sync_api.expect
    choose(page, "model", "short")
    choose(page, "precision", "float32")
    put(page, "max-new-tokens", 10)
    put(page, "n", 1)
    prompt(page).fill("The fox")
    run(page)
    page.locator("#tokens-1").click()
    chips = page.locator(".tokens button")
    expect(chips).to_have_count(18)
    expect(page.locator(".token-colour input")).to_have_count(3)
    choose(page, "token-beside", "short · int8")
    expect(page.locator(".token-colour input:checked")).to_have_value("difference")
    expect(page.locator(".token-head")).to_contain_text("short:int8: perplexity")
    own, other = (page.locator(".token-head").inner_text().split("perplexity ")[i].split(" ")[0] for i in (1, 2))
    assert float(own) == pytest.approx(float(other), rel=0.05)
    tips = [chip.get_attribute("data-tip") or "" for chip in chips.all()]
    assert "short:int8" not in tips[0]  # nothing comes before it
    assert all("short:int8 " in tip and "nats)" in tip for tip in tips[1:17])
    for chip, tip in zip(chips.all()[1:17], tips[1:17], strict=True):
        is_likelier = "likelier" in (chip.get_attribute("class") or "").split()
        assert is_likelier == ("(+" in tip and "(+0.000" not in tip) or "0.000" in tip
    choose(page, "token-beside", "starter · float32")  # of another tokenizer
    expect(page.locator(".token-fault")).to_contain_text("have different tokenizers")
    expect(chips).to_have_count(18)
    choose(page, "token-beside", "No other model")
    expect(page.locator(".token-colour input")).to_have_count(3)
    expect(page.locator(".token-colour input:checked")).to_have_value("probability")
    page.locator("#tokens-1").click()
    expect(page.locator("#token-beside")).to_be_hidden()


def test_branches_are_a_tree_that_keys_walk_and_a_reload_finds(page: "sync_api.Page", desk: RunningDesk) -> None:
    expect = sync_api.expect
    choose(page, "model", "short")
    put(page, "max-new-tokens", 6)
    put(page, "n", 1)
    prompt(page).fill("The fox")
    [first] = run(page)
    for depth in range(1, 6):  # from the last token but one of the text before
        page.locator(f"#tokens-{depth}").click()
        end = len(texts(page)[depth - 1])
        page.locator(f".token-view[data-card='{depth}'] .tokens button[data-i='{end - 2}']").click()
        expect(page.locator(f".token-table[data-place='{end - 2}']")).to_be_visible()
        expect(page.locator("#live")).to_contain_text(f"Token {end - 1}")  # once it was scrolled to
        page.locator(".token-table tr:not(.own) .branches").first.click()
        expect(page.locator(f"#text-{depth + 1} textarea")).not_to_have_value("")
        expect(page.locator("#generate")).to_be_enabled()
    written = texts(page)
    assert len(written) == 6
    assert page.locator(".branch-tree").count() == 0  # nothing is drawn while it is closed
    unfold(page, "tree")
    items, open_item = page.locator(".tree-items [role=treeitem]"), page.locator(".tree-items [aria-selected=true]")
    head = page.locator(".tree-head p")
    expect(items).to_have_count(7)
    expect(open_item).to_have_attribute("aria-level", "7")
    open_item.focus()
    for depth in range(5, 0, -1):  # back to the first text
        page.keyboard.press("ArrowUp")
        page.keyboard.press("Enter")
        expect(page.locator("#text-1 textarea")).to_have_value(written[depth - 1])
        expect(head).to_contain_text(f"level {depth + 1} is open")
        expect(open_item).to_be_focused()
    assert texts(page) == [first]
    page.keyboard.press("Control+z")
    expect(head).to_contain_text("level 3 is open")
    expect(page.locator("#text-1 textarea")).to_have_value(written[1])
    page.keyboard.press("Control+y")
    expect(page.locator("#text-1 textarea")).to_have_value(first)
    # variants below it, sorted; right and left among them
    put(page, "variants", 3)
    assert len(run(page, "write-below")) == 3
    expect(items).to_have_count(10)
    parent = page.locator(".tree-items [aria-level='2']").get_attribute("data-node")
    below = page.locator(f".tree-items [data-parent='{parent}']")
    means = [
        float(one.locator("span").inner_text().split(" ")[0].replace("\N{MINUS SIGN}", "-")) for one in below.all()
    ]
    assert means == sorted(means, reverse=True)
    below.first.focus()
    page.keyboard.press("ArrowRight")
    expect(below.nth(1)).to_be_focused()
    page.keyboard.press("ArrowLeft")
    page.keyboard.press("Delete")
    expect(below).to_have_count(3)
    left = items.count()
    page.locator(".tree-actions [data-do=undo]").click()
    expect(below).to_have_count(4)
    page.locator(".tree-actions [data-do=redo]").click()
    expect(items).to_have_count(left)
    level = head.inner_text().split(" · ")[1]
    open_page(page, desk)
    expect(page.locator(".branch-tree")).to_have_count(0)
    unfold(page, "tree")
    expect(items).to_have_count(left)
    expect(head).to_contain_text(level)
    page.set_viewport_size({"width": 390, "height": 844})  # the open text stays in the middle
    page.wait_for_function("""() => {  // where the tree goes on to both sides
      const open = document.querySelector(".tree-items [aria-selected=true]");
      const around = document.querySelector(".tree-scroll");
      const [inner, outer] = [open, around].map(one => one.getBoundingClientRect());
      const left = inner.left - outer.left, right = outer.right - inner.right;
      const isAtEnd = around.scrollLeft < 1 || around.scrollLeft > around.scrollWidth - around.clientWidth - 1;
      return isAtEnd ? left >= 0 && right >= 0 : Math.abs(left - right) < 40;
    }""")
    page.set_viewport_size(WINDOW)
    # also from the History tab, at the text that is chosen there
    page.get_by_role("tab", name="History").click()
    page.locator("#history-list label").nth(6).click()  # the first of the seven of this test
    page.locator("#history-tree").click()
    expect(page.locator("#text-1 textarea")).to_have_value(first)
    expect(items).to_have_count(left)
    expect(head).to_contain_text("level 2 is open")
