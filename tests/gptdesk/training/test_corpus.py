"""A text becomes tokens once, whatever its encoding, with a held-out part that training never sees."""

import contextlib
import itertools
import os
import random
import sys
import tempfile
import tracemalloc
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from gptdesk.encodings import BLOCK
from gptdesk.starter.stories import stories
from gptdesk.training import token_cache
from gptdesk.training.corpus import Corpus, CorpusProgress, _beginning, _make_tokenizer, prepare, suggested_size
from gptdesk.training.loader import Loader, StreamRows, held_out_rows
from gptdesk.training.options import DataOptions
from gptdesk.training.text import TextFile, find_files, inspect, pieces
from gptdesk.training.text_input import TextInput
from models.tokenizer import END_OF_TEXT, Tokenizer


def make(*paths: Path, kind: str | Tokenizer = "auto", **values: object) -> Corpus:
    *_, last = steps(*paths, kind=kind, **values)
    assert last.corpus is not None
    return last.corpus


def steps(*paths: Path, kind: str | Tokenizer = "auto", **values: object) -> list[CorpusProgress]:
    cache = paths[0].parent / "cache"
    return list(prepare(paths, kind, options=DataOptions(**values), cache=cache, vocabularies=cache))


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
    assert look(path).encoding == "cp1251"  # cp1252 has no 0x81
    assert look(path).reading.excerpt.endswith("plain words cafйЃ")


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


def test_a_line_without_a_space_is_learnt_from_in_words(tmp_path: Path) -> None:
    line = "".join(random.Random(1).choices("acgt", k=200_000))
    (learnt,) = _beginning([line])
    assert learnt.replace("\n", "") == line
    assert max(map(len, learnt.split())) == 100
    corpus = make(write(tmp_path / "genome.txt", line), kind="bpe:300", validation_share=0)
    assert corpus.tokenizer.decode(corpus.train[1:-1]) == line


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


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16"])
def test_documents_that_end_with_a_separator_are_counted_as_they_are_held_out(tmp_path: Path, encoding: str) -> None:
    story = " ".join(stories(5, 1))
    path = write(tmp_path / "a.txt", f"{story}\n{END_OF_TEXT}\n" * 5 + "\n", encoding)
    assert look(path).documents == 5
    corpus = make(path, kind="chars", split="document", validation_share=0.2)
    assert corpus.held_out_text() == f"{story}\n"
    assert len(make(write(tmp_path / "b.txt", f"{story}\n{END_OF_TEXT}\n" * 20, encoding)).validation) >= len(story)


def documents(path: Path) -> list[str]:
    found = [""]
    for piece in pieces(look(path)):
        found[-1] += piece.text
        found += [""] * piece.last
    assert found.pop() == ""
    assert look(path).documents == len(found)
    return found


def test_separators_within_a_line_separate_nothing_and_are_counted(tmp_path: Path) -> None:
    text = f"the word {END_OF_TEXT} ends a text\n" * 3
    file = look(write(tmp_path / "a.txt", text))
    assert documents(file.path) == [text]
    assert list(file.remarks()) == [
        f"3 {END_OF_TEXT} in a.txt stand in the middle of a line and separate no documents; they would at the "
        "beginning or the end of one"
    ]
    assert look(write(tmp_path / "b.txt", " \n")).documents == 0


def test_separators_at_either_end_of_a_line_separate(tmp_path: Path) -> None:
    end = END_OF_TEXT
    for text, found in (
        (f"one{end}\ntwo{end}\nthree{end}", ["one", "two", "three"]),
        (f"one{end}\r\ntwo{end}\r\nthree\r\n", ["one", "two", "three\n"]),
        (f"one{end}  \t\ntwo\n{end}\t\nthree{end} ", ["one", "two\n", "three"]),
        (f"one\n{end}two\n{end} three\n", ["one\n", "two\n", " three\n"]),
        (f"{end}one{end}{end}\n{end}\n", ["one" + end]),  # the first of two neighbours is in the middle of a line
        (f"one {end} {end}\n", [f"one {end} "]),
    ):
        assert documents(write(tmp_path / "a.txt", text)) == found, text
        assert documents(write(tmp_path / "b.txt", text, "utf-16")) == found, text
        plain = [one for one in found if end not in one]
        if plain == found:
            assert list(look(tmp_path / "a.txt").remarks()) == []


