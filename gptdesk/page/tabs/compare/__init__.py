"""Compare tab: two or three models with one request, in four views: Watch, Measure, Blind test, Prompt list."""

import gradio as gr

from gptdesk.desk import Desk
from gptdesk.page.option_widgets import Updates
from gptdesk.page.persistence import SavedState
from gptdesk.page.tab_links import TabLinks
from gptdesk.page.tabs.compare.bits import BitsView
from gptdesk.page.tabs.compare.bits_map import CSS as BITS_CSS
from gptdesk.page.tabs.compare.blind import BlindView
from gptdesk.page.tabs.compare.follow_script import SCRIPT
from gptdesk.page.tabs.compare.measure import MeasureView
from gptdesk.page.tabs.compare.panes import CSS as PANES_CSS
from gptdesk.page.tabs.compare.prompts import PromptsView
from gptdesk.page.tabs.compare.side_samplers import CSS as SAMPLERS_CSS
from gptdesk.page.tabs.compare.sides import SidesPanel
from gptdesk.page.tabs.compare.watch import SideBySideView

__all__ = ["CSS", "SCRIPT", "TITLE", "build"]

TITLE = "Compare"
CSS = PANES_CSS + BITS_CSS + SAMPLERS_CSS


def build(desk: Desk, links: TabLinks) -> None:
    """Lay out the tab inside the current container and wire it; saved widget state is restored when the page loads."""
    sides = SidesPanel(desk)
    with gr.Tabs(overflow_behavior="wrap"):
        with gr.Tab("Watch", render_children=True):
            watch = SideBySideView(desk, sides)
        with gr.Tab("Measure", render_children=True):
            measure = MeasureView(desk, sides)
            # which models a public desk has, and at which precision, is its owner's choice
            bits = None if desk.settings.public else BitsView(desk, sides, measure)
        with gr.Tab("Blind test", render_children=True):
            blind = BlindView(desk, sides)
        with gr.Tab("Prompt list", render_children=True):
            prompts = PromptsView(desk, sides)
    kept = SavedState(desk, TITLE, sides.remembered | measure.remembered | prompts.remembered, sides.panels)
    watch.wire(kept)
    for view in (measure, blind, prompts):
        view.wire()
    if bits:
        bits.wire()
    sides.wire(links.prompts["Generate"])
    links.add_pickers(TITLE, *sides.pickers)
    kept.wire()

    def load() -> Updates:
        stored = kept.values()
        remembered = kept.read(stored)
        return kept.updates(remembered) | sides.show(remembered) | watch.restored(stored)

    outputs = [*kept.controls, *sides.layout_outputs, *watch.restored_outputs, kept.restored]
    links.on_load(TITLE, load, outputs)
