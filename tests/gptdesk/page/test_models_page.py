"""The Models tab in a real browser: list, details, quantize, weights, rename, remove; other tabs list the changes."""

import json
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from page_checks import NEEDS_BROWSER, RunningDesk, choose, open_tab, unfold, watched_page
from training_checks import ended_run

from models.checkpoint import Checkpoint

sync_api = pytest.importorskip("playwright.sync_api")
pytestmark = NEEDS_BROWSER
LONG = 60_000  # milliseconds that an action may take on a busy machine


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory, tiny_folder: Path) -> Path:
    """Return a home with the models `tiny`, `other` and `broken`, and those of the run `book`."""
    home = tmp_path_factory.mktemp("home")
    for name in ("tiny", "other", "broken"):
        shutil.copytree(tiny_folder / "tiny", home / "models" / name)
    (home / "models" / "broken" / "config.json").write_text("{")
    ended_run(home, tiny_folder / "tiny")
    return home


@pytest.fixture
def page(browser: "sync_api.Browser", desk: RunningDesk, home: Path) -> Iterator["sync_api.Page"]:
    (home / "page.json").unlink(missing_ok=True)
    with watched_page(browser, desk) as page:
        open_tab(page, "Models")
        sync_api.expect(page.locator("#models-table")).to_contain_text("tiny")
        yield page


def test_details_of_a_good_a_bundled_and_a_broken_model(page: "sync_api.Page", home: Path) -> None:
    facts = page.locator("#models-facts")
    choose(page, "models-chosen", "tiny")
    sync_api.expect(facts).to_contain_text(str(home / "models" / "tiny"))
    for words in ("tests/conftest.py", "model.safetensors", "int8", "fits", "400 tokens"):
        sync_api.expect(facts).to_contain_text(words)
    sync_api.expect(page.locator("#models-sizes")).to_contain_text("Token table")
    unfold(page, "models-more-rename")
    sync_api.expect(page.locator("#models-rename")).to_be_enabled()
    unfold(page, "models-more-weights")
    page.locator("#models-weights").click()
    sync_api.expect(page.locator("#models-charts .chart")).to_have_count(3, timeout=LONG)
    sync_api.expect(page.locator("#models-charts")).to_contain_text("Layer 2: standard deviation")
    choose(page, "models-chosen", "starter")
    sync_api.expect(page.locator("#models-fixed")).to_contain_text("starter comes with the desk")
    sync_api.expect(page.locator("#models-remove")).to_be_disabled()
    choose(page, "models-chosen", "broken")
    sync_api.expect(page.locator("#models-problem")).to_contain_text("the checkpoint broken in")
    sync_api.expect(facts).not_to_contain_text("fits")
    page.set_viewport_size({"width": 390, "height": 844})
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")


def test_quantize_rename_and_remove_reach_the_other_tabs(page: "sync_api.Page", home: Path) -> None:
    table, line = page.locator("#models-table"), page.locator("#models-quantize-line")
    choose(page, "models-chosen", "other")
    for part in ("quantize", "export", "rename"):
        unfold(page, f"models-more-{part}")
    page.locator("#models-copy input").fill("con")
    page.locator("#models-quantize").click()
    sync_api.expect(line).to_contain_text("Windows keeps it for a device", timeout=LONG)
    page.locator("#models-copy input").fill("")
    page.locator("#models-quantize").click()
    sync_api.expect(line).to_contain_text("Saved as other-int8", timeout=LONG)
    sync_api.expect(page.locator("#models-chosen input")).to_have_value("other")  # for the next copy of it
    page.get_by_role("tab", name="Generate").click()
    choose(page, "model", "other")
    open_tab(page, "Models")
    choose(page, "models-export-format", "HTML: a page that runs the model in any browser, without network")
    page.locator("#models-export").click()
    sync_api.expect(page.locator("#models-export-line")).to_contain_text("other-html.html", timeout=LONG)
    assert (home / "exports" / "other-html.html").is_file()
    assert Checkpoint.open(home / "models" / "other-int8").quantized

    page.locator("#models-table tr:has([data-model=starter]) td").nth(1).click()  # anywhere in a row
    sync_api.expect(page.locator("#models-chosen input")).to_have_value("starter")
    sync_api.expect(page.locator("#models-export-line p")).to_have_count(0)  # it was said of another model
    page.locator("#models-table").get_by_role("button", name="other", exact=True).press("Enter")
    sync_api.expect(page.locator("#models-chosen input")).to_have_value("other")
    page.locator("#models-new-name input").fill("tiny")
    page.locator("#models-rename").click()
    sync_api.expect(page.get_by_text("there is a model tiny already")).to_be_visible()
    page.wait_for_timeout(500)  # until the event of the message has ended
    page.locator("#models-new-name input").fill("another")
    page.locator("#models-rename").click()
    sync_api.expect(page.locator("#models-chosen input")).to_have_value("another")
    sync_api.expect(table).to_contain_text("another")
    assert not (home / "models" / "other").exists()
    sync_api.expect(page.locator("#model-chip")).to_contain_text("another")  # Generate follows
    page.get_by_role("tab", name="Train").click()
    page.locator("#train-from input").click()
    sync_api.expect(page.locator("#train-from").get_by_role("option", name="another", exact=True)).to_be_visible()
    page.keyboard.press("Escape")
    open_tab(page, "Generate")
    sync_api.expect(page.locator("#model input")).to_have_value("another")
    open_tab(page, "Models")

    page.locator("#models-remove").click()
    really = page.locator("#models-really")
    sync_api.expect(really).to_contain_text("Delete another")
    page.locator("#models-cancel").click()
    sync_api.expect(really).to_be_hidden()
    page.locator("#models-remove").click()
    sync_api.expect(really).to_be_visible()
    choose(page, "models-chosen", "other-int8")
    sync_api.expect(really).to_be_hidden()  # asked about one, it does not delete the next
    page.locator("#models-remove").click()
    really.click()
    sync_api.expect(table).not_to_contain_text("other-int8")
    assert (home / "models" / "another").exists()
    assert not (home / "models" / "other-int8").exists()


