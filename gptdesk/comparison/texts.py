"""The texts that models are judged by: a file of the user's, or what a model's training never saw."""

from pathlib import Path

from gptdesk.comparison.quality import MOST_CHARACTERS
from gptdesk.starter import CHECKPOINT
from gptdesk.starter.stories import stories
from gptdesk.training.text import TextFile, inspect
from models.checkpoint import HELD_OUT
from models.listing import ModelInfo
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


def held_out_text(info: ModelInfo) -> str | None:
    """Text like that of a model's training which the training did not use, if we have any."""
    if info.path == CHECKPOINT:
        return f"\n{END_OF_TEXT}\n".join(stories(COLLECTION, STORIES))
    file = info.path / HELD_OUT
    return read_text(file) if file.is_file() else None
