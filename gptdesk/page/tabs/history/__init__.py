"""History tab: what was generated, to find, look at, open in Generate, repeat, rate, export and delete."""

import gradio as gr

from gptdesk.desk import Desk
from gptdesk.page.tab_links import TabLinks
from gptdesk.page.tabs.history import drawing, statistics
from gptdesk.page.tabs.history.recipes import RecipeBox
from gptdesk.page.tabs.history.statistics import StatisticsView
from gptdesk.page.tabs.history.view import HistoryView

__all__ = ["CSS", "OWNER_ONLY", "TITLE", "build"]

TITLE = "History"
CSS = drawing.CSS + statistics.CSS
OWNER_ONLY = True  # a public desk keeps nothing of its visitors


def build(desk: Desk, links: TabLinks) -> None:
    """Lay out the tab inside the current container and connect it."""
    RecipeBox(desk).wire(links)
    if desk.history is None:
        gr.Markdown(
            "The history is switched off: `history` is false in settings.json, or GPTDESK_HISTORY in the environment. "
            "Without it, each text that is generated appears here."
        )
        return
    HistoryView(desk, desk.history, TITLE).wire(links)
    with gr.Accordion("Statistics", open=False) as section:
        StatisticsView(desk.history).wire(section)
