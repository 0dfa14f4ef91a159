"""Frame of the page in a real browser: every view by axe-core, the tabs by keyboard, theme, language, help, pill."""

from pathlib import Path

import pytest
from page_checks import NEEDS_BROWSER, WINDOW, RunningDesk, choose, put, unfold
from training_checks import ended_run

from gptdesk.page.header import training_pill
from gptdesk.training.control import RunInfo
from gptdesk.training.run_directory import RunStatus

sync_api = pytest.importorskip("playwright.sync_api")
pytestmark = NEEDS_BROWSER
PHONE = {"width": 390, "height": 844}
# What is still fading in has too little contrast for a moment, and a colour that fades lets those that inherit it fade.
RULES = """async options => {
  const fading = () => document.getAnimations()
    .filter(one => one.playState === "running" && one.effect.getComputedTiming().endTime < Infinity);
  while (fading().length) await Promise.allSettled(fading().map(one => one.finished));
  const {violations} = await axe.run(document, {resultTypes: ["violations"], preload: false, ...options});
  return violations.filter(one => ["moderate", "serious", "critical"].includes(one.impact))
    .flatMap(one => one.nodes.map(node => `${one.id}: ${node.target} ${node.any[0]?.message ?? ""}`));
}"""
OPTIONS = {"light": {}, "dark": {"runOnly": ["color-contrast", "link-in-text-block"]}}  # a theme changes colours alone


LIE = "Once upon a time, there was a shy boy named Tom. They went to the old mill. They went to the beach."
SHIFT = """() => new Promise(resolve => {
  setTimeout(() => resolve(0), 1000);  // without any shift, the observer is not called
  new PerformanceObserver(list => resolve(list.getEntries()
    .reduce((sum, entry) => sum + (entry.hadRecentInput ? 0 : entry.value), 0)))
    .observe({type: "layout-shift", buffered: true});
})"""


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory, tiny_folder: Path) -> Path:
    """Return a home with a finished run and its models."""
    home = tmp_path_factory.mktemp("home")
    ended_run(home, tiny_folder / "tiny")
    return home


def faults_of_axe(page: "sync_api.Page", where: str) -> list[str]:
    """Return the violations in what is shown, in both sizes of the window and both themes."""
    faults = []
    for size in (WINDOW, PHONE):
        page.set_viewport_size(size)
        page.wait_for_timeout(600)  # the page's script names what is new, or scrolls now, twice a second
        page.wait_for_function("""() => !document.querySelector('.tabs :is(h3, h4):not([aria-level])')
          && ![...document.querySelectorAll('[role=tabpanel][inert]')].some(view => view.checkVisibility())""")
        for theme, options in OPTIONS.items():
            set_theme(page, theme)
            faults += [f"{where}, {theme}, {size['width']}: {fault}" for fault in page.evaluate(RULES, options)]
    page.set_viewport_size(WINDOW)
    return faults


def set_theme(page: "sync_api.Page", theme: str) -> None:
    while page.locator("#theme-button").inner_text() != f"Theme: {theme}":
        page.locator("#theme-button").click()


def test_no_view_violates_a_rule_of_axe(page: "sync_api.Page") -> None:
    axe = pytest.importorskip("axe_playwright_python")
    page.add_script_tag(path=Path(axe.__file__).parent / "axe.min.js")
    faults = []
    for size in (WINDOW, PHONE):
        page.set_viewport_size(size)
        faults += [f"Generate without a text, {size['width']}: {fault}" for fault in page.evaluate(RULES, {})]
    page.locator("#rail-button").click()
    put(page, "n", 2)
    faults += [f"settings on a phone: {fault}" for fault in page.evaluate(RULES, {})]
    page.keyboard.press("Escape")
    page.locator("#generate").click()  # a view with texts and their stats
    sync_api.expect(page.locator("#text-2 textarea")).not_to_have_value("")
    sync_api.expect(page.locator("#generate")).to_be_visible()
    for name in ("details", "prompt-options"):
        unfold(page, name)
    titles = page.locator("[role=tab][data-tab-id]").evaluate_all("tabs => tabs.map(tab => tab.dataset.tabId)")
    titles = list(dict.fromkeys(titles))
    assert {"Generate", "Compare", "Train", "Models", "History", "Settings"} <= set(titles)
    for title in titles:
        page.evaluate("title => document.querySelector(`[role=tab][data-tab-id='${title}']`).click()", title)
        faults += faults_of_axe(page, title)
    set_theme(page, "system")
    assert faults == [], "\n".join(faults)


