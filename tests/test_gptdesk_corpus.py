"""A text becomes tokens once, whatever its encoding, with a held-out part that training never sees."""

import os
import random
import sys
import tracemalloc
from pathlib import Path

import numpy as np
import pytest

from gptdesk.starter.stories import stories
from gptdesk.training.corpus import Corpus, CorpusProgress, prepare, suggested_size
from gptdesk.training.loader import Loader, StreamRows, held_out_rows
from gptdesk.training.options import DataOptions
from gptdesk.training.text import BLOCK, TextFile, checked, find_files, inspect, pieces
from models.tokenizer import END_OF_TEXT, Tokenizer


def make(*places: Path, kind: str | Tokenizer = "auto", **values: object) -> Corpus:
    *_, last = steps(*places, kind=kind, **values)
    assert last.corpus is not None
    return last.corpus


def steps(*places: Path, kind: str | Tokenizer = "auto", **values: object) -> list[CorpusProgress]:
    cache = places[0].parent / "cache"
    return list(prepare(places, kind, options=DataOptions(**values), cache=cache, vocabularies=cache))


def look(path: Path) -> TextFile:
    *_, file = inspect(path)
    assert isinstance(file, TextFile)
    return file


def write(path: Path, text: str, encoding: str = "utf-8") -> Path:
    path.write_bytes(text.encode(encoding))
    return path


