"""The Generate tab in a real browser, served by a real desk: texts, Stop, samplers, presets, mistakes."""

import subprocess
import sys
from pathlib import Path

import psutil
import pytest
import torch
from conftest import WHISPER
from page_checks import NEEDS_BROWSER, RunningDesk, choose, details, open_page, put, unfold

from models.checkpoint import About, save_checkpoint
from models.gpt import GPT, GPTConfig
from models.tokenizer import character_tokenizer

sync_api = pytest.importorskip("playwright.sync_api")
pytestmark = NEEDS_BROWSER


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home with a slow model that never ends by itself, a broken one, a plugin, and a broken one."""
    home = tmp_path_factory.mktemp("home")
    tokenizer = character_tokenizer("abcdefghijklmnopqrstuvwxyz ABCDEFGHIJKLMNOPQRSTUVWXYZ.,\n")
    torch.manual_seed(1)
    shape = {"n_layer": 6, "n_head": 12, "n_embd": 768}  # a thousand tokens take much longer than any step of a test
    slow = GPT(GPTConfig(vocab_size=tokenizer.vocab_size, block_size=4096, **shape))
    save_checkpoint(home / "models" / "slow", slow, tokenizer=tokenizer, about=About(source="a test"))
    (home / "models" / "broken").mkdir()
    (home / "models" / "broken" / "config.json").write_text("{")
    (home / "samplers").mkdir()
    (home / "samplers" / "whisper.py").write_text(WHISPER)
    (home / "samplers" / "broken.py").write_text("raise RuntimeError('no luck <b>here</b>')")
    return home


def text(page: "sync_api.Page", i: int = 1) -> str:
    return page.locator(f"#text-{i} textarea").input_value()


def figures(page: "sync_api.Page") -> str:
    """Return the stats line, without Gradio's hidden timer beside it."""
    line = page.locator("#figures span.md")
    return line.inner_text() if line.count() else ""


def generate(page: "sync_api.Page", prompt: str) -> str:
    page.locator("#prompt textarea").fill(prompt)
    before = figures(page)
    page.locator("#generate").click()
    finished(page, before)
    return text(page)


def finished(page: "sync_api.Page", before: str = "nothing") -> None:
    """Wait for the end of a generation, when the figures read `before` until it began."""
    page.wait_for_function(
        "before => (line => line && line.innerText !== before && line.innerText.includes('ended:'))"
        "(document.querySelector('#figures span.md'))",
        arg=before,
        timeout=60_000,
    )
    sync_api.expect(page.locator("#generate")).to_be_enabled()
    sync_api.expect(page.locator("#stop")).to_be_disabled()


def test_a_prompt_streams_and_the_figures_are_there(page: "sync_api.Page") -> None:
    choose(page, "model", "starter")
    shown = generate(page, "Once upon a time")
    assert shown.startswith("Once upon a time")
    assert len(shown) > 60
    assert "tokens/s" in figures(page)
    for part in ("starter · float32", "prompt", "first token after", "memory", "seed"):
        sync_api.expect(details(page)).to_contain_text(part)
    assert "tokens" in page.locator("#count").inner_text()

    put(page, "max-new-tokens", 5)  # text is never run
    for payload in ("<img src=x onerror=window.hit=1>", "${window.hit=1}", "{{7*7}}", "C:\\users\\x"):
        assert generate(page, payload).startswith(payload)
    assert page.evaluate("window.hit") is None


def test_stop_keeps_the_text_so_far(page: "sync_api.Page") -> None:
    choose(page, "model", "slow")
    put(page, "max-new-tokens", 1000)
    page.locator("#prompt textarea").fill("a")
    page.locator("#generate").click()
    page.wait_for_function("document.querySelector('#text-1 textarea').value.length > 20")
    early = text(page)
    page.wait_for_function(f"document.querySelector('#text-1 textarea').value.length > {len(early) + 10}")
    assert text(page).startswith(early)  # it streams, and only ever grows
    page.locator("#stop").click()
    finished(page)
    assert "you stopped it" in figures(page)
    kept = text(page)
    assert 30 < len(kept) < 1000
    page.wait_for_timeout(300)
    assert text(page) == kept

    before = figures(page)  # and by keys
    page.locator("#prompt textarea").fill("b")
    page.keyboard.press("Control+Enter")
    page.wait_for_function("document.querySelector('#text-1 textarea').value.startsWith('b')")
    page.wait_for_function("document.querySelector('#text-1 textarea').value.length > 20")
    page.keyboard.press("Escape")
    finished(page, before)
    assert "you stopped it" in figures(page)


def test_continue_goes_on_with_the_text(page: "sync_api.Page") -> None:
    choose(page, "model", "slow")
    put(page, "max-new-tokens", 30)
    first = generate(page, "c")
    page.locator("#continue-1").click()
    sync_api.expect(details(page)).to_contain_text(f"prompt {len(first)} tokens")
    finished(page)
    assert text(page).startswith(first)
    assert len(text(page)) == len(first) + 30


