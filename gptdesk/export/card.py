"""Model card: front matter of a README.md for the Hub, a table of what is known of a model; recipe of its run."""

import json
import shutil
from collections.abc import Mapping
from pathlib import Path

from models.about import ABOUT
from models.checkpoint import Checkpoint

FILE = "README.md"


def front_matter(fields: Mapping[str, object]) -> list[str]:
    """Return the lines of the front matter: one for each field, between lines of dashes."""
    return ["---", *(f"{field}: {json.dumps(value, ensure_ascii=False)}" for field, value in fields.items()), "---"]


def licence(checkpoint: Checkpoint) -> dict[str, object]:
    """Return the field of the front matter for the licence, none if it is not known."""
    return {"license": checkpoint.about.licence.lower()} if checkpoint.about.licence else {}


def table(checkpoint: Checkpoint) -> list[str]:
    """Return the lines of a table of what is known of a model."""
    about, config = checkpoint.about, checkpoint.config
    losses = (("Training loss", about.loss), ("Validation loss", about.validation_loss))
    facts = [
        ("Parameters", f"{checkpoint.parameters:,}"),
        ("Layers, heads, channels", f"{config.n_layer}, {config.n_head}, {config.n_embd}"),
        ("Context", f"{config.block_size:,} tokens"),
        ("Vocabulary", f"{config.vocab_size:,} tokens"),
        *((term, f"{loss:.4f} nats per token") for term, loss in losses if loss is not None),
        ("Trained on", about.data),
        ("Source", about.source),
        ("Created", about.created),
    ]
    return ["| | |", "|---|---|", *(f"| {term} | {cell(words)} |" for term, words in facts if words)]


def copy_recipe(checkpoint: Checkpoint, folder: Path) -> None:
    """Copy about.json into the folder of an export if it has the recipe of a run."""
    if checkpoint.about.recipe is not None:
        shutil.copyfile(checkpoint.path / ABOUT, folder / ABOUT)


def cell(text: str) -> str:
    """Return text for a cell of a Markdown table: one line, without markup."""
    words = " ".join(text.split())
    return "".join(f"\\{character}" if character in "\\`*_{}[]<>#|" else character for character in words)
