"""The Settings tab in a real browser: options saved for the next start, their sources, what is installed."""

import json
import re
from pathlib import Path

import pytest
from page_checks import NEEDS_BROWSER, RunningDesk, late_answers

sync_api = pytest.importorskip("playwright.sync_api")
pytestmark = NEEDS_BROWSER


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a home with a setting and a sampler file that cannot be loaded."""
    home = tmp_path_factory.mktemp("home")
    (home / "settings.json").write_text('{"idle_minutes": 3}')
    (home / "samplers").mkdir()
    (home / "samplers" / "broken.py").write_text("raise RuntimeError('<b>broken</b>')")
    return home


def test_options_are_saved_for_the_next_start(page: "sync_api.Page", home: Path, desk: RunningDesk) -> None:
    view = page.locator("#view-Settings")
    with late_answers(page):  # which would overwrite what is typed
        page.get_by_role("tab", name="Settings").click()
        sync_api.expect(view).to_have_js_property("inert", True)
    sync_api.expect(view).to_have_js_property("inert", False)
    options = page.locator("#settings-options tr")
    idle = options.filter(has_text="Idle time (minutes)")
    sync_api.expect(idle).to_contain_text("settings.json")
    for label in ("Local network (LAN)", "API key", "Host names of a proxy", "Public link"):
        sync_api.expect(options.filter(has_text=label)).to_have_count(1)
    sync_api.expect(idle).to_contain_text('GPTDESK_IDLE_MINUTES · "idle_minutes"')
    sync_api.expect(options.filter(has_text="Memory (GB)")).to_contain_text(re.compile(r"automatic: [1-9]\d*\.\d"))
    sync_api.expect(page.locator("#settings-idle-minutes input")).to_have_value("3")
    page.get_by_role("tab", name="Installation").click()
    sync_api.expect(page.locator("#settings-facts")).to_contain_text(str(home))
    sync_api.expect(page.locator("#settings-samplers")).to_contain_text("<b>broken</b>")
    sync_api.expect(page.locator("#settings-disk")).to_contain_text("settings")
    page.get_by_role("tab", name="Options").click()

    page.locator("#settings-idle-minutes input").fill("20")
    page.locator("#settings-memory-gb input").fill("-1")
    page.locator("#settings-save").click()
    sync_api.expect(page.get_by_text("memory_gb must be greater than 0")).to_be_visible()
    page.wait_for_timeout(500)  # until the event of the message has ended
    assert json.loads((home / "settings.json").read_text()) == {"idle_minutes": 3}

    page.locator("#settings-memory-gb input").fill("2")
    page.locator("#settings-save").click()
    sync_api.expect(page.locator("#settings-line")).to_contain_text("next start")
    sync_api.expect(idle).to_contain_text("20 from the next start")
    assert json.loads((home / "settings.json").read_text()) == {"idle_minutes": 20.0, "memory_gb": 2.0}


def test_prompts_are_ordered_deleted_and_taken_along(page: "sync_api.Page", home: Path, tmp_path: Path) -> None:
    page.get_by_role("tab", name="Settings").click()
    page.get_by_role("tab", name="Saved items").click()
    sync_api.expect(page.locator("#saved-empty")).to_contain_text("No prompts yet")
    file = tmp_path / "mine.json"
    items = {"first": "one", "poems/sea": "<b>The sea</b>", "last": "three"}
    file.write_text(json.dumps({"gptdesk": "presets", "version": 1, "items": {}}))
    page.locator("#saved-import input[type=file]").set_input_files(file)
    sync_api.expect(page.get_by_text("this is not a file of prompts")).to_be_visible()
    file.write_text(json.dumps({"gptdesk": "prompts", "version": 1, "items": items}))
    page.locator("#saved-import button[aria-label=Clear]").click()
    page.locator("#saved-import input[type=file]").set_input_files(file)
    names = page.locator("#saved-names label")
    sync_api.expect(names).to_have_text(["first", "poems/sea", "last"])
    names.nth(1).click()
    sync_api.expect(page.locator("#saved-text")).to_contain_text("<b>The sea</b>")
    page.locator("#saved-up").click()
    sync_api.expect(names).to_have_text(["poems/sea", "first", "last"])
    page.locator("#saved-delete").click()
    sync_api.expect(names).to_have_text(["first", "last"])
    page.locator("#saved-undo").click()
    sync_api.expect(names).to_have_text(["poems/sea", "first", "last"])
    page.locator("#saved-new-name input, #saved-new-name textarea").first.fill("poems/lake")
    page.locator("#saved-rename").click()
    sync_api.expect(names.first).to_have_text("poems/lake")
    with page.expect_download() as download:
        page.locator("#saved-export").click()
    assert json.loads(download.value.path().read_text())["items"] == {
        "poems/lake": "<b>The sea</b>",
        "first": "one",
        "last": "three",
    }