def test_seed_repeats_and_draw_new_does_not(page: "sync_api.Page") -> None:
    choose(page, "model", "starter")
    put(page, "max-new-tokens", 40)
    page.locator("#new-seed input").check()
    first = generate(page, "Once")
    seed = page.locator("#seed input").input_value()
    sync_api.expect(details(page)).to_contain_text(f"seed {seed}")
    assert generate(page, "Once") != first
    page.locator("#seed input").press_sequentially("0")
    sync_api.expect(page.locator("#new-seed input")).not_to_be_checked()  # who types a seed wants that one
    page.locator("#seed input").fill(seed)
    assert generate(page, "Once") == first
    page.locator("#seed input").fill(str(2**63 - 1))
    generate(page, "Once")
    sync_api.expect(details(page)).to_contain_text(f"seed {2**63 - 1}")


def test_several_sequences_and_a_changed_chain(page: "sync_api.Page") -> None:
    choose(page, "model", "starter")
    put(page, "max-new-tokens", 30)
    put(page, "n", 3)
    generate(page, "The fox")
    shown = [text(page, i) for i in (1, 2, 3)]
    assert len(set(shown)) == 3
    assert all(part.startswith("The fox") for part in shown)
    assert not page.locator("#text-4").is_visible()
    choose(page, "preset", "Most likely word")
    sync_api.expect(page.locator("#temperature")).to_be_hidden()  # greedy has no options
    generate(page, "The fox")
    assert len({text(page, i) for i in (1, 2, 3)}) == 1
    unfold(page, "preset-options")
    page.locator("#preset-neutralise").click()
    sync_api.expect(page.locator("#temperature")).to_be_visible()
    put(page, "n", 1)
    choose(page, "preset", "Balanced")


def test_a_dropped_in_sampler_has_a_slider_and_works_and_a_broken_one_is_named_as_plain_text(
    page: "sync_api.Page",
) -> None:
    choose(page, "model", "starter")
    page.get_by_role("button", name="More").click()
    assert not page.locator("#softness").is_visible()
    choose(page, "chain", "Whisper")
    sync_api.expect(page.locator("#softness")).to_be_visible()
    put(page, "softness", 2)
    assert len(generate(page, "Once")) > 40
    choose(page, "preset", "Balanced")
    sync_api.expect(page.locator("#softness")).to_be_hidden()
    note = page.get_by_text("broken.py")
    assert "no luck <b>here</b>" in note.inner_text()


def test_presets_can_be_saved_and_deleted(page: "sync_api.Page") -> None:
    unfold(page, "preset-options")
    name = page.locator("#preset-name").locator("input, textarea")
    name.fill("mine <b>")
    put(page, "temperature", 1.3)
    preset = page.locator("#preset")
    sync_api.expect(preset).to_contain_text("Preset, changed")  # a late label must not touch the name
    page.locator("#preset-save").click()
    sync_api.expect(page.get_by_text("Saved as mine <b>.")).to_be_visible()
    sync_api.expect(preset).not_to_contain_text("changed")
    sync_api.expect(preset.locator("input")).to_have_value("mine <b>")
    sync_api.expect(name).to_have_value("")
    choose(page, "preset", "Careful")
    sync_api.expect(page.locator("#temperature input[type=number]")).to_have_value("0.5")
    choose(page, "preset", "mine <b>")
    sync_api.expect(page.locator("#temperature input[type=number]")).to_have_value("1.3")
    page.locator("#preset-delete").click()
    sync_api.expect(page.get_by_text("Deleted")).to_be_visible()
    choose(page, "preset", "Balanced")
    sync_api.expect(page.locator("#temperature input[type=number]")).to_have_value("0.8")


def test_mistakes_are_one_sentence_and_lose_nothing(page: "sync_api.Page") -> None:
    choose(page, "model", "slow")
    put(page, "max-new-tokens", 20)
    before = generate(page, "d")
    page.locator("#prompt textarea").fill("é is not a letter of this model")
    page.locator("#generate").click()
    sync_api.expect(page.locator("#figures")).to_contain_text("é")
    sync_api.expect(page.locator("#generate")).to_be_enabled()
    assert page.locator("#prompt textarea").input_value().startswith("é is")
    page.get_by_role("button", name="More").click()
    page.locator("#chain .token").first.wait_for()
    while page.locator("#chain .token").count():
        page.locator("#chain .token-remove").first.click()
    page.locator("#prompt textarea").fill("d")
    page.locator("#generate").click()
    sync_api.expect(page.locator("#figures")).to_contain_text("chain is empty")
    choose(page, "preset", "Balanced")
    for name, value, words in (("temperature", "-1", "temperature must be"), ("max-new-tokens", "0", "max_new_tokens")):
        box = page.locator(f"#{name} input[type=number]")
        sync_api.expect(page.locator("#generate")).to_be_enabled()
        page.wait_for_timeout(500)  # until the event before has ended
        box.fill(value)
        page.keyboard.press("Control+Enter")
        sync_api.expect(page.locator("#figures")).to_contain_text(words)
        box.press("Tab")
    assert text(page) == before
    assert "Traceback" not in page.content()


