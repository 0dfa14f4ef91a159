"""The History tab in a real browser: find a text, open it in Generate, repeat, rate, delete and export it."""

import json
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from page_checks import NEEDS_BROWSER, WINDOW, RunningDesk, choose, late_answers, watched_page

from gptdesk.desk import Desk
from gptdesk.generation import GenerationRequest, collect
from gptdesk.recipe import Recipe
from gptdesk.settings import Settings
from models.manager import ModelKey
from samplers import Chain, build

sync_api = pytest.importorskip("playwright.sync_api")
pytestmark = NEEDS_BROWSER
CHAIN = Chain(samplers=(build("top_k", top_k=7), build("temperature", temperature=1.5)))


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory, tiny_folder: Path) -> Path:
    """Return a home with a model `tiny` and 33 entries; the newest has markup, two texts and a chain of its own."""
    home = tmp_path_factory.mktemp("home")
    shutil.copytree(tiny_folder / "tiny", home / "models" / "tiny")
    desk = Desk(Settings(home=home))
    requests = [GenerationRequest(prompt=f"number {i}", seed=i, max_new_tokens=2) for i in range(32)]
    newest = {"prompt": "<b>bold</b> fox", "n": 2, "seed": 77, "stop": ("a\nb", r"\n", "x\r\n"), "chain": CHAIN}
    newest |= {"banned_phrases": ("zeb\nra", "<i>"), "choices": (), "word_bias": {"fox": 2.5}}
    for request in (*requests, GenerationRequest(max_new_tokens=9, **newest)):
        collect(desk.generate(ModelKey("tiny"), request, origin="cli"), n=request.n)
    return home


@pytest.fixture
def page(browser: "sync_api.Browser", desk: RunningDesk) -> Iterator["sync_api.Page"]:
    with watched_page(browser, desk) as page:
        page.get_by_role("tab", name="History").click()
        sync_api.expect(page.locator("#history-list label")).to_have_count(30)
        yield page


def search(page: "sync_api.Page", words: str) -> None:
    page.locator("#history-words input").fill(words)


def test_a_text_is_found_opened_in_generate_and_repeated(page: "sync_api.Page") -> None:
    listed, count = page.locator("#history-list label"), page.locator("#history-count")
    sync_api.expect(count).to_contain_text("33 entries")
    page.locator("#history-older").click()
    sync_api.expect(listed).to_have_count(3)
    sync_api.expect(listed.last).to_contain_text("number 0")
    page.locator("#history-newest").click()
    sync_api.expect(listed).to_have_count(30)
    search(page, "nosuchword")
    sync_api.expect(count).to_contain_text("Nothing fits")
    sync_api.expect(page.locator("#history-export")).to_be_disabled()
    search(page, "fox")
    sync_api.expect(listed).to_have_count(1)
    listed.first.click()
    texts = page.locator("#history-texts")
    sync_api.expect(texts).to_contain_text("<b>bold</b> fox")
    sync_api.expect(texts.locator("b")).to_have_count(0)
    facts = page.locator("#history-facts")
    row = listed.first.locator("span").text_content() or ""
    assert row.startswith("<b>bold</b> fox")
    assert row.endswith(" · tiny · 2 texts · seed 77 · top_k 7 · temperature 1.5 · no top_p")
    for words in (
        "tiny · float32",
        "77",
        "top_k 7, then temperature 1.5",
        r"'a\nb', '\\n'",
        "SHA-256",
        "'<i>'",
        "fox: 2.5",
    ):
        sync_api.expect(facts).to_contain_text(words)
    page.locator("#history-repeat").click()
    sync_api.expect(page.locator("#history-repeat-line")).to_contain_text("The same text came out", timeout=30_000)
    search(page, "number 1")  # the entry stays, to be compared with one that other words list
    sync_api.expect(listed).not_to_have_count(1)
    page.locator("#history-compare input").click()
    page.locator("#history-compare").get_by_role("option", name="number 19").click()
    compared = page.locator("#history-compared")
    sync_api.expect(compared).to_contain_text("prompt (number 19 and <b>bold</b> fox)")
    sync_api.expect(compared.locator(".pane")).to_have_count(2)
    sync_api.expect(compared.locator("b")).to_have_count(0)
    page.locator("#history-recipe").click()
    with page.expect_download() as download:
        page.locator("#history-recipe-file").click()
    assert download.value.suggested_filename == "recipe-b-bold-b-fox-seed-77.json"
    assert Recipe.read(download.value.path().read_bytes(), name="it").request.chain == CHAIN
    page.locator("#history-copy-link").click()
    sync_api.expect(page.locator("#history-link")).to_contain_text("Link copied. It opens on this computer only")
    saved = [pane.text_content() for pane in texts.locator(".text").all()]

    page.locator("#history-open").click()
    sync_api.expect(page.locator("#prompt textarea")).to_have_value("<b>bold</b> fox")
    assert page.locator("#seed input").input_value() == "77"
    page.get_by_role("button", name="More").click()
    assert page.locator("#stop-strings textarea").input_value() == "a\\nb\n\\\\n\nx\\x0d\\n"
    assert page.locator("#banned-phrases textarea").input_value() == "zeb\\nra\n<i>"
    assert page.locator("#word-bias textarea").input_value() == "fox: 2.5"
    assert not page.locator("#new-seed input").is_checked()
    for i, text in enumerate(saved, 1):
        sync_api.expect(page.locator(f"#text-{i} textarea")).to_have_value(text or "")
    page.locator("#generate").click()
    sync_api.expect(page.locator("#figures")).to_contain_text("ended:", timeout=30_000)
    assert [page.locator(f"#text-{i} textarea").input_value() for i in (1, 2)] == saved
    undo, figures = page.locator("#undo"), page.locator("#figures")
    for text in (saved[0], ""):  # of the text, then of the entry, with its prompt and settings
        undo.click()
        sync_api.expect(figures).to_have_text("")
        sync_api.expect(page.locator("#text-1 textarea")).to_have_value(text or "")
    sync_api.expect(undo).to_be_disabled()
    sync_api.expect(page.locator("#text-2")).to_be_hidden()
    sync_api.expect(page.locator("#prompt textarea")).to_have_value("")
    sync_api.expect(page.locator("#temperature input[type=number]")).to_have_value("0.8")
    sync_api.expect(page.locator("#new-seed input")).to_be_checked()
    assert page.locator("#stop-strings textarea").input_value() == ""


