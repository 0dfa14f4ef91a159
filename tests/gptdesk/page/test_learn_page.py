"""Learn tab in a real browser: the inside of the starter, its tokens, a whole lesson, and Shannon's game."""

import json
from pathlib import Path

import pytest
from page_checks import NEEDS_BROWSER, open_page, put, settle

sync_api = pytest.importorskip("playwright.sync_api")
pytestmark = NEEDS_BROWSER
SHOWN = {"timeout": 60_000}


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("home")


def open_view(page: "sync_api.Page", name: str) -> None:
    page.get_by_role("tab", name="Learn").click()
    page.get_by_role("tab", name=name).click()
    settle(page)


def test_a_model_is_looked_into_its_tokens_and_its_bits(page: "sync_api.Page") -> None:
    expect = sync_api.expect
    open_view(page, "Inside the model")
    page.locator("#inside-text textarea").fill("Once there was a proud girl named <b>Tilda</b>. One day, Tilda")
    page.locator("#inside-show").click()
    heads = page.locator(".head-map")
    expect(heads).to_have_count(24, **SHOWN)
    expect(page.locator("#inside-lens tbody tr")).to_have_count(5)
    heads.first.focus()
    page.keyboard.press("ArrowDown")
    page.keyboard.press("ArrowRight")
    expect(page.locator(".big-title")).to_have_text("Layer 2, head 2")
    expect(page.get_by_role("button", name="Layer 2, head 2")).to_be_focused()
    page.locator(".inside .words button").nth(1).click()
    reading = page.locator(".reading").inner_text()
    # what a token reads from are itself and those before it, in per cent
    shares = [int(part.rsplit(" ", 2)[-2]) for part in reading.partition("→")[2].split("%") if part.strip()]
    assert 1 <= len(shares) <= 2
    assert 98 <= sum(shares) <= 101
    put(page, "fade-strength", 0)
    page.locator("#fade").click()
    expect(page.locator("#fade-line")).to_contain_text("differ", **SHOWN)
    expect(page.locator("#fade-text-1 mark")).to_be_visible()
    assert page.locator("#fade-text-1").inner_text() != page.locator("#fade-text-2").inner_text()
    open_view(page, "Tokenizer")
    page.locator("#tokens-text :is(input, textarea)").fill("the hedgehog")
    page.locator("#tokens-show").click()
    expect(page.locator("#tokens-chips")).to_contain_text("·hedgehog")
    expect(page.locator("#tokens-merges summary")).to_have_text(["the: 1 merge", "·hedgehog: 8 merges"])
    open_view(page, "Shannon's game")
    page.locator("#game-start").click()
    expect(page.locator("#game-story .story")).to_contain_text("____", **SHOWN)
    page.locator("#game-word :is(input, textarea)").fill("<i>zebra</i>")
    page.locator("#game-guess").click()
    expect(page.locator("#game-result tbody td").first).to_have_text("<i>zebra</i>")
    expect(page.locator("#game-result .bars")).to_contain_text("Starter")


def test_a_lesson_is_finished_and_remembered(page: "sync_api.Page", desk: object, home: Path) -> None:
    expect = sync_api.expect
    open_view(page, "Lessons")
    page.get_by_role("radio", name="Attention").click()
    primary = page.locator("#view-Learn button.primary:visible")  # the one that comes next
    expect(primary).to_have_text(["Start the lesson"])
    page.locator("#lesson-start").click()
    place = None
    for number in (1, 2, 3):
        expect(page.locator("#lesson-question h4").first).to_have_text(f"Task {number} of 3", **SHOWN)
        expect(primary).to_have_text(["Check"])
        place = place or page.locator("#lesson-question").bounding_box()["y"]  # type: ignore[index]
        for answer in page.locator("#lesson-answer label").all():
            answer.click()
            page.keyboard.press("Control+Enter")
            try:
                expect(page.locator("#lesson-next")).to_be_enabled(timeout=3_000)
            except AssertionError:  # not that one
                continue
            break
        expect(page.locator("#lesson-verdict .right")).to_be_visible()
        expect(primary).to_have_text(["Next"])
        assert page.locator("#lesson-question").bounding_box()["y"] == place  # type: ignore[index]
        page.locator("#lesson-next").click()
    expect(page.locator("#lesson-start-line")).to_contain_text("3 of 3 tasks solved. That was the last lesson")
    expect(primary).to_have_text(["Start the lesson"])
    page.get_by_role("radio", name="Temperature").click()
    expect(page.locator("#lesson-start-line")).not_to_contain_text("The lesson is over")
    expect(page.locator("#lesson-text-temperature")).to_be_visible()
    open_page(page, desk)
    page.get_by_role("tab", name="Learn").click()
    expect(page.locator("#lesson-progress")).to_contain_text("Attention ●●●")
    saved = json.loads((home / "page.json").read_text("utf-8"))  # what any browser has saved last
    assert saved["Learn: lessons"] == {"attention": [0, 1, 2]}
