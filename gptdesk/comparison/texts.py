"""The texts that models are judged by: a file of the user's, or what a model's training never saw."""

from collections.abc import Sequence
from pathlib import Path

from gptdesk.comparison.quality import MOST_CHARACTERS
from gptdesk.starter import CHECKPOINT
from gptdesk.starter.stories import stories
from gptdesk.training.text import TextFile, inspect
from models.checkpoint import Checkpoint
from models.listing import ModelInfo
from models.manager import ModelKey, ModelManager
from models.tokenizer import END_OF_TEXT

STORIES, COLLECTION = 60, 2_000_000_011  # enough for 10,000 tokens; a seed far from any that was trained on
LARGEST = 4 * MOST_CHARACTERS  # bytes


def read_text(path: Path) -> str:
    """The text in a file, in whatever encoding; ValueError if it cannot be read, is too large, or is no text."""
    if path.is_file() and path.stat().st_size > LARGEST:
        raise ValueError(f"{path.name} is larger than {LARGEST // 1_000_000} MB; give a part of it")
    *_, file = inspect(path, name=path.name)
    assert isinstance(file, TextFile)
    try:
        return path.read_text(encoding=file.encoding)
    except (UnicodeError, OSError):
        raise ValueError(f"{path.name} cannot be read as {file.encoding}; save it as UTF-8") from None


def held_out_of(manager: ModelManager, keys: Sequence[ModelKey]) -> tuple[str | None, str]:
    """The held-out text of the first of these models that has one, and what to call it; else None, and why."""
    names = list(dict.fromkeys(key.name for key in keys))
    for name in names:
        if text := held_out_text(manager.info(name)):
            return text, f"held-out text of {name}"
    return None, f"there is no held-out text of {' or '.join(names)}; give a text"


def held_out_text(info: ModelInfo) -> str | None:
    """Text like that of a model's training which the training did not use, if we have any."""
    if info.path == CHECKPOINT:
        return f"\n{END_OF_TEXT}\n".join(stories(COLLECTION, STORIES))
    file = None if info.problem else Checkpoint.open(info.path).held_out
    return read_text(file) if file else None
