"""The Batch tab in a real browser: a CSV as a batch that is paused and resumed, and the sampler grid."""

import csv
import html
import io
import json
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from cli_checks import Capture, answer
from page_checks import NEEDS_BROWSER, RunningDesk, choose, open_page, unfold, watched_page

from gptdesk.batch.grid import Axis
from gptdesk.page.tabs.batch.grid_table import Block, grid_html, merged_blocks

sync_api = pytest.importorskip("playwright.sync_api")
pytestmark = NEEDS_BROWSER
IMAGE = "<img src=x onerror=pwned=1>"
ROWS = 200


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory, tiny_folder: Path) -> Path:
    home = tmp_path_factory.mktemp("home")
    shutil.copytree(tiny_folder / "tiny", home / "models" / "tiny")
    return home


@pytest.fixture
def page(browser: "sync_api.Browser", desk: RunningDesk) -> Iterator["sync_api.Page"]:
    with watched_page(browser, desk) as page:
        page.get_by_role("tab", name="Batch").click()
        yield page


def test_a_csv_becomes_a_batch_that_pauses_resumes_and_exports_all_rows(
    page: "sync_api.Page", desk: RunningDesk, home: Path, tmp_path: Path
) -> None:
    state, rows = page.locator("#batch-state"), page.locator("#batch-rows")
    sync_api.expect(state).to_contain_text("No batch yet")
    table = tmp_path / "table.csv"
    prompts = [IMAGE, "=cmd()", *(f"number {i}" for i in range(2, ROWS))]
    table.write_text("id,question\n" + "".join(f'{i},"{prompt}"\n' for i, prompt in enumerate(prompts)), "utf-8")
    page.locator("#batch-file input[type=file]").set_input_files([table])
    sync_api.expect(page.locator("#batch-count")).to_contain_text("Choose the column")
    page.locator("#batch-start").click()
    sync_api.expect(page.locator("#batch-line")).to_contain_text("table.csv has no column 'prompt'; choose one of: id,")
    choose(page, "batch-column", "question")
    choose(page, "batch-models", "tiny · float32")
    page.locator("#batch-models").get_by_text("starter · float32").locator("..").locator("[role=button]").click()
    sync_api.expect(page.locator("#batch-count")).to_contain_text(f"{ROWS} prompts x 1 model x 1 preset = {ROWS} rows")
    page.locator("#batch-start").click()
    page.locator("#batch-pause").click()
    sync_api.expect(state).to_contain_text("Paused")

    open_page(page, desk)
    page.get_by_role("tab", name="Batch").click()
    sync_api.expect(state).to_contain_text("Paused")
    page.locator("#batch-resume").click()
    sync_api.expect(state).to_contain_text(f"Finished: {ROWS} of {ROWS} rows", timeout=60_000)
    page.get_by_label("First rows").check()
    sync_api.expect(rows).to_contain_text(IMAGE)
    sync_api.expect(rows).to_contain_text("=cmd()")
    sync_api.expect(rows.locator("tbody th")).to_have_text([str(i) for i in range(1, 11)])
    sync_api.expect(rows.locator("img")).to_have_count(0)
    assert page.evaluate("window.pwned") is None
    for _ in range(2):  # each click saves
        with page.expect_download() as download:
            page.locator("#batch-export-csv").click()
    text = download.value.path().read_text("utf-8")
    assert [row["prompt"] for row in csv.DictReader(io.StringIO(text, newline=""))] == [IMAGE, "'=cmd()", *prompts[2:]]
    page.set_viewport_size({"width": 390, "height": 844})
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    page.locator("#batch-delete").click()
    page.locator("#batch-really").click()
    sync_api.expect(state).to_contain_text("No batch yet")
    assert not list((home / "batches").glob("2*"))


