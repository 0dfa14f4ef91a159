"""Gradio app with all tabs."""

from pathlib import Path

import gradio as gr
from fastapi import FastAPI

from gptdesk import markup
from gptdesk.comparison.texts import LARGEST
from gptdesk.desk import Desk
from gptdesk.markup import markdown_text
from gptdesk.page import chart, share_switch
from gptdesk.page.access import check_events
from gptdesk.page.door import Door
from gptdesk.page.event_loop import relieve_event_loop
from gptdesk.page.input_script import INPUT_CSS, INPUT_SCRIPT
from gptdesk.page.option_widgets import disable_gradio_checks
from gptdesk.page.sessions import keep_sessions
from gptdesk.page.share_switch import ShareSwitch
from gptdesk.page.styles import CSS, FONTS, SCRIPT
from gptdesk.page.tab_links import TabLinks
from gptdesk.page.tabs import compare, generate, history, models, train
from gptdesk.scheduler import OpenCounter

TABS = (generate, compare, train, models, history)
ICON = Path(__file__).parents[1] / "assets" / "icon.svg"
QUEUED = 256  # events that wait for Gradio to begin them, which it does at once for nearly all
REST = 0.05  # polling interval of Gradio's queue in seconds; its own millisecond takes 4 % of a core when idle


def build_app(desk: Desk) -> gr.Blocks:
    """Build the page, with a tab for each of TABS."""
    disable_gradio_checks()
    kept = (300, 1800) if desk.settings.public else (3600, 86400)  # how often files are deleted that are how old, in s
    with gr.Blocks(title="GPT Desk", analytics_enabled=False, fill_width=True, delete_cache=kept) as page:
        with gr.Row(elem_id="top"):
            gr.Markdown("# GPT Desk", elem_id="title")
            switch = ShareSwitch(desk.link) if desk.link else None
        if switch:
            switch.wire(page)
        for warning in desk.warnings:
            gr.Markdown(f"⚠ {markdown_text(warning)}", elem_classes="note")
        with gr.Tabs() as tabs:
            links = TabLinks(page, tabs)
            for tab in TABS:
                if desk.settings.public and getattr(tab, "OWNER_ONLY", False):
                    continue
                with gr.Tab(tab.TITLE, id=tab.TITLE, render_children=True) as item:
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
    page = build_app(desk)
    app = gr.mount_gradio_app(
        app,
        page,
        path="/",
        css=CSS
        + INPUT_CSS
        + markup.CSS
        + chart.CSS
        + share_switch.CSS
        + "".join(getattr(tab, "CSS", "") for tab in TABS),
        head=SCRIPT + INPUT_SCRIPT,
        theme=gr.themes.Default(primary_hue="teal", neutral_hue="slate", font=FONTS),
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
    app.add_middleware(Door, blocks=page, sessions=sessions, listeners=desk.listeners, public=desk.settings.public)
    return app