def test_the_newest_text_is_shared_and_compared_with_what_differs(page: "sync_api.Page") -> None:
    """Both open beside the newest entry, whichever was chosen before; entries of one prompt differ in the list."""
    listed = page.locator("#history-list label")
    listed.nth(3).click()
    expect_shown(page, 3)
    page.get_by_role("tab", name="Generate").click()
    page.locator("#prompt textarea").fill("a rather long prompt of a fox, which two texts have")
    page.locator("#max-new-tokens input[type=number]").fill("12")
    for temperature in ("0.5", "1.5"):
        page.locator("#temperature input[type=number]").fill(temperature)
        page.locator("#temperature input[type=number]").press("Tab")
        page.evaluate("document.querySelectorAll('#figures p').forEach(p => p.dataset.old = 1)")
        page.locator("#generate").click()
        sync_api.expect(page.locator("#figures p:not([data-old])").first).to_contain_text("ended:", timeout=30_000)
    written = page.locator("#text-1 textarea").input_value()
    page.locator("#share-text").click()
    sync_api.expect(page.locator("#history-copy-link")).to_be_focused()
    sync_api.expect(page.locator("#history-texts")).to_contain_text(written[-6:].strip())
    row = listed.first.locator("span").text_content() or ""
    assert row.startswith("a rather long prompt of … " + written[51:].split()[0])
    page.get_by_role("tab", name="Generate").click()
    page.locator("#compare-before").click()
    sync_api.expect(page.locator("#history-compared .pane")).to_have_count(2)
    names = page.locator("#history-compared .pane").all_inner_texts()
    assert ["temperature 0.5" in names[0], "temperature 1.5" in names[1]] == [True, True]  # the older one first


def expect_shown(page: "sync_api.Page", row: int) -> None:
    """Wait until the entry in this row of the list is chosen, and its facts are shown."""
    seed = re.search(r"seed (\d+)", page.locator("#history-list label").nth(row).inner_text())
    assert seed
    sync_api.expect(page.locator("#history-facts")).to_contain_text(re.compile(rf"Seed\s*{seed[1]}\s*Samplers"))
    sync_api.expect(page.locator("#history-list input").nth(row)).to_be_checked()


def test_arrow_keys_move_in_the_list_which_is_one_tab_stop(page: "sync_api.Page") -> None:
    entries = page.locator("#history-list input")
    entries.first.focus()
    page.keyboard.press("Space")
    expect_shown(page, 0)
    for _ in range(3):
        page.keyboard.press("ArrowDown")
    sync_api.expect(entries.nth(3)).to_be_focused()
    expect_shown(page, 3)  # of several in quick succession, the last
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.closest('#history-list')") is None
    page.keyboard.press("Shift+Tab")
    sync_api.expect(entries.nth(3)).to_be_focused()


def test_an_entry_stays_chosen_while_the_list_is_read_again(page: "sync_api.Page") -> None:
    for i in (0, 1):  # the second time, the first entry is shown
        page.get_by_role("tab", name="Generate").click()
        page.wait_for_timeout(500)  # for what opening it asks for
        with late_answers(page):
            page.get_by_role("tab", name="History").click()
            page.locator("#history-list input").nth(i).press("Space")  # its event takes the queue
            expect_shown(page, i)
        page.wait_for_timeout(500)
        expect_shown(page, i)


