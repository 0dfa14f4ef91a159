"""Corpus: a text as tokens with a validation split, made once, cached by content, mapped into memory."""

import hashlib
import itertools
import mmap
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from types import MappingProxyType
from typing import BinaryIO

import numpy as np

from gptdesk.encodings import AUTO, BLOCK
from gptdesk.training import token_cache
from gptdesk.training.options import DataOptions
from gptdesk.training.text import Piece, TextFile, find_files, inspect, pieces
from models import storage
from models.tokenizer import END_OF_TEXT, Tokenizer, character_tokenizer, gpt2_tokenizer, train_bpe

VERSION = 2  # of the folders in the cache
MANY = 20  # documents from which whole ones are held out
SHORT = 20_000  # bytes below which readers prefer the last weights, closest to the text, to the best on unseen text
LITTLE = 100_000  # bytes below which a text is too short to train a BPE on
BOOK = 1_792_000  # bytes of a text that is not known yet; its BPE has the 2,048 tokens of the presets
MANY_CHARACTERS = 100  # distinct ones of such a text
GPT2_TOKENS = 50_257
LEARN_FROM = 50_000_000  # characters that a BPE is trained on at most
LONG_WORD = re.compile(r"\S{100}(?=\S)")
TRAIN, VALIDATION = "train.bin", "validation.bin"


@dataclass(frozen=True)
class Corpus:
    """Text as tokens: `train` and `validation` (N,) are memory maps of unsigned 16 or 32 bit numbers."""

    folder: Path
    digest: str  # of the text alone
    files: tuple[TextFile, ...]
    split: str  # document or position
    tokenizer: Tokenizer
    train: np.ndarray
    validation: np.ndarray
    hold: mmap.mmap  # on its folder in the cache, while the corpus lives

    @property
    def is_short(self) -> bool:
        """True if the text is so short that readers prefer the last weights to those of the best validation loss."""
        return sum(file.size for file in self.files) < SHORT

    def summary(self) -> str:
        """Return files, encodings and numbers of tokens in a line."""
        files = self.files[0].path.name if len(self.files) == 1 else f"{len(self.files)} files"
        encodings = " and ".join(sorted({file.encoding for file in self.files}))
        held_out = f"{len(self.validation):,} held out by {self.split}" if len(self.validation) else "none held out"
        return f"{files}, {encodings}: {len(self.train):,} tokens of {self.tokenizer.vocab_size:,} kinds, {held_out}"

    def remarks(self) -> Iterator[str]:
        """Yield sentences on what a user must know about how the files were read."""
        for file in self.files:
            yield from file.remarks()

    def held_out_text(self, *, most: int = 1_000_000) -> str:
        """Return the first `most` tokens of the validation split as text, with END_OF_TEXT lines between documents."""
        ids = self.validation[:most].tolist()
        end = self.tokenizer.end_of_text
        documents = (list(group) for is_end, group in itertools.groupby(ids, lambda i: i == end) if not is_end)
        return f"\n{END_OF_TEXT}\n".join(self.tokenizer.decode(document) for document in documents)


@dataclass(frozen=True)
class CorpusProgress:
    """Progress in making a corpus; the last one has the corpus."""

    stage: str  # reading, learning the tokenizer, or encoding
    done: int  # bytes
    total: int
    corpus: Corpus | None = None


