"""Gradio app with all tabs."""

from pathlib import Path
from types import ModuleType

import gradio as gr
from fastapi import FastAPI

from gptdesk import markup
from gptdesk.comparison.texts import LARGEST
from gptdesk.desk import Desk
from gptdesk.markup import markdown_text
from gptdesk.page import browser_copy, chart, share_switch
from gptdesk.page.access import check_events
from gptdesk.page.assets import Assets, first_files
from gptdesk.page.copy_script import COPY_SCRIPT
from gptdesk.page.door import Door
from gptdesk.page.event_loop import relieve_event_loop
from gptdesk.page.front_page import FrontPage
from gptdesk.page.header import Header
from gptdesk.page.header_script import HEAD_STYLE, HEADER_CSS, HEADER_SCRIPT
from gptdesk.page.input_script import INPUT_CSS, INPUT_SCRIPT
from gptdesk.page.languages.blocks import LanguageOfRequest, TranslatedBlocks
from gptdesk.page.option_widgets import disable_gradio_checks
from gptdesk.page.recipe_script import RECIPE_SCRIPT
from gptdesk.page.sessions import keep_sessions
from gptdesk.page.share_switch import ShareSwitch
from gptdesk.page.status_script import status_script
from gptdesk.page.styles import CSS, SCRIPT
from gptdesk.page.tab_links import TabLinks
from gptdesk.page.tabs import batch, compare, generate, history, learn, models, settings, train
from gptdesk.page.theme import theme
from gptdesk.page.visitors import Uploads
from gptdesk.scheduler import OpenCounter

TABS = (generate, compare, batch, train, models, history, learn, settings)
FRONTEND = Path(gr.__file__).parent / "templates" / "frontend"
ICON = Path(__file__).parents[1] / "assets" / "icon.svg"
QUEUED = 256  # events that wait for Gradio to begin them, which it does at once for nearly all
REST = 0.05  # polling interval of Gradio's queue in seconds; its own millisecond takes 4 % of a core when idle


def tabs_of(*, public: bool) -> list[ModuleType]:
    """Return the tabs of a page; a public desk has none that its visitors cannot use."""
    return [tab for tab in TABS if not (public and getattr(tab, "OWNER_ONLY", False))]


def build_app(desk: Desk) -> gr.Blocks:
    """Build the page, with a tab for each of TABS."""
    disable_gradio_checks()
    kept = (300, 1800) if desk.settings.public else (3600, 86400)  # how often files are deleted that are how old, in s
    with TranslatedBlocks(title="GPT Desk", analytics_enabled=False, fill_width=True, delete_cache=kept) as page:
        with gr.Row(elem_id="top"):
            header = Header(desk)
            switch = ShareSwitch(desk.link) if desk.link else None
            header.lay_out_actions()
        header.lay_out_fault()
        header.wire(page)
        if switch:
            switch.wire(page)
        for warning in () if desk.settings.public else desk.warnings:  # the owner's, not a visitor's
            gr.Markdown(f"⚠ {markdown_text(warning)}", elem_classes="note")
        # rows that wrap: entries of Gradio's menu of further tabs are no tabs, by keys and for screen readers
        with gr.Tabs(elem_id="tabs", overflow_behavior="wrap") as tabs:
            links = TabLinks(page, tabs, header.changed)
            for tab in tabs_of(public=desk.settings.public):
                with gr.Tab(tab.TITLE, id=tab.TITLE, elem_id=f"view-{tab.TITLE}", render_children=True) as item:
                    tab.build(desk, links)
                links.wire(tab.TITLE, item)
    check_events(page.fns, public=desk.settings.public)
    relieve_event_loop(page)
    page.queue(default_concurrency_limit=1, max_size=QUEUED)
    # with Gradio's 40, events that wait would keep new ones from starting
    page.max_threads = page._queue.max_thread_count = QUEUED
    page._queue.sleep_when_free = REST
    page._queue.progress_update_sleep_when_free = 10 * REST
    return page


def mount_page(app: FastAPI, desk: Desk) -> FastAPI:
    """Return `app` with the page of this desk at its root, behind the door."""
    page, laid_out = build_app(desk), tabs_of(public=desk.settings.public)
    scripts = [getattr(tab, "SCRIPT", "") for tab in laid_out]
    scripts += [browser_copy.SCRIPT] if desk.settings.public else []
    app = gr.mount_gradio_app(
        app,
        page,
        path="/",
        css=CSS
        + INPUT_CSS
        + markup.CSS
        + chart.CSS
        + share_switch.CSS
        + HEADER_CSS
        + browser_copy.CSS
        + "".join(getattr(tab, "CSS", "") for tab in laid_out),
        head=HEAD_STYLE
        + status_script(FRONTEND / "assets")
        + "".join(scripts)  # those of tabs, whose keys come first
        + SCRIPT
        + INPUT_SCRIPT
        + HEADER_SCRIPT
        + RECIPE_SCRIPT
        + COPY_SCRIPT,
        theme=theme(),
        footer_links=[],
        run_history=False,
        show_error=False,
        ssr_mode=False,
        enable_monitoring=False,
        favicon_path=str(ICON),
        pwa=False,
        mcp_server=False,
        max_file_size=LARGEST,
    )
    sessions = keep_sessions(page, app)
    desk.listeners = OpenCounter()
    theme_address = f"/theme.css?v={page.theme_hash}"
    app.add_middleware(LanguageOfRequest)
    app.add_middleware(FrontPage, files=_first_files(page), theme=theme_address)
    uploads = Uploads()
    desk.owns_upload = uploads.owns
    app.add_middleware(
        Door,
        blocks=page,
        sessions=sessions,
        listeners=desk.listeners,
        uploads=uploads,
        public=desk.settings.public,
    )
    app.add_middleware(Assets, folder=FRONTEND / "assets", texts={theme_address: page.theme_css})
    return app


def _first_files(page: gr.Blocks) -> tuple[str, ...]:
    kinds = dict.fromkeys(component["type"] for component in page.config["components"])
    return first_files((FRONTEND / "index.html").read_text("utf-8"), FRONTEND / "assets", kinds)