def test_ratings_notes_deletion_and_export(page: "sync_api.Page") -> None:
    listed = page.locator("#history-list label")
    search(page, "number 31")
    sync_api.expect(listed).to_have_count(1)
    listed.first.click()
    page.locator("#history-mark").get_by_text("liked", exact=True).click()
    page.locator("#history-note textarea").fill("a remarkable one")
    page.locator("#history-tags input").fill("keep this")
    page.locator("#history-save").click()
    sync_api.expect(listed.first).to_contain_text("liked")
    search(page, "remarkable")
    sync_api.expect(listed).to_have_count(1)
    search(page, "")
    sync_api.expect(listed).to_have_count(30)
    choose(page, "history-rating", "liked")
    sync_api.expect(listed).to_have_count(1)
    choose(page, "history-format", "json")
    boxes = [page.locator(f"#history-{name}").bounding_box() for name in ("format input", "export")]
    middles = [box["y"] + box["height"] / 2 for box in boxes if box]
    assert abs(middles[0] - middles[1]) < 4  # the button is in line with the box beside it
    with page.expect_download() as download:
        page.locator("#history-export").click()
    [entry] = json.loads(download.value.path().read_text("utf-8"))
    assert (entry["prompt"], entry["note"], entry["tags"]) == ("number 31", "a remarkable one", ["keep", "this"])
    listed.first.click()
    page.locator("#history-tags input").fill("x" * 50)
    page.locator("#history-save").click()
    sync_api.expect(page.get_by_text("a tag is a word of 1 to 40 characters")).to_be_visible()
    page.locator("#history-delete").click()
    sync_api.expect(listed).to_have_count(0)
    page.locator("#history-undo").click()
    sync_api.expect(listed).to_have_count(1)
    page.set_viewport_size({"width": 390, "height": 844})
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")


def test_a_recipe_is_opened_shown_and_run(page: "sync_api.Page", desk: RunningDesk, home: Path) -> None:
    history = Desk(Settings(home=home)).history
    assert history is not None
    recipe = Recipe.of(history.entry(33))
    # by a link in the page that is open; loading the page again opens nothing
    page.evaluate("link => { location.hash = link; }", recipe.to_fragment())
    summary, fault = page.locator("#recipe-summary"), page.locator("#recipe-fault")
    for words in ("<b>bold</b> fox", "tiny · float32", "Here, with the same weights", "77", "top_k 7, then"):
        sync_api.expect(summary).to_contain_text(words)
    assert page.evaluate("location.hash") == ""
    # above the list, in view and with the focus; nothing runs before a click
    sync_api.expect(page.locator("#recipe h3")).to_be_focused()
    top = [page.locator(name).bounding_box()["y"] for name in ("#recipe", "#recipe-run", "#history-words")]  # type: ignore[index]
    assert 0 <= top[0] <= top[1] < top[2] < WINDOW["height"]
    sync_api.expect(page.locator("#recipe-run-line")).to_be_empty()
    page.locator("#recipe-run").click()
    sync_api.expect(page.locator("#recipe-run-line")).to_contain_text("The same text came out", timeout=30_000)
    sync_api.expect(page.locator("#recipe-result .pane")).to_have_count(2)
    page.locator("#recipe-open").click()
    sync_api.expect(page.locator("#prompt textarea")).to_have_value("<b>bold</b> fox")
    text = history.entry(33).sequences[1].text
    sync_api.expect(page.locator("#text-2 textarea")).to_have_value(f"<b>bold</b> fox{text}")
    sync_api.expect(page.get_by_role("tab", name="Generate")).to_have_attribute("aria-selected", "true")
    # pasted, by hand, and as a file
    page.get_by_role("tab", name="History").click()
    page.locator("#recipe-close").click()
    sync_api.expect(summary).to_be_hidden()
    page.locator("#recipe-box > button").click()
    for change, words in (
        ({"version": 9}, "a newer version"),
        ({"precision": 7}, "precision must be"),
        ({"format": "other"}, "no recipe"),
    ):
        page.locator("#recipe-text textarea").fill(json.dumps(json.loads(recipe.to_json()) | change))
        sync_api.expect(fault).to_contain_text(words)
        sync_api.expect(summary).to_be_hidden()
    page.locator("#recipe-text textarea").fill(recipe.model_copy(update={"model": "nosuch"}).to_json())
    sync_api.expect(summary).to_contain_text("Not here: the recipe needs the model 'nosuch'")
    page.locator("#recipe-run").click()
    sync_api.expect(page.locator("#recipe-run-line")).to_contain_text("needs the model 'nosuch'")
    for data, words in ((b"\xff" * 5_000_000, "a.json is no recipe"), (recipe.to_json().encode(), "")):
        page.locator("#recipe-file input").set_input_files({"name": "a.json", "mimeType": "", "buffer": data})
        sync_api.expect(fault).to_contain_text(words) if words else sync_api.expect(fault).to_be_empty()
    sync_api.expect(summary).to_contain_text("tiny · float32")


def test_statistics_follow_the_period_and_are_exported(page: "sync_api.Page") -> None:
    page.locator("button", has_text=re.compile("^Statistics")).click()
    figures = page.locator("#statistics-figures")
    sync_api.expect(figures.locator(".tiles")).to_contain_text("generations")
    sync_api.expect(figures.locator(".chart")).to_have_count(4)
    sync_api.expect(figures.locator(".figures-table").first).to_contain_text("tiny")
    page.locator("#statistics-export").click()
    with page.expect_download() as download:
        page.locator("#statistics-file").click()
    assert "tiny,float32" in download.value.path().read_text()
