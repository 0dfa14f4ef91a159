"""Example prompts of the Generate tab: beginnings that the starter was trained on."""

from collections.abc import Sequence

import gradio as gr
from gradio.blocks import Block

from gptdesk.page.option_widgets import Updates
from gptdesk.starter.derived import is_of_story_world
from models.library import ModelLibrary

EXAMPLES = (
    "Once upon a time",
    "Title: The brave hedgehog",
    "Words: fox, kite, lake",
    "Dear diary,",
)
SHOWN_FIRST = EXAMPLES[1]  # by the button of the first visit


def shown_for(model: str | None, blocks: Sequence[Block], library: ModelLibrary) -> Updates:
    """Return updates that show blocks for a model of the story world, and hide them for another."""
    return dict.fromkeys(blocks, gr.update(visible=model is not None and is_of_story_world(library, model)))


def lay_out_examples() -> tuple[gr.Row, gr.Button, list[gr.Button]]:
    """Lay out the examples; return their row, the button of the first visit, and the buttons of the examples."""
    with gr.Row(elem_id="examples") as row:
        # the page's script shows it until there is a text
        show_me = gr.Button(
            "Show me", size="sm", min_width=80, elem_id="show-me", elem_classes="starts", variant="primary"
        )
        return row, show_me, [gr.Button(text, size="sm", min_width=80) for text in EXAMPLES]