def test_changes_of_another_program_are_listed_and_what_is_gone_is_said(page: "sync_api.Page", home: Path) -> None:
    shutil.copytree(home / "models" / "tiny", home / "models" / "late")
    sync_api.expect(page.locator("#models-table")).to_contain_text("late")  # the open tab learns of it
    page.get_by_role("tab", name="Generate").click()
    choose(page, "model", "late")
    open_tab(page, "Models")
    choose(page, "models-chosen", "late")
    sync_api.expect(page.locator("#models-facts")).to_contain_text(str(home / "models" / "late"))
    shutil.rmtree(home / "models" / "late")
    message = page.get_by_text("The model late is gone: starter is picked in its place.")
    sync_api.expect(message.filter(visible=True)).to_be_visible()  # a toast, for Generate is not open
    sync_api.expect(page.locator("#models-chosen input")).not_to_have_value("late")
    sync_api.expect(page.locator("#models-table")).not_to_contain_text("late")
    open_tab(page, "Generate")
    sync_api.expect(page.locator("#model input")).to_have_value("starter")


def test_the_recipe_of_a_model_fills_the_form_of_a_run_that_is_gone(
    page: "sync_api.Page", home: Path, tiny_folder: Path
) -> None:
    expect = sync_api.expect
    choose(page, "models-chosen", "starter")
    expect(page.locator("#models-facts")).to_contain_text("starter")
    expect(page.locator("#models-again")).to_be_hidden()
    about = shutil.copytree(tiny_folder / "tiny", home / "models" / "kept") / "about.json"
    recipe = {"run": "gone", "model": {"preset": "tiny"}, "split": {}, "training": {"steps": 777}, "text": "0" * 64}
    about.write_text(json.dumps(json.loads(about.read_text("utf-8")) | {"recipe": recipe | {"files": ["abc"]}}))
    page.get_by_role("tab", name="Generate").click()
    open_tab(page, "Models")
    expect(page.locator("#models-table")).to_contain_text("kept")
    choose(page, "models-chosen", "kept")
    page.locator("#models-again").click()
    expect(page.get_by_text("A recipe has no text: choose it. SHA-256 of its file: abc.").first).to_be_visible()
    expect(page.locator("#train-size input")).to_have_value(re.compile("tiny"))
    page.locator("#train-advanced").get_by_text("Advanced").click()
    expect(page.locator("#train-steps input")).to_have_value("777")


def test_a_run_has_two_names_in_the_lists_and_its_checkpoints_are_reached_by_the_models_tab(
    page: "sync_api.Page",
) -> None:
    expect, table = sync_api.expect, page.locator("#models-table")
    rows = table.locator("tbody tr").filter(has_text="book")
    expect(rows).to_have_count(2)
    expect(rows.first).to_contain_text("book (best on unseen text, step 34)")
    expect(rows.last).to_contain_text("book-last (closest to its text, step 142)")
    page.get_by_label("Show all checkpoints of runs").check()
    expect(rows).to_have_count(6)
    expect(rows.nth(2)).to_contain_text("run book, latest checkpoint")
    choose(page, "models-chosen", "run book, step 140")
    unfold(page, "models-more-rename")
    page.locator("#models-runs").click()  # where a checkpoint is removed with its run
    expect(page.locator("#runs-table")).to_contain_text("book")
    open_tab(page, "Models")
    page.get_by_role("button", name="Compare as B").click()
    expect(page.locator("#compare-b-model input")).to_have_value("run book, step 140")
    page.locator("#compare-a-model input").click()
    options = page.locator("#compare-a-model").get_by_role("option").filter(has_text="book")
    expect(options).to_have_count(2)
    page.keyboard.press("Escape")
    open_tab(page, "Models")
    page.get_by_label("Show all checkpoints of runs").uncheck()
    expect(rows).to_have_count(3)  # the chosen one stays
    page.get_by_role("button", name="Generate with it").click()
    expect(page.locator("#model input")).to_have_value("run book, step 140")