def prepare(
    paths: Sequence[Path],
    tokenizer: str | Tokenizer,
    *,
    options: DataOptions,
    cache: Path,
    vocabularies: Path,
    own: Path | None = None,
    names: Mapping[Path, str] = MappingProxyType({}),
    room: int = token_cache.ROOM,
) -> Iterator[CorpusProgress]:
    """Tokenize the files and folders at `paths`, or find their tokens in `cache`; the last progress has the corpus.

    `tokenizer` is one, or the option that names it. Files in the folder `own` were written by us, in UTF-8, whatever
    encoding the options name for those of the user. Messages call a file by its path, or by its name in `names`.
    Afterwards the least recently used texts leave the cache until the rest fits into `room` bytes.

    Raises ValueError for a text that cannot be trained on, OSError if the disk refuses.
    """
    files: list[TextFile] = []
    yield from inspect_all(find_files(paths), files, encoding=options.encoding, own=own, names=names)
    if not any(piece.text.strip() for file in files for piece in itertools.islice(pieces(file), 1)):
        raise ValueError("the text is empty; give a file with some text in it")
    kind = _resolve_tokenizer(tokenizer, sum(file.size for file in files))
    digest = _digest(file.identity for file in files)
    split = _resolve_split(options, sum(file.documents for file in files))
    key = [str(VERSION), digest, _identity(kind), split, repr(options.validation_share)]
    folder = cache / _digest(key)[:32]
    hold = token_cache.hold(folder)
    if hold is None:
        yield CorpusProgress("learning the tokenizer", 0, sum(file.size for file in files))
        made = kind if isinstance(kind, Tokenizer) else _make_tokenizer(kind, files, vocabularies=vocabularies)
        with storage.new_folder(folder) as fresh:
            yield from _encode(files, fresh, made, split=split, share=options.validation_share)
            _write_meta(fresh, files, digest=digest, split=split)
        hold = token_cache.hold(folder)
        assert hold is not None
    corpus = _open(folder, files, digest=digest, split=split, hold=hold)
    token_cache.tidy(cache, room=room)
    total = sum(file.size for file in files)
    yield CorpusProgress("encoding", total, total, corpus=corpus)


def inspect_all(
    paths: Sequence[Path],
    files: list[TextFile],
    *,
    encoding: str,
    own: Path | None,
    names: Mapping[Path, str] = MappingProxyType({}),
) -> Iterator[CorpusProgress]:
    """Add what is known of each file to `files`; yields how many bytes have been read. As `prepare`."""
    total = sum(path.stat().st_size for path in paths if path.exists())
    for path in paths:
        before = sum(file.size for file in files)
        is_own = own is not None and path.is_relative_to(own)
        for event in inspect(path, name=names.get(path, ""), encoding=AUTO if is_own else encoding):
            if isinstance(event, TextFile):
                files.append(event)
            else:
                yield CorpusProgress("reading", before + event, max(total, before + event))


def _encode(
    files: Sequence[TextFile], folder: Path, tokenizer: Tokenizer, *, split: str, share: float
) -> Iterator[CorpusProgress]:
    """Write tokenizer and tokens into a new folder of the cache; yields how many bytes have been encoded."""
    size = sum(file.size for file in files)
    writer = _Writer(folder, tokenizer, held_out=_held_out(files, split, share))
    for done in writer.write(files):
        yield CorpusProgress("encoding", min(done, size), size)
    if split == "position":
        writer.hold_out_end(share)
    tokenizer.save(folder)


def _write_meta(folder: Path, files: Sequence[TextFile], *, digest: str, split: str) -> None:
    """Write what a folder of the cache was made from, as its last file."""
    meta = {"digest": digest, "split": split, "files": [asdict(file) | {"path": str(file.path)} for file in files]}
    storage.write_file(folder / token_cache.META, storage.json_bytes(meta, errors="backslashreplace"))


def suggested_size(characters: int) -> int:
    """Return how many tokens a BPE should have for a text of this length: so few that each occurs often."""
    return min(4096, max(512, 64 * round((256 + characters / 1000) / 64)))


def expected_vocabulary(tokenizer: str, *, size: int, distinct: int) -> int:
    """Return about how many tokens the vocabulary will have, for a text of `size` bytes and `distinct` characters.

    A `size` of 0 is a text that is not known yet, and stands for a book of BOOK bytes.
    """
    kind = str(_resolve_tokenizer(tokenizer, size or BOOK))
    if kind == "chars":
        return distinct or MANY_CHARACTERS
    return GPT2_TOKENS if kind == "gpt2" else int(kind.removeprefix("bpe:"))


def _resolve_tokenizer(tokenizer: str | Tokenizer, size: int) -> str | Tokenizer:
    """Return the tokenizer, or its kind and size, for a text of `size` bytes."""
    if tokenizer == "auto":
        tokenizer = "chars" if size < LITTLE else "bpe"
    return f"bpe:{suggested_size(size)}" if tokenizer == "bpe" else tokenizer


def _identity(kind: str | Tokenizer) -> str:
    if isinstance(kind, str):
        return kind
    tokens = (repr(kind.token_bytes(i)) for i in range(kind.vocab_size))
    return _digest([kind.kind, *tokens, *([kind.variant] if kind.variant else [])])


def _digest(texts: Iterable[str]) -> str:
    return hashlib.sha256("\n".join(texts).encode()).hexdigest()


