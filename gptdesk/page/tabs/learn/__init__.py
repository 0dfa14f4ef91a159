"""Learn tab: lessons, the inside of a model, the tokenizer and Shannon's game."""

import gradio as gr
from gradio.blocks import Block

from gptdesk.desk import Desk
from gptdesk.page.option_widgets import Updates, Values
from gptdesk.page.persistence import SavedState
from gptdesk.page.tab_links import TabLinks
from gptdesk.page.tabs.learn.game import GameView
from gptdesk.page.tabs.learn.inside import InsideView
from gptdesk.page.tabs.learn.lessons import LessonsView
from gptdesk.page.tabs.learn.look import CSS
from gptdesk.page.tabs.learn.tokens import TokensView

__all__ = ["CSS", "TITLE", "build"]

TITLE = "Learn"


def build(desk: Desk, links: TabLinks) -> None:
    """Lay out the tab inside the current container and wire it; nothing is computed before a button is pressed."""
    with gr.Tabs(elem_id="learn-tabs", overflow_behavior="wrap"):
        with gr.Tab("Lessons", render_children=True):
            lessons = LessonsView(desk)
        with gr.Tab("Inside the model", render_children=True):
            inside = InsideView(desk)
        with gr.Tab("Tokenizer", render_children=True):
            tokens = TokensView(desk)
        with gr.Tab("Shannon's game", render_children=True):
            game = GameView(desk)
    kept = SavedState(desk, TITLE, inside.remembered | tokens.remembered | lessons.remembered, {})
    lessons.wire(kept)
    inside.wire()
    tokens.wire()
    game.wire()
    kept.wire()

    def opened(values: Values) -> Updates:
        """Return updates that list the models there are now, and on the first opening the saved widget state."""
        if values[kept.restored]:
            return inside.listed(values) | tokens.listed(values)
        saved = kept.read()
        return kept.updates(saved) | inside.restored(saved) | tokens.restored(saved) | lessons.restored(saved, kept)

    inputs: set[Block] = {*kept.controls, kept.restored}
    links.on_open(TITLE, opened, inputs, [*kept.controls, *lessons.restored_outputs, kept.restored], restores=True)