def test_the_page_stands_still_and_the_text_follows_the_stream(page: "sync_api.Page") -> None:
    choose(page, "model", "slow")
    put(page, "max-new-tokens", 100)
    before = page.locator("#prompt").bounding_box()
    generate(page, "line\n" * 60)
    after = page.locator("#prompt").bounding_box()
    assert before is not None
    assert after is not None
    assert (after["x"], after["width"]) == (before["x"], before["width"])
    # the text box scrolls in a frame of its own; what is new is short, and in view with the end
    box = "document.querySelector('#text-1 textarea')"
    page.wait_for_function(f"(box => box.scrollHeight - box.clientHeight - box.scrollTop < 60)({box})")


def test_a_broken_checkpoint_is_explained(page: "sync_api.Page") -> None:
    choose(page, "model", "broken (cannot be used)")
    page.locator("#generate").click()
    sync_api.expect(page.locator("#figures")).to_contain_text("config.json")


def test_a_long_prompt_is_counted_and_cut_aloud(page: "sync_api.Page") -> None:
    choose(page, "model", "starter")
    put(page, "max-new-tokens", 20)
    page.locator("#prompt textarea").fill("the cat and the dog " * 100)
    sync_api.expect(page.locator("#count")).to_contain_text("of 256 tokens: the first")
    sync_api.expect(page.locator("#count")).to_contain_text("”, will be left out, so that 20 new ones fit")
    put(page, "max-new-tokens", 30)  # the count follows what is wanted
    sync_api.expect(page.locator("#count")).to_contain_text("so that 30 new ones fit")
    page.locator("#generate").click()
    finished(page)
    assert "tokens of the prompt: that makes room for 30 new tokens" in figures(page)
    assert "Left out is the beginning, up to “…" in figures(page)


def test_the_request_as_code_gives_the_text_on_screen(page: "sync_api.Page", desk: RunningDesk) -> None:
    choose(page, "model", "starter")
    put(page, "max-new-tokens", 15)
    shown = generate(page, "Once upon a time")
    page.get_by_role("button", name="Use from code").click()
    code = page.locator("#request-code .cm-content")
    sync_api.expect(code).to_contain_text(f"curl {desk.url}/v1/completions")
    note = page.locator("#code-note")
    sync_api.expect(note).to_contain_text("The request that wrote the text shown, with its seed")
    sync_api.expect(note).to_contain_text("Generate draws a new seed")
    page.locator("#code-language").get_by_text("Python", exact=True).click()
    sync_api.expect(code).to_contain_text("httpx.post(")
    source = "\n".join(page.locator("#request-code .cm-line").all_inner_texts())
    done = subprocess.run([sys.executable, "-c", source], capture_output=True, text=True, check=True, timeout=60)
    assert "Once upon a time" + done.stdout.removesuffix("\n") == shown
    page.locator("#prompt textarea").fill("fox " * 300)  # which does not fit the context
    sync_api.expect(note).to_contain_text("the text shown was written by another one")
    run_code = [sys.executable, "-c", "\n".join(page.locator("#request-code .cm-line").all_inner_texts())]
    assert subprocess.run(run_code, capture_output=True, text=True, check=True, timeout=60).stdout


def test_a_closed_page_ends_its_generation(browser: "sync_api.Browser", desk: RunningDesk, home: Path) -> None:
    """Two pages generate at once; the one that is closed computes nothing any more."""
    (home / "page.json").unlink(missing_ok=True)
    (page,) = browser.contexts[0].pages
    busy = page.context.new_page()
    for one in (busy, page):  # all are opened before the first begins, whose text would else end meanwhile
        open_page(one, desk)
        choose(one, "model", "slow")
        put(one, "max-new-tokens", 1000)
        put(one, "n", 4)
        one.locator("#prompt textarea").fill("a")
    for one in (busy, page):
        one.locator("#generate").click()
        sync_api.expect(one.locator("#figures")).to_contain_text("tokens/s", timeout=30_000)
    sync_api.expect(busy.locator("#stop")).to_be_enabled()
    busy.close()
    assert "ended:" not in figures(page)
    page.locator("#stop").click()
    sync_api.expect(page.locator("#figures")).to_contain_text("you stopped it", timeout=30_000)
    process = psutil.Process(desk.process.pid)
    for _ in range(8):
        before = sum(process.cpu_times()[:2])
        page.wait_for_timeout(1_000)
        if sum(process.cpu_times()[:2]) - before < 0.5:  # seconds
            break
    else:
        raise AssertionError("something is computed for the page that was closed")
