"""The History tab in a real browser: find a text, open it in Generate, repeat, rate, delete and export it."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from page_checks import NEEDS_BROWSER, RunningDesk, choose, watched_page

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
    newest = {"prompt": "<b>bold</b> fox", "n": 2, "seed": 77, "stop": ("a\nb", r"\n"), "chain": CHAIN}
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
    search(page, "fox")
    sync_api.expect(listed).to_have_count(1)
    listed.first.click()
    texts = page.locator("#history-texts")
    sync_api.expect(texts).to_contain_text("<b>bold</b> fox")
    sync_api.expect(texts.locator("b")).to_have_count(0)
    facts = page.locator("#history-facts")
    for words in ("tiny · float32", "77", "top_k 7, then temperature 1.5", r"'a\nb', '\\n'", "SHA-256"):
        sync_api.expect(facts).to_contain_text(words)
    page.locator("#history-repeat").click()
    sync_api.expect(page.locator("#history-repeat-line")).to_contain_text("The same text came out", timeout=30_000)
    page.locator("#history-recipe").click()
    with page.expect_download() as download:
        page.locator("#history-recipe-file").click()
    assert Recipe.read(download.value.path().read_bytes(), name="it").request.chain == CHAIN
    saved = [pane.text_content() for pane in texts.locator(".text").all()]

    page.locator("#history-open").click()
    sync_api.expect(page.locator("#prompt textarea")).to_have_value("<b>bold</b> fox")
    assert page.locator("#seed input").input_value() == "77"
    page.get_by_role("button", name="More").click()
    assert page.locator("#stop-strings textarea").input_value() == "a\\nb\n\\\\n"
    assert not page.locator("#new-seed input").is_checked()
    for i, text in enumerate(saved, 1):
        sync_api.expect(page.locator(f"#text-{i} textarea")).to_have_value(text or "")
    page.locator("#generate").click()
    sync_api.expect(page.locator("#figures")).to_contain_text("ended:", timeout=30_000)
    assert [page.locator(f"#text-{i} textarea").input_value() for i in (1, 2)] == saved


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
    choose(page, "history-rating", "liked")
    sync_api.expect(listed).to_have_count(1)
    choose(page, "history-format", "json")
    page.locator("#history-export").click()
    with page.expect_download() as download:
        page.locator("#history-file").click()
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
