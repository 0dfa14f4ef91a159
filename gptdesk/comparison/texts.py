"""The texts that models are judged by: a file of the user's, or what a model's training never saw."""

import codecs
from pathlib import Path

from gptdesk.comparison.quality import MOST_CHARACTERS
from gptdesk.starter import CHECKPOINT
from gptdesk.starter.stories import stories
from models.checkpoint import HELD_OUT
from models.listing import ModelInfo
from models.tokenizer import END_OF_TEXT

STORIES, COLLECTION = 60, 2_000_000_011  # enough for 10,000 tokens; a seed far from any that was trained on
MARKS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),  # begins as the next one does
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)


def read_text(path: Path) -> str:
    """The text in a file: UTF-8, UTF-16 with its mark, or else Latin text as Windows wrote it.

    Raises ValueError if it cannot be read, is too large, or is no text.
    """
    try:
        with open(path, "rb") as file:
            data = file.read(4 * MOST_CHARACTERS + 1)
    except OSError as error:
        raise ValueError(f"{path.name} cannot be read: {error.strerror or error}") from None
    if len(data) > 4 * MOST_CHARACTERS:
        raise ValueError(f"{path.name} is larger than {4 * MOST_CHARACTERS // 1_000_000} MB; give a part of it")
    return decode_text(data, path.name)


def decode_text(data: bytes, name: str) -> str:
    """The text that a file's bytes are; ValueError if they are none."""
    marked = next((encoding for mark, encoding in MARKS if data.startswith(mark)), None)
    if marked is None and b"\0" in data:
        raise ValueError(f"{name} is no text: it has zero bytes; give a plain text file")
    for encoding in (marked,) if marked else ("utf-8", "cp1252"):
        try:
            return data.decode(encoding).replace("\r\n", "\n")
        except UnicodeDecodeError:
            pass
    raise ValueError(f"{name} is no text in UTF-8, UTF-16 or Windows-1252; save it as UTF-8")


def held_out_text(info: ModelInfo) -> str | None:
    """Text like that of a model's training which the training did not use, if we have any."""
    if info.path == CHECKPOINT:
        return f"\n{END_OF_TEXT}\n".join(stories(COLLECTION, STORIES))
    file = info.path / HELD_OUT
    return read_text(file) if file.is_file() else None