def test_no_filled_view_violates_a_rule_of_axe(page: "sync_api.Page") -> None:
    axe = pytest.importorskip("axe_playwright_python")
    page.add_script_tag(path=Path(axe.__file__).parent / "axe.min.js")
    expect = sync_api.expect
    page.locator("#prompt textarea").fill("Once")
    page.locator("#generate").click()  # an entry of the history
    expect(page.locator("#figures")).to_contain_text("ended", timeout=60_000)
    unfold(page, "tree")
    nodes = page.locator("#tree-picture [data-node]")
    expect(nodes.first).to_be_visible()
    count = nodes.count()
    page.locator("#write-below").click()  # a tree of several levels
    expect(nodes).to_have_count(count + 3, timeout=60_000)
    expect(page.locator("#generate")).to_be_visible()
    page.locator("#text-1 textarea").fill(LIE)
    page.locator("#tokens-1").click()
    page.locator(".tokens button").nth(5).click()
    expect(page.locator(".token-table")).to_be_visible()
    unfold(page, "story-check")
    lie = page.locator(".story-check .lie").first
    expect(lie).to_be_visible(timeout=60_000)
    lie.focus()
    faults = faults_of_axe(page, "Tokens, tree and the check of a story")
    page.get_by_role("tab", name="Compare").click()
    page.get_by_role("tab", name="Measure").click()
    page.locator("#judge-text textarea").fill("Once upon a time there was a little fox who liked to play. " * 4)
    put(page, "repeats", 1)
    page.locator("#measure").click()
    expect(page.locator("#measure-line")).to_contain_text("Measured", timeout=60_000)
    page.locator("#all-figures > button").click()
    faults += faults_of_axe(page, "Measure")
    page.get_by_role("tab", name="Prompt list").click()
    page.locator("#prompts textarea").fill("Once upon a time")
    page.locator("#compare-all").click()
    expect(page.locator("#compare-all-line")).to_contain_text("Done", timeout=60_000)
    faults += faults_of_axe(page, "Prompt list")
    page.get_by_role("tab", name="Train").click()
    page.get_by_role("tab", name="Watch").last.click()
    expect(page.locator("#run-losses svg")).to_be_visible()
    page.locator("#run-details > button").click()
    expect(page.locator("#run-curves svg").first).to_be_visible()
    faults += faults_of_axe(page, "Train, a run")
    page.get_by_role("tab", name="All runs").click()
    page.locator("#runs-chosen label").first.click()
    expect(page.locator("#runs-curves svg")).to_be_visible()
    faults += faults_of_axe(page, "Train, all runs")
    page.get_by_role("tab", name="Models").click()
    choose(page, "models-chosen", "book (best on unseen text, step 34)")
    expect(page.locator("#models-facts")).to_contain_text("fits")
    for part in ("export", "quantize", "verify", "rename", "weights"):
        unfold(page, f"models-more-{part}")
    page.locator("#models-weights").click()
    expect(page.locator("#models-charts .chart")).to_have_count(3)
    faults += faults_of_axe(page, "Models")
    page.get_by_role("tab", name="History").click()
    page.locator("#history-list label").first.click()
    faults += faults_of_axe(page, "History")
    page.get_by_role("tab", name="Learn").click()
    page.get_by_role("tab", name="Inside the model").click()
    page.locator("#inside-show").click()
    expect(page.locator("#inside-lens table")).to_be_visible(timeout=60_000)
    page.locator("#fade").click()
    expect(page.locator("#fade-text-2 .text")).to_be_visible(timeout=60_000)
    faults += faults_of_axe(page, "Inside the model")
    set_theme(page, "system")
    assert faults == [], "\n".join(faults)


def test_keys_move_between_the_tabs_and_help_closes_by_escape(page: "sync_api.Page") -> None:
    sync_api.expect(page.locator("html")).to_have_attribute("lang", "en")
    tab = page.get_by_role("tab", name="Generate")
    tab.focus()
    page.keyboard.press("ArrowRight")
    sync_api.expect(page.get_by_role("tab", name="Compare")).to_be_focused()
    sync_api.expect(page.get_by_role("tab", name="Compare")).to_have_attribute("aria-selected", "true")
    page.keyboard.press("Home")
    sync_api.expect(tab).to_have_attribute("aria-selected", "true")
    sync_api.expect(page.locator("#model-chip")).to_have_text("starter · float32")
    page.locator("#help-button").click()
    sync_api.expect(page.get_by_role("dialog", name="Help")).to_be_visible()
    page.keyboard.press("Escape")
    sync_api.expect(page.locator("#help")).to_be_hidden()
    page.locator("#model-chip").click()
    sync_api.expect(page.get_by_role("tab", name="Models")).to_have_attribute("aria-selected", "true")


