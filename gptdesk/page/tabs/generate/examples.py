"""Example prompts of the Generate tab: beginnings that the starter was trained on."""

from gptdesk.page.pickers import STARTER

EXAMPLES = (
    "Once upon a time",
    "Title: The brave hedgehog",
    "Words: fox, kite, lake",
    "Dear diary,",
)
SHOWN_FIRST = EXAMPLES[1]  # by the button of the first visit


def has_examples(model: str | None) -> bool:
    """Return whether the examples suit a model: they are the beginnings that the starter was trained on."""
    return model == STARTER
