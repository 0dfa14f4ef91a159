"""Evaluation texts: a file, or the held-out text of a model."""

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
    """Return the text of a file, in the given encoding or the one detected.

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


def find_held_out_text(manager: ModelManager, keys: Sequence[ModelKey]) -> tuple[str | None, str]:
    """Return the held-out text of the first model whose text all models can read, and its name.

    Without one None, and the reason.
    """
    names = list(dict.fromkeys(key.name for key in keys))
    unreadable = []
    for owner in names:
        if not (text := held_out_text(manager.library.info(owner))):
            continue
        if reason := next((why for name in names if (why := unreadable_because(manager, name, text))), None):
            unreadable.append(f"the held-out text of {owner} cannot be read by {reason}")
        else:
            return text, f"held-out text of {owner}"
    if unreadable:
        return None, f"{'; '.join(unreadable)}; give a text"
    return None, f"there is no held-out text of {' or '.join(names)}; give a text"


def unreadable_because(manager: ModelManager, name: str, text: str) -> str:
    """Return the model's name and the reason why its tokenizer cannot encode `text`; empty if it can."""
    try:
        manager.library.tokenizer(name).encode(text)
    except ValueError as error:
        return f"{name}: {error}"
    return ""


def held_out_text(info: ModelInfo) -> str | None:
    """Return text like a model's training text that its training did not use; None if there is none."""
    if info.path == CHECKPOINT:
        return f"\n{END_OF_TEXT}\n".join(stories(COLLECTION, STORIES))
    file = None if info.problem else Checkpoint.open(info.path).held_out or run_models.held_out(info.path)
    return read_text(file).text if file else None