def _resolve_split(options: DataOptions, documents: int) -> str:
    if options.split == "document" and documents < 2:
        raise ValueError("split must be auto or position for a text of one document, not document")
    if options.split == "auto":
        return "document" if documents >= MANY else "position"
    return options.split


def _held_out(files: Sequence[TextFile], split: str, share: float) -> tuple[int, int]:
    """Return (k, n): k of n documents are held out, at even distances."""
    documents = sum(file.documents for file in files)
    return (max(1, round(documents * share)) if split == "document" and share else 0), documents


def _make_tokenizer(kind: str, files: Sequence[TextFile], *, vocabularies: Path) -> Tokenizer:
    if kind == "gpt2":
        return gpt2_tokenizer(vocabularies)
    texts = (piece.text for file in files for piece in pieces(file))
    if kind == "chars":
        alphabet = {"\n"}
        for text in texts:
            alphabet.update(text)
        return character_tokenizer("".join(sorted(alphabet)))
    return train_bpe(_beginning(texts), int(kind.removeprefix("bpe:")))


def _beginning(texts: Iterable[str]) -> Iterator[str]:
    """Yield the text that a BPE is trained on. Long words are cut: training takes the square of a word's length."""
    room = LEARN_FROM
    for text in texts:
        if room <= 0:
            return
        yield LONG_WORD.sub(r"\g<0>\n", text)
        room -= len(text)


class _Writer:
    """Writer of the tokens of a text to train.bin and validation.bin in a folder."""

    def __init__(self, folder: Path, tokenizer: Tokenizer, *, held_out: tuple[int, int]) -> None:
        self._folder, self._tokenizer, self._held_out = folder, tokenizer, held_out
        end = tokenizer.end_of_text
        self._between = tokenizer.encode("\n") if end is None else [end]
        self._dtype = _dtype(tokenizer)

    def write(self, files: Sequence[TextFile]) -> Iterator[int]:
        """Encode document after document; yields how many characters have been encoded."""
        done, document, begun = 0, 0, False
        with open(self._folder / TRAIN, "wb") as train, open(self._folder / VALIDATION, "wb") as held:
            outputs = (train, held)
            for piece in itertools.chain.from_iterable(map(pieces, files)):
                target = outputs[self._is_held_out(document)]
                if not begun and (self._tokenizer.end_of_text is not None or target.tell()):
                    self._put(target, self._between)
                self._encode(target, piece)
                begun = not piece.last
                document += piece.last
                done += len(piece.text)
                yield done
            for target in outputs if self._tokenizer.end_of_text is not None else ():
                if target.tell():
                    self._put(target, self._between)

    def hold_out_end(self, share: float) -> None:
        """Move the last `share` of the tokens in train.bin to validation.bin."""
        if not share:
            return
        width = self._dtype.itemsize
        with open(self._folder / TRAIN, "rb+") as train, open(self._folder / VALIDATION, "wb") as held:
            count = train.seek(0, 2) // width
            begin = (count - int(count * share)) * width
            train.seek(begin)
            while block := train.read(BLOCK):
                held.write(block)
            train.truncate(begin)

    def _is_held_out(self, document: int) -> bool:
        k, n = self._held_out
        return (document + 1) * k // n > document * k // n

    def _encode(self, target: BinaryIO, piece: Piece) -> None:
        self._put(target, self._tokenizer.encode(piece.text))

    def _put(self, target: BinaryIO, ids: list[int]) -> None:
        target.write(np.array(ids, dtype=self._dtype).tobytes())


def _dtype(tokenizer: Tokenizer) -> np.dtype:
    return np.dtype("<u2" if tokenizer.vocab_size <= 1 << 16 else "<u4")


def _open(folder: Path, files: Sequence[TextFile], *, digest: str, split: str, hold: mmap.mmap) -> Corpus:
    tokenizer = Tokenizer.load(folder, check=False)
    train, validation = (_mapped(folder / name, _dtype(tokenizer)) for name in (TRAIN, VALIDATION))
    return Corpus(folder, digest, tuple(files), split, tokenizer, train, validation, hold)


def _mapped(path: Path, dtype: np.dtype) -> np.ndarray:
    if not path.stat().st_size:
        return np.empty(0, dtype)
    return np.memmap(path, dtype, mode="r")