def test_constraints_of_the_form_hold_for_every_row(page: "sync_api.Page") -> None:
    page.locator("#batch-prompts textarea").fill("Is it so?\nIs it not?")
    for name in ("batch-advanced", "batch-constraints"):
        unfold(page, name)
    page.locator("#batch-choices textarea").fill(" yes\n no")
    page.locator("#batch-banned-phrases textarea").fill("yes")
    page.locator("#batch-word-bias textarea").fill("no")
    page.locator("#batch-start").click()
    sync_api.expect(page.locator("#batch-line")).to_contain_text("a word bias is a word and a number")
    page.locator("#batch-word-bias textarea").fill("maybe: 2")
    page.locator("#batch-start").click()
    sync_api.expect(page.locator("#batch-state")).to_contain_text("Finished: 2 of 2 rows", timeout=60_000)
    page.get_by_label("First rows").check()
    texts = page.locator("#batch-rows tbody tr")
    sync_api.expect(texts).to_have_count(2)
    for text in texts.all_inner_texts():
        assert re.search(r"\bno\b", text)
        assert "yes" not in text

    # the open tab sends nothing by itself: events that answer each other would take the whole core of the browser
    sync_api.expect(page.locator("#batch-presets")).to_be_visible()
    page.wait_for_timeout(1_500)
    sent: list[str] = []
    page.on("request", lambda request: sent.append(request.url))
    page.wait_for_timeout(2_000)
    assert len(sent) < 4, sent


def test_the_grid_of_the_page_is_that_of_the_command_line(
    page: "sync_api.Page", desk: RunningDesk, home: Path, capsys: Capture
) -> None:
    page.get_by_role("tab", name="Sampler grid").click()
    page.locator("#grid-prompt textarea").fill(IMAGE)
    choose(page, "grid-model", "tiny")
    choose(page, "grid-across", "Top k")
    sync_api.expect(page.locator("#grid-across-values input")).to_have_value("1, 5, 20, 50, 200")
    page.locator("#grid-across-values input").fill("1, two")
    page.locator("#grid").click()
    sync_api.expect(page.locator("#grid-line")).to_contain_text("'two' is no number")
    page.locator("#grid-across-values input").fill("1, 5, 50")
    page.locator("#grid-down-values input").fill("0.2, 0.4, 1.3")
    page.locator("#grid").click()
    with page.expect_download() as download:
        page.locator("#grid-save-json").click()
    saved = json.loads(download.value.path().read_text("utf-8"))
    options = "--down temperature=0.2,0.4,1.3 --across top_k=1,5,50 --seed 1 --max-new-tokens 40 --model tiny"
    assert saved == answer(capsys, "grid", "--home", str(home), "--prompt", IMAGE, *options.split())
    sync_api.expect(page.locator("#grid-sentence")).to_have_text(saved["sentence"])
    # with top_k 1, the temperature changes nothing
    first = page.locator("#grid-table td").first
    assert first.get_attribute("rowspan") == "3"
    assert first.locator(".text").text_content() == saved["texts"][0][0]
    with page.expect_download() as download:
        page.locator("#grid-save-html").click()
    assert download.value.suggested_filename == "grid-img-src-x-onerror-pwned-1-seed-1.html"
    document = download.value.path().read_text("utf-8")
    assert html.escape(IMAGE) in document
    assert "<img" not in document
    page.locator(".copy-grid").click()
    sync_api.expect(page.locator("#grid-table .copied")).not_to_be_empty()
    # the last grid is there after a reload, with what repeats it
    open_page(page, desk)
    page.get_by_role("tab", name="Batch").click()
    page.get_by_role("tab", name="Sampler grid").click()
    sync_api.expect(page.locator("#grid-sentence")).to_have_text(saved["sentence"])
    for words in (IMAGE, "tiny · float32", "seed 1"):
        sync_api.expect(page.locator("#grid-table .grid-caption")).to_contain_text(words)
    assert page.evaluate("window.pwned") is None


def test_equal_neighbours_are_merged_and_the_first_difference_is_marked() -> None:
    assert merged_blocks([[0, 0, 1], [0, 0, 0], [None, None, 0]]) == [
        Block(0, 0, 2, 2, 0),
        Block(0, 2, 1, 1, 1),
        Block(1, 2, 2, 1, 0),
        Block(2, 0, 1, 1, -1),
        Block(2, 1, 1, 1, -1),
    ]
    down, across = Axis(option="temperature", values=(0.5, 1)), Axis(option="top_p", values=(0.5, 1))
    table = grid_html(down, across, [["a fox <b>", "a fox <b>"], ["a fog", "a"]])
    assert 'colspan="2"' in table
    assert "a fox &lt;b&gt;" in table
    assert '<span class="shared">a </span><mark>fog</mark>' in table
    assert '<span class="shared">a</span><mark>(ends here)</mark>' in table