@pytest.mark.parametrize("blank", [" ", ""])
def test_separators_are_seen_wherever_a_block_ends(tmp_path: Path, blank: str) -> None:
    end = END_OF_TEXT
    for before in range(BLOCK - 100, BLOCK + 20, 7):
        head = f"ab{blank}" * (before // (2 + len(blank)) + 1)
        assert documents(write(tmp_path / "a.txt", f"{head[:before]}{end}  \nnext")) == [head[:before], "next"]
        within = f"{head[:before]}{end}x\nnext"
        assert documents(write(tmp_path / "a.txt", within)) == [within]
        assert look(tmp_path / "a.txt").within_lines == 1


def test_a_text_is_known_by_its_bytes_and_how_they_are_read(tmp_path: Path) -> None:
    plain = look(write(tmp_path / "a.txt", f"Grüße\n{END_OF_TEXT}\nund mehr"))
    assert plain.identity == plain.digest  # as it always was: what was made of it stays in use
    path = write(tmp_path / "b.txt", "Привет, мир! Это текст. " * 20, "cp1251")
    made = [make(path, kind="chars", encoding=encoding) for encoding in ("auto", "cp1251", "koi8-r")]
    assert made[0].digest == made[1].digest != made[2].digest
    assert len({corpus.folder.name for corpus in made}) == 2
    assert "Привет, мир!" in made[0].tokenizer.decode(made[0].train)
    assert "Привет" not in made[2].tokenizer.decode(made[2].train)
    assert list(made[1].remarks()) == []  # it was not guessed


def test_what_we_wrote_is_utf8_whatever_encoding_the_users_files_have(tmp_path: Path) -> None:
    ours, theirs = tmp_path / "texts", tmp_path / "theirs"
    for folder in (ours, theirs):
        folder.mkdir()
    write(ours / "alice.txt", "café " * 50)
    write(theirs / "a.txt", "Привет " * 50, "cp1251")
    options = DataOptions(encoding="cp1251", validation_share=0)
    *_, last = prepare([ours, theirs], "chars", options=options, cache=tmp_path / "c", vocabularies=tmp_path, own=ours)
    assert last.corpus is not None
    text = last.corpus.tokenizer.decode(last.corpus.train)
    assert "café" in text
    assert "Привет" in text
    TextInput(pasted="café").store(tmp_path, encoding=options.encoding)
    *_, pasted = inspect(tmp_path / "text.txt", encoding="cp1251")
    assert isinstance(pasted, TextFile)
    assert "".join(piece.text for piece in pieces(pasted)) == "café"


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no pipes and devices in folders")
def test_only_regular_files_are_read(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "pipe", Path("/dev/zero"), Path("/dev/null")):
        with pytest.raises(ValueError, match=rf"^{path.name} is no regular file .*; save the text to a file first$"):
            next(inspect(path, name=path.name))
    with pytest.raises(ValueError, match=rf"^{tmp_path} is a folder; give a text file$"):
        next(inspect(tmp_path))


def test_the_alphabet_of_a_text_is_found_piece_by_piece(tmp_path: Path) -> None:
    file = look(write(tmp_path / "a.txt", "two words " * 2_000_000))
    tracemalloc.start()
    try:
        assert _make_tokenizer("chars", [file], vocabularies=tmp_path).vocab_size == len(set("two words \n"))
        assert tracemalloc.get_traced_memory()[1] < 14_000_000
    finally:
        tracemalloc.stop()


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


def test_the_cache_keeps_what_was_used_last_and_what_is_in_use(tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    texts = [write(tmp_path / f"{i}.txt", f"text number {i} " * 400) for i in range(4)]

    def made(text: Path, *, room: int) -> Corpus:
        *_, last = prepare([text], "chars", options=DataOptions(), cache=cache, vocabularies=cache, room=room)
        assert last.corpus is not None
        os.utime(last.corpus.folder / token_cache.META, (clock := next(ticks), clock))
        return last.corpus

    def kept() -> set[str]:
        return {path.name for path in cache.iterdir()}

    ticks = itertools.count(1_000_000_000)
    folders = [made(text, room=10**9).folder for text in texts]
    size = sum(path.stat().st_size for path in folders[0].iterdir())
    in_use = made(texts[0], room=10**9)  # the oldest becomes the newest; now 1 is the oldest
    made(texts[2], room=3 * size + size // 2)
    assert kept() == {folders[i].name for i in (0, 2, 3)}
    made(texts[2], room=size)
    assert kept() == {folders[i].name for i in (0, 2)}
    made(texts[3], room=0)  # which is in use itself until the call is over
    assert kept() == {folders[i].name for i in (0, 3)}
    assert in_use.tokenizer.decode(in_use.train).startswith("text number 0")
    del in_use
    made(texts[3], room=0)
    assert kept() == {folders[3].name}


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
        TextInput(pasted=" \n")
    with pytest.raises(ValueError, match="lone surrogates"):
        TextInput(pasted="a\ud800")
    with pytest.raises(ValueError, match="split must be auto or position"):
        make(write(tmp_path / "one.txt", "one document"), split="document")
    assert not [path for path in (tmp_path / "cache").rglob("*.bin")]


@pytest.mark.skipif(sys.platform != "linux", reason="needs a file that even root cannot read")
def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    good = write(tmp_path / "a.txt", "words " * 50)
    with pytest.raises(ValueError, match=r"^/proc/self/mem cannot be read \(.*\); leave it out"):
        make(good, Path("/proc/self/mem"))


@contextlib.contextmanager
def folder_of_an_ordinary_user() -> Iterator[Path]:
    """An empty folder; permissions bind its owner, who is this process for a while, even if root has started it."""
    root = os.geteuid() == 0
    if root:
        os.seteuid(65534)
    try:
        with tempfile.TemporaryDirectory() as around:
            folder = Path(around) / "texts"
            folder.mkdir()
            yield folder
            for path in folder.rglob("*"):
                path.chmod(0o700)
    finally:
        if root:
            os.seteuid(0)


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has other permissions")
@pytest.mark.parametrize("name", ["b.txt", "c/d.txt"])
def test_what_may_not_be_read_in_a_folder_is_named(name: str) -> None:
    with folder_of_an_ordinary_user() as folder:
        for path in (folder / "a.txt", folder / name):
            path.parent.mkdir(exist_ok=True)
            write(path, "words " * 50)
        closed = folder / name.split("/")[0]
        closed.chmod(0)
        with pytest.raises(ValueError, match=rf"{closed} cannot be read \(Permission denied\); leave it out or"):
            make(folder)


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no links or pipes for everyone")
def test_links_are_followed_to_files_and_pipes_are_not_waited_for(tmp_path: Path) -> None:
    folder = tmp_path / "texts"
    folder.mkdir()
    text = write(tmp_path / "a.txt", "words " * 50)
    (folder / "link.txt").symlink_to(text)
    os.mkfifo(folder / "pipe")
    assert find_files([folder, text]) == [folder / "link.txt"]
    with pytest.raises(ValueError, match=r"/pipe is neither a file nor a folder; save the text to a file first$"):
        make(folder / "pipe")
    (folder / "broken.txt").symlink_to(tmp_path / "gone.txt")
    with pytest.raises(ValueError, match=r"broken\.txt cannot be read \(No such file or directory\); leave it out"):
        make(folder)
