"""Models of the story world: the starter, its quantized copies, and models trained from them."""

from pathlib import Path

import pytest

from gptdesk.desk import Desk
from gptdesk.settings import Settings
from gptdesk.starter.derived import is_of_story_world
from models.checkpoint import About, save_checkpoint
from models.gpt import GPT, GPTConfig
from models.library import ModelLibrary
from models.tokenizer import character_tokenizer

TOKENIZER = character_tokenizer("abc")


@pytest.fixture
def library(tmp_path: Path) -> ModelLibrary:
    return Desk(Settings(home=tmp_path)).library


def save(library: ModelLibrary, name: str, *, start: object = None, source: str = "gptdesk train, run x") -> None:
    """Save a tiny model whose recipe says that its training began with the model `start`."""
    network = GPT(GPTConfig(TOKENIZER.vocab_size, block_size=8, n_layer=1, n_head=1, n_embd=8))
    recipe = None if start is None else {"model": {"start": start}}
    save_checkpoint(library.folder / name, network, tokenizer=TOKENIZER, about=About(source=source, recipe=recipe))


def test_quantized_copies_and_models_trained_from_the_starter_are_of_its_world(library: ModelLibrary) -> None:
    library.quantize("starter", "int8", to="small")
    save(library, "tuned", start="starter")
    save(library, "again", start="tuned")
    save(library, "from-small", start="small")
    for name in ("starter", "small", "tuned", "again", "from-small"):
        assert is_of_story_world(library, name)


def test_other_models_are_not_and_no_recipe_makes_trouble(library: ModelLibrary) -> None:
    save(library, "new", start="")
    save(library, "imported", source="imported from gptdesk.starter (nanoGPT)")
    save(library, "gone", start="no-longer-here")
    save(library, "one", start="two")
    save(library, "two", start="one")
    save(library, "odd", start=["starter"])
    for name in ("new", "imported", "gone", "one", "odd", "unknown"):
        assert not is_of_story_world(library, name)
