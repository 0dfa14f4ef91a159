"""The texts that models are judged by: a file of the user's, or what a model's training never saw."""

from collections.abc import Sequence
from pathlib import Path

from gptdesk.comparison.quality import MOST_CHARACTERS
from gptdesk.encodings import AUTO, Decoded, decoded
from gptdesk.starter import CHECKPOINT
from gptdesk.starter.stories import stories
from gptdesk.training import run_models
from gptdesk.training.text import check_is_file
from models.checkpoint import Checkpoint
from models.listing import ModelInfo
from models.manager import ModelKey, ModelManager
from models.tokenizer import END_OF_TEXT

STORIES, COLLECTION = 60, 2_000_000_011  # enough for 10,000 tokens; a seed far from any that was trained on
LARGEST = 4 * MOST_CHARACTERS  # bytes


def read_text(path: Path, *, encoding: str = AUTO) -> Decoded:
    """The text in a file, whose encoding is found unless one is given.

    Raises ValueError if it is no regular file, cannot be read, is too large, or is no text.
    """
    check_is_file(path, name=path.name)
    try:
        if path.stat().st_size > LARGEST:
            raise ValueError(f"{path.name} is larger than {LARGEST // 1_000_000} MB; give a part of it")
        data = path.read_bytes()
    except OSError as error:
        raise ValueError(f"{path.name} cannot be read ({error.strerror}); change its permissions") from None
    return decoded(data, name=path.name, encoding=encoding)


def held_out_of(manager: ModelManager, keys: Sequence[ModelKey]) -> tuple[str | None, str]:
    """The held-out text of the first of these models that has one, and what to call it; else None, and why."""
    names = list(dict.fromkeys(key.name for key in keys))
    for name in names:
        if text := held_out_text(manager.library.info(name)):
            return text, f"held-out text of {name}"
    return None, f"there is no held-out text of {' or '.join(names)}; give a text"


def held_out_text(info: ModelInfo) -> str | None:
    """Text like that of a model's training which the training did not use, if we have any."""
    if info.path == CHECKPOINT:
        return f"\n{END_OF_TEXT}\n".join(stories(COLLECTION, STORIES))
    file = None if info.problem else Checkpoint.open(info.path).held_out or run_models.held_out(info.path)
    return read_text(file).text if file else None
