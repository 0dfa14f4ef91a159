"""Models of the story world, by their origin: the starter, its quantized copies, and models trained from it."""

from gptdesk.starter import SOURCE
from models.checkpoint import Checkpoint
from models.library import ModelLibrary


def is_of_story_world(library: ModelLibrary, name: str) -> bool:
    """Return whether a model is the starter or comes from it, as about.json says; False if it cannot be used.

    A quantized copy keeps its original's source. A model whose training went on has a recipe with its base model, which
    is asked in turn as long as it is here; what it was trained on since decides nothing.
    """
    asked: set[str] = set()
    while name and name not in asked:
        asked.add(name)
        try:
            checkpoint = library.checkpoint(name)
        except ValueError:  # gone, or damaged
            return False
        if checkpoint.about.source.split(",")[0] == SOURCE:
            return True
        name = _base_model(checkpoint)
    return False


def _base_model(checkpoint: Checkpoint) -> str:
    """Return the name of the model whose training a run went on with; empty for a new network."""
    options = (checkpoint.about.recipe or {}).get("model")
    start = options.get("start") if isinstance(options, dict) else None
    return start if isinstance(start, str) else ""