def test_radios_are_one_tab_stop_and_follow_the_arrow_keys(page: "sync_api.Page") -> None:
    expect = sync_api.expect
    for tab, group in (("Compare", "compare-differs"), ("Learn", "lesson-choice")):
        page.get_by_role("tab", name=tab).click()
        radios = page.locator(f"#{group} input")
        expect(radios.first).to_be_checked()
        page.locator(f"#{group} label").first.click()
        page.keyboard.press("ArrowUp")
        expect(radios.last).to_be_focused()
        expect(radios.last).to_be_checked()
        page.wait_for_timeout(500)  # what it changes on the page may give the radios names of their own again
        page.keyboard.press("ArrowUp")
        expect(radios.nth(-2)).to_be_checked()
        expect(page.locator(f"#{group} input:checked")).to_have_count(1)
        page.keyboard.press("Tab")
        assert page.evaluate("group => document.activeElement.closest(`#${group}`)", group) is None
        page.keyboard.press("Shift+Tab")
        expect(radios.nth(-2)).to_be_focused()


def test_a_phone_shows_all_tabs_and_nothing_moves_while_the_page_opens(page: "sync_api.Page") -> None:
    page.set_viewport_size(PHONE)
    page.reload()
    page.locator("html.restored").wait_for()
    page.wait_for_timeout(500)  # what events of the load may still change
    assert page.evaluate(SHIFT) < 0.05
    tabs = page.locator("#tabs > .tab-wrapper [role=tab]")
    assert tabs.count() == 8
    for tab in tabs.all():
        sync_api.expect(tab).to_be_in_viewport(ratio=1)
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    page.get_by_role("tab", name="Compare").click()  # and so are the views of a tab
    view = page.get_by_role("tab", name="Prompt list")
    view.scroll_into_view_if_needed()
    sync_api.expect(view).to_be_in_viewport(ratio=1)


def test_tab_leaves_no_list_open_and_the_theme_survives_a_reload(page: "sync_api.Page") -> None:
    page.locator("#model input").focus()
    for _ in range(4):
        page.keyboard.press("Tab")
    sync_api.expect(page.get_by_role("listbox")).to_have_count(0)
    set_theme(page, "dark")
    page.reload()
    sync_api.expect(page.locator("#theme-button")).to_have_text("Theme: dark")
    assert page.evaluate("document.body.classList.contains('dark')")
    set_theme(page, "system")


def test_a_german_browser_sees_german_and_the_button_changes_the_language(
    browser: "sync_api.Browser", desk: RunningDesk
) -> None:
    expect = sync_api.expect
    context = browser.new_context(locale="de-DE")
    page = context.new_page()
    errors: list[str] = []
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.goto(desk.url)
    expect(page.locator("html")).to_have_attribute("lang", "de")
    expect(page.get_by_role("tab", name="Vergleichen")).to_be_visible()
    expect(page.locator("#theme-button")).to_have_text("Design: System")
    expect(page.locator("#count")).not_to_be_empty()
    page.get_by_role("button", name="Schreiben", exact=True).click()
    expect(page.locator("#text-1 textarea")).not_to_have_value("")
    expect(page.locator("#stop")).to_be_hidden()
    expect(page.locator("#live")).to_have_text("Der Text ist fertig.")
    page.get_by_role("tab", name="Vergleichen").click()
    expect(page.get_by_label("Modelle oder Genauigkeiten")).to_be_checked()
    page.get_by_role("button", name="EN", exact=True).click()
    expect(page.locator("html")).to_have_attribute("lang", "en")
    expect(page.get_by_role("tab", name="Compare")).to_have_attribute("aria-selected", "true")  # the tab stays
    expect(page.get_by_role("button", name="DE", exact=True)).to_be_visible()
    expect(page.get_by_label("Models or precisions")).to_be_checked()
    context.close()
    assert errors == []


def test_training_pill_shows_the_share_of_the_steps_and_escapes_the_name(tmp_path: Path) -> None:
    run = RunInfo("<b>", tmp_path, "training", RunStatus(step=10, steps=40), {"step": 20})
    pill = training_pill(run)
    assert "&lt;b&gt; trains · 50%" in pill
    assert "<b>" not in pill
