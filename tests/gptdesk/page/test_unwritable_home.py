"""A home that cannot be written, in a real browser: texts are generated, and one sentence says that nothing is kept."""

import os
import shutil
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from page_checks import HIDDEN, MODULE, NEEDS_BROWSER, RunningDesk, choose, watched_page

from gptdesk.batch import BatchPlan, NamedChain, create_job
from gptdesk.batch.job import LOCK
from samplers import Chain, build

sync_api = pytest.importorskip("playwright.sync_api")
SETPRIV = shutil.which("setpriv")
IS_ROOT = sys.platform != "win32" and os.geteuid() == 0
pytestmark = [
    NEEDS_BROWSER,
    pytest.mark.skipif(sys.platform == "win32", reason="Windows has no permissions of folders that a test could take"),
    pytest.mark.skipif(IS_ROOT and not SETPRIV, reason="root writes everywhere, and setpriv is not installed"),
]
SENTENCE = "cannot be written: texts are generated, but nothing is kept"


def set_writable(home: Path, *, writable: bool) -> None:
    for path in (home, *home.rglob("*")):
        with suppress(FileNotFoundError):  # a file that the desk has just renamed
            path.chmod((0o755 if path.is_dir() else 0o644) if writable else (0o555 if path.is_dir() else 0o444))


@pytest.fixture
def home(tmp_path: Path, tiny_folder: Path) -> Iterator[Path]:
    shutil.copytree(tiny_folder / "tiny", tmp_path / "home" / "models" / "tiny")
    chain = NamedChain(name="hot", chain=Chain(samplers=(build("greedy"),)))
    plan = BatchPlan(models=(("tiny", "float32"),), chains=(chain,))
    job = create_job(tmp_path / "home" / "batches", plan, ["a fox"], name="mine")
    (job.folder / LOCK).touch()
    set_writable(tmp_path / "home", writable=False)
    yield tmp_path / "home"
    set_writable(tmp_path / "home", writable=True)


def test_texts_are_generated_and_one_sentence_says_that_nothing_is_kept(
    browser: "sync_api.Browser", home: Path
) -> None:
    expect = sync_api.expect
    # root without the right to ignore permissions
    prefix = (str(SETPRIV), "--bounding-set", "-dac_override,-dac_read_search") if IS_ROOT else ()
    desk = RunningDesk(home, program=(*prefix, *MODULE), options=HIDDEN)
    try:
        assert desk.log.count(SENTENCE) == 1
        with watched_page(browser, desk) as page:
            fault = page.locator("#home-fault")
            expect(fault).to_contain_text(SENTENCE)
            choose(page, "model", "tiny")

            def generate() -> None:
                page.evaluate("document.querySelectorAll('#figures p').forEach(p => p.dataset.old = 1)")
                page.locator("#generate").click()
                expect(page.locator("#figures p:not([data-old])").first).to_contain_text("ended:", timeout=60_000)
                expect(page.locator("#generate")).to_be_enabled()  # all is saved

            generate()
            page.get_by_role("tab", name="Batch").click()
            expect(page.locator("#batch-state")).to_contain_text("Paused")
            page.get_by_role("tab", name="Train").click()
            page.locator("#train-text textarea").fill("a text to train on, " * 500)
            page.locator("#train-start").click()
            expect(page.locator("#train-line")).to_contain_text(SENTENCE)
            page.get_by_role("tab", name="Generate").click()
            assert not (home / "history.sqlite").exists()
            set_writable(home, writable=True)
            expect(fault).to_be_hidden()
            generate()
            assert (home / "history.sqlite").exists()
            set_writable(home, writable=False)
            expect(fault).to_contain_text(SENTENCE)
            generate()
            page.get_by_role("tab", name="History").click()
            expect(page.locator("#history-count")).to_contain_text("1 entry")
            expect(page.locator(".toast-body")).to_have_count(0)
    finally:
        log = desk.close()
    # the choice of kernels has a warning of its own, as it is kept elsewhere
    more = [line for line in log.splitlines() if line not in desk.log and "choice of kernels" not in line]
    assert more == []
