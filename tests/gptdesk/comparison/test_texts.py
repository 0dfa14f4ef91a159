"""Evaluation texts: files in any encoding, and held-out texts of models."""

import codecs
import os
import shutil
import sys
from pathlib import Path

import pytest

from gptdesk.comparison.quality import MOST_CHARACTERS
from gptdesk.comparison.texts import held_out_text, read_text
from gptdesk.starter import CHECKPOINT
from gptdesk.starter.stories import stories
from models.checkpoint import HELD_OUT, Checkpoint, save_checkpoint
from models.library import ModelLibrary
from models.manager import ModelKey
from models.tokenizer import END_OF_TEXT, Tokenizer

WORDS = "Grüße, a café \u2013 “really” for 5 €\nsecond line"


@pytest.mark.parametrize(
    "data",
    [
        WORDS.encode(),
        codecs.BOM_UTF8 + WORDS.encode(),
        codecs.BOM_UTF16_LE + WORDS.encode("utf-16-le"),
        codecs.BOM_UTF16_BE + WORDS.encode("utf-16-be"),
        WORDS.encode("cp1252"),
        WORDS.replace("\n", "\r\n").encode(),
        WORDS.replace("\n", "\r\n").encode("utf-16"),
        WORDS.encode("utf-32"),
    ],
    ids=["utf-8", "utf-8 marked", "utf-16 little", "utf-16 big", "windows", "windows lines", "utf-16 lines", "utf-32"],
)
def test_a_text_is_read_whatever_its_encoding(tmp_path: Path, data: bytes) -> None:
    file = tmp_path / "text.txt"
    file.write_bytes(data)
    assert read_text(file).text == WORDS


@pytest.mark.parametrize(
    ("data", "sentence"),
    [
        (b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR", r"^x\.bin is not a text file; give plain text"),
        (WORDS.encode("utf-16-le"), r"^x\.bin is not a text file"),
        (codecs.BOM_UTF8 + b"\xff", r"^x\.bin cannot be read as utf-8-sig: .* 100% is invalid; save it as UTF-8, or"),
        (codecs.BOM_UTF16_LE + b"a", r"^x\.bin cannot be read as utf-16"),
        (codecs.BOM_UTF16_LE + b"\x00\xd8a\0", r"^x\.bin cannot be read as utf-16"),
    ],
    ids=["picture", "utf-16 without a mark", "bad utf-8", "odd utf-16", "half a pair"],
)
def test_what_is_no_text_is_refused(tmp_path: Path, data: bytes, sentence: str) -> None:
    file = tmp_path / "x.bin"
    file.write_bytes(data)
    with pytest.raises(ValueError, match=sentence):
        read_text(file)


def test_a_file_that_cannot_be_read_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"^gone\.txt cannot be read \(No such file or directory\)"):
        read_text(tmp_path / "gone.txt")
    with pytest.raises(ValueError, match=f"^{tmp_path.name} is a folder; give a text file$"):
        read_text(tmp_path)
    huge = tmp_path / "huge.txt"
    with open(huge, "wb") as file:
        os.truncate(file.fileno(), 4 * MOST_CHARACTERS + 1)
    with pytest.raises(ValueError, match=r"^huge\.txt is larger than 80 MB; give a part of it$"):
        read_text(huge)


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no pipes in folders")
def test_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(ValueError, match=r"^pipe is no regular file"):
        read_text(tmp_path / "pipe")


def test_a_guess_is_told_and_an_encoding_that_is_given_decides(tmp_path: Path) -> None:
    file = tmp_path / "notes.txt"
    file.write_bytes("Привет, мир! Это заметки.".encode("cp1251"))
    found = read_text(file)
    assert found.text == "Привет, мир! Это заметки."
    assert list(found.reading.remarks(file.name)) == [
        'notes.txt is not UTF-8; it was read as cp1251: "Привет, мир! Это заметки."; if that looks wrong, name its '
        "encoding with --encoding, or save it as UTF-8"
    ]
    given = read_text(file, encoding="cp1252")
    assert given.text.startswith("Ïðèâåò")
    assert list(given.reading.remarks(file.name)) == []


# Held-out text


def test_the_starter_is_judged_by_new_stories(tmp_path: Path) -> None:
    library = ModelLibrary(tmp_path / "models", cache_folder=tmp_path, bundled=[CHECKPOINT])
    text = held_out_text(library.info("starter"))
    assert text is not None
    told = text.split(f"\n{END_OF_TEXT}\n")
    assert len(set(told)) == len(told) == 60
    assert not set(told) & {*stories(0, 200), *stories(1, 200)}
    assert len(library.tokenizer("starter").encode(text)) > 10_000
    assert held_out_text(library.info("starter")) == text
    shutil.copytree(CHECKPOINT, tmp_path / "models" / "mine")
    assert held_out_text(library.info("mine")) is None  # who knows what it was trained on


def test_what_a_training_held_out_goes_with_every_copy(tiny_folder: Path, tmp_path: Path, tokenizer: Tokenizer) -> None:
    original = Checkpoint.open(tiny_folder / "tiny")
    folder = tmp_path / "models"
    save_checkpoint(folder / "m", original.load_model(), tokenizer=tokenizer, about=original.about, held_out=WORDS)
    save_checkpoint(folder / "n", original.load_model(), tokenizer=tokenizer, about=original.about)
    library = ModelLibrary(folder, cache_folder=tmp_path)
    assert held_out_text(library.info("m")) == WORDS
    assert held_out_text(library.info("n")) is None
    for precision in ("int8", "bfloat16"):
        assert held_out_text(library.quantize("m", precision)) == WORDS
        assert held_out_text(library.quantize("n", precision)) is None
        assert (library.copy(ModelKey("m", precision)) / HELD_OUT).read_bytes() == WORDS.encode()