@pytest.fixture(scope="module")
def many(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file of 60 stories with lines of END_OF_TEXT between them."""
    return write(tmp_path_factory.mktemp("text") / "many.txt", f"\n{END_OF_TEXT}\n".join(stories(8, 60)))


WORDS = "Grüße aus Köln, sagte die Füchsin. " * 30


@pytest.mark.parametrize(
    ("encoding", "found"),
    [
        ("utf-8", "utf-8"),
        ("utf-8-sig", "utf-8-sig"),
        ("utf-16", "utf-16"),
        ("utf-32", "utf-32"),
        ("cp1252", "cp1252"),
        ("latin-1", "cp1252"),
    ],
)
def test_the_encoding_is_found(tmp_path: Path, encoding: str, found: str) -> None:
    file = look(write(tmp_path / "a.txt", WORDS, encoding))
    assert file.encoding == found
    assert "".join(piece.text for piece in pieces(file)) == WORDS


def test_a_fault_late_in_the_file_counts_too(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_bytes(b"plain words " * 200_000 + b"caf\xe9" + b"\x81")
    assert look(path).encoding == "latin-1"


def test_pieces_are_the_text_with_line_ends_as_newlines(tmp_path: Path) -> None:
    text = "one\r\ntwo\rthree\n" * 5
    assert "".join(p.text for p in pieces(look(write(tmp_path / "a.txt", text)))) == "one\ntwo\nthree\n" * 5


def test_a_long_line_is_read_in_pieces_that_encode_like_the_whole(tmp_path: Path, tokenizer: Tokenizer) -> None:
    text = " ".join(story.replace("\n", " ") for story in stories(4, 4500))
    assert len(text) > 3 * BLOCK
    found = list(pieces(look(write(tmp_path / "a.txt", text))))
    assert len(found) > 2
    assert max(len(piece.text) for piece in found) <= 2 * BLOCK
    assert [piece.last for piece in found] == [False] * (len(found) - 1) + [True]
    assert [i for piece in found for i in tokenizer.encode(piece.text)] == tokenizer.encode(text)


def test_memory_does_not_grow_with_a_line(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    with open(path, "wb") as file:
        for _ in range(24):
            file.write(b"x" * 1_000_000)
    tracemalloc.start()
    try:
        assert sum(len(piece.text) for piece in pieces(look(path))) == 24_000_000
        assert tracemalloc.get_traced_memory()[1] < 16_000_000
    finally:
        tracemalloc.stop()


@pytest.mark.skipif(sys.platform != "linux", reason="needs a file system with sparse files")
def test_two_gigabytes_of_nothing_are_refused_at_once(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    with open(path, "wb") as file:
        file.truncate(2_000_000_000)
    with pytest.raises(ValueError, match=r"a\.txt is not a text file; give plain text"):
        make(path)


def test_documents_are_held_out_whole_and_never_trained_on(many: Path) -> None:
    corpus = make(many, kind="bpe:512")
    assert corpus.split == "document"
    held_out, trained = corpus.held_out_text().split(f"\n{END_OF_TEXT}\n"), corpus.tokenizer.decode(corpus.train)
    stories_told = {story.strip() for story in stories(8, 60)}
    assert len(held_out) == 6
    assert {document.strip() for document in held_out} <= stories_told
    assert not any(document.strip() in trained for document in held_out)
    assert sum(story in trained for story in stories_told) == 54


def test_the_end_is_held_out_of_a_single_text(tmp_path: Path) -> None:
    text = "".join(random.Random(1).choices("abcdefgh \n", k=5000))
    corpus = make(write(tmp_path / "a.txt", text), kind="chars", validation_share=0.2)
    assert corpus.split == "position"
    assert corpus.tokenizer.decode(corpus.train) == text[:4000]
    assert corpus.held_out_text() == text[4000:]
    windows = {text[i : i + 64] for i in range(4000 - 64)}
    assert not any(text[i : i + 64] in windows for i in range(4000, 5000 - 64))


def test_nothing_is_held_out_if_so_wanted(tmp_path: Path) -> None:
    corpus = make(write(tmp_path / "a.txt", "some words " * 50), validation_share=0)
    assert len(corpus.validation) == 0
    assert held_out_rows(corpus.validation, 8, most=100) is None


def test_tokens_are_made_once(many: Path) -> None:
    first, again = steps(many, kind="bpe:300"), steps(many, kind="bpe:300")
    assert {step.stage for step in first} == {"reading", "learning the tokenizer", "encoding"}
    assert {step.stage for step in again[:-1]} == {"reading"}
    assert all(0 <= step.done <= step.total for step in first)
    assert first[-1].corpus is not None
    assert again[-1].corpus is not None
    assert isinstance(again[-1].corpus.train, np.memmap)
    assert first[-1].corpus.folder == again[-1].corpus.folder
    assert np.array_equal(first[-1].corpus.train, again[-1].corpus.train)
    assert first[-1].corpus.train.dtype == np.uint16


def test_other_text_tokenizer_or_split_are_other_tokens(many: Path, tmp_path: Path) -> None:
    other = write(tmp_path / "a.txt", many.read_text("utf-8") + "!")
    made = [make(many, kind="bpe:300"), make(many, kind="chars"), make(many, kind="bpe:300", split="position")]
    assert len({corpus.folder.name for corpus in [*made, make(other, kind="bpe:300")]}) == 4


def test_a_given_tokenizer_is_used(many: Path, tokenizer: Tokenizer) -> None:
    corpus = make(many, kind=tokenizer)
    text = many.read_text("utf-8").split(END_OF_TEXT)[0].rstrip("\n")
    ids = [tokenizer.end_of_text, *tokenizer.encode(text + "\n")]
    assert corpus.train[: len(ids)].tolist() == ids


def test_the_tokenizer_follows_the_size_of_the_text(many: Path, tmp_path: Path) -> None:
    assert make(write(tmp_path / "a.txt", "a page of text " * 100)).tokenizer.kind == "characters"
    long = write(tmp_path / "b.txt", " ".join(stories(2, 300)))
    assert make(long).tokenizer.kind == "bpe"
    assert make(long).tokenizer.vocab_size == suggested_size(long.stat().st_size)
    assert [suggested_size(n) for n in (1_000, 1_115_394, 10**9)] == [512, 1344, 4096]


def test_the_preview_is_what_training_sees(many: Path) -> None:
    corpus = make(many, kind="bpe:512")
    shown = corpus.preview(32, rows=3, seed=5)
    batch = Loader(StreamRows(corpus.train, 32, seed=5), seed=5).batch(0, 3)
    assert shown == [corpus.tokenizer.decode(row) for row in batch[:, :-1].tolist()]


def test_folders_are_read_in_order_without_what_is_hidden(tmp_path: Path) -> None:
    folder = tmp_path / "texts"
    (folder / "deep").mkdir(parents=True)
    (folder / ".git").mkdir()
    for name in ("b.txt", "a.txt", "deep/c.txt", ".hidden", ".git/config"):
        write(folder / name, f"words of {name} " * 40)
    assert [path.name for path in find_files([folder, folder / "a.txt"])] == ["a.txt", "b.txt", "c.txt"]
    assert len(make(folder).files) == 3


@pytest.mark.parametrize("vocabulary", [65_536, 65_537])
def test_tokens_take_two_bytes_if_they_fit(vocabulary: int) -> None:
    from gptdesk.training.corpus import _dtype

    class Large:
        vocab_size = vocabulary

    assert _dtype(Large()).itemsize == (2 if vocabulary == 65_536 else 4)  # type: ignore[arg-type]


@pytest.mark.parametrize("count", [17, 100, 103, 160])
def test_an_epoch_of_a_stream_learns_no_token_twice(count: int) -> None:
    rows = StreamRows(np.arange(count, dtype=np.uint16), 16, seed=3)
    loader = Loader(rows, seed=3)
    left_out = []
    for epoch in range(6):
        batch = loader.batch(epoch * rows.count, rows.count)
        assert (batch[:, 1:] == (batch[:, :-1] + 1) % count).all()
        learnt = batch[:, 1:].flatten().tolist()
        assert len(set(learnt)) == len(learnt) == count - count % 16
        left_out.append(set(range(count)) - set(learnt))
    if count % 16:
        assert len({frozenset(rest) for rest in left_out}) > 1


def test_held_out_rows_do_not_overlap_and_are_spread() -> None:
    rows = held_out_rows(np.arange(1000, dtype=np.uint16), 16, most=160)
    assert rows is not None
    assert rows.shape == (10, 17)
    assert rows[0, 0] == 0
    assert rows[-1, -1] > 980
    assert len(set(rows[:, 1:].flatten().tolist())) == 160
    short = held_out_rows(np.arange(9, dtype=np.uint16), 16, most=160)
    assert short is not None
    assert short.tolist() == [list(range(9))]


def test_text_that_cannot_be_trained_on_is_one_sentence(tmp_path: Path) -> None:
    empty = tmp_path / "empty.txt"
    empty.touch()
    with pytest.raises(ValueError, match=r"^the text is empty; give a file"):
        make(empty)
    with pytest.raises(ValueError, match=r"^the text is empty"):
        make(write(tmp_path / "blank.txt", " \n\n "))
    with pytest.raises(ValueError, match=r"^there is no file .*gone\.txt$"):
        make(tmp_path / "gone.txt")
    (tmp_path / "folder").mkdir()
    with pytest.raises(ValueError, match=r"^there is no file in the folder"):
        make(tmp_path / "folder")
    (tmp_path / "a.bin").write_bytes(random.Random(0).randbytes(100_000))
    with pytest.raises(ValueError, match=r"a\.bin is not a text file; give plain text"):
        make(tmp_path / "a.bin")
    with pytest.raises(ValueError, match=r"^the text is empty; paste some"):
        checked(" \n")
    with pytest.raises(ValueError, match="lone surrogates"):
        checked("a\ud800")
    with pytest.raises(ValueError, match="split must be auto or position"):
        make(write(tmp_path / "one.txt", "one document"), split="document")
    assert not [path for path in (tmp_path / "cache").rglob("*.bin")]


@pytest.mark.skipif(sys.platform != "linux", reason="needs a file that even root cannot read")
def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    good = write(tmp_path / "a.txt", "words " * 50)
    with pytest.raises(ValueError, match=r"^/proc/self/mem cannot be read \(.*\); leave it out"):
        make(good, Path("/proc/self/mem"))


@pytest.mark.skipif(sys.platform == "win32" or os.geteuid() == 0, reason="permissions do not bind this user")
def test_a_file_of_a_folder_that_may_not_be_read_is_named(tmp_path: Path) -> None:
    folder = tmp_path / "texts"
    folder.mkdir()
    write(folder / "a.txt", "words " * 50)
    write(folder / "b.txt", "words " * 50).chmod(0)
    with pytest.raises(ValueError, match=r"b\.txt cannot be read \(Permission denied\); leave it out"):
        make(folder)
