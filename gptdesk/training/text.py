"""Text files and folders: encoding detection, documents, reading piece by piece."""

import hashlib
import os
import re
import stat
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from gptdesk.encodings import AUTO, BLOCK, UTF8, Reading, Survey, Tally
from models.tokenizer import END_OF_TEXT

BLANKS = 64  # spaces and tabs that may stand between a separator and the end of its line
_SEPARATOR_BYTES = END_OF_TEXT.encode()
_LINE_END = re.compile(rf"[ \t]{{0,{BLANKS}}}(?:\n|\Z)")
_BETWEEN_WORDS = re.compile(r"(?<=\S)[ \t](?=[^\s<])")
_UNDECIDED = len(END_OF_TEXT) + BLANKS + 1  # characters at the end in which a separator may not be known as one yet


@dataclass(frozen=True)
class TextFile:
    """File that has been read through and is text."""

    path: Path
    reading: Reading  # its encoding, and what was not valid in it
    size: int  # bytes
    digest: str  # SHA-256 of its bytes
    documents: int  # which END_OF_TEXT separates
    at_line_ends: int = 0  # separators that end a line which has text
    within_lines: int = 0  # occurrences of END_OF_TEXT that separate nothing

    @property
    def encoding(self) -> str:
        """Encoding, as Python names it."""
        return self.reading.encoding

    @property
    def identity(self) -> str:
        """Digest of the text: of its bytes, and of how they were read where the bytes alone do not determine it.

        It is that of the bytes wherever earlier versions read the same text, which corpora and runs know by it.
        """
        determined = self.encoding in (*UTF8, "utf-16", "utf-32") and not self.reading.invalid and not self.at_line_ends
        return (
            self.digest if determined else f"{self.digest} {self.encoding} {self.reading.invalid} {self.at_line_ends}"
        )

    def remarks(self) -> Iterator[str]:
        """Yield sentences on what a user must know about how the file was read."""
        yield from self.reading.remarks(self.path.name)
        if count := self.within_lines:
            verbs, they = (("stands", "separates"), "it") if count == 1 else (("stand", "separate"), "they")
            yield (
                f"{count:,} {END_OF_TEXT} in {self.path.name} {verbs[0]} in the middle of a line and {verbs[1]} no "
                f"documents; {they} would at the beginning or the end of one"
            )


@dataclass(frozen=True)
class Piece:
    """Part of a document's text; `last` if the document ends with it."""

    text: str
    last: bool
    at_line_ends: int = 0  # separators that end a line with text, since the piece before
    within_lines: int = 0  # END_OF_TEXT in the middle of a line, since the piece before


def find_files(paths: Sequence[Path]) -> list[Path]:
    """Return the files at these paths and in these folders, each once, sorted within a folder.

    Hidden files in a folder are left out, and so are folders that are links, pipes and devices. Raises ValueError for
    a path that is no file or folder, an empty folder, or one that cannot be read.
    """
    files: dict[Path, Path] = {}  # real path -> path as it was given first
    for path in paths:
        try:
            inside = _files_in(path) if path.is_dir() else [path]
            if not path.exists():
                raise ValueError(f"there is no file {path}")
            if not inside:
                raise ValueError(f"there is no file in the folder {path}")
            if inside == [path] and not path.is_file():
                raise ValueError(f"{path} is neither a file nor a folder; save the text to a file first")
        except OSError as error:
            raise _unreadable(str(error.filename or path), error) from None
        for file in inside:
            files.setdefault(file.resolve(), file)
    return list(files.values())


def _files_in(folder: Path) -> list[Path]:
    """Return the files in a folder and its subfolders; OSError for a subfolder that cannot be read."""

    def refuse(error: OSError) -> None:
        raise error

    paths: list[Path] = []
    for parent, folders, files in os.walk(folder, onerror=refuse):
        folders[:] = [name for name in folders if not name.startswith(".")]
        visible = (Path(parent, name) for name in files if not name.startswith("."))
        paths += [path for path in visible if path.is_file() or path.is_symlink()]  # reading reports a broken link
    return sorted(paths)


def _unreadable(name: str, error: OSError) -> ValueError:
    return ValueError(f"{name} cannot be read ({error.strerror}); leave it out or change its permissions")


def check_is_file(path: Path, *, name: str = "") -> None:
    """Raise ValueError, naming the file by its path or `name`, for what is no regular file that can be read."""
    name = name or str(path)
    try:
        mode = path.stat().st_mode
    except OSError as error:
        raise _unreadable(name, error) from None
    if stat.S_ISDIR(mode):
        raise ValueError(f"{name} is a folder; give a text file")
    if not stat.S_ISREG(mode):
        raise ValueError(f"{name} is no regular file (a pipe or a device); save the text to a file first")


def inspect(path: Path, *, name: str = "", encoding: str = AUTO) -> Iterator[int | TextFile]:
    """Detect a file's encoding and count its documents; yields the bytes read so far, at last the file itself.

    Raises ValueError, naming the file by its path or `name`, if it cannot be read, is no text, or is not in the
    `encoding` if one is given.
    """
    name = name or str(path)
    check_is_file(path, name=name)
    scan = _ByteScan(name, encoding)
    for block in _byte_blocks(path, name):
        scan.add(block)
        yield scan.size
    text = TextFile(path, scan.survey.reading(), scan.size, scan.digest.hexdigest(), documents=1)
    if text.encoding in UTF8 and not scan.has_separator and scan.size >= BLOCK:
        yield text  # one document, known without decoding it
        return
    tally = None if text.encoding in UTF8 else Tally(name, text.reading)  # of characters that are not valid
    documents = at_line_ends = within_lines = 0
    for piece in pieces(text, name=name):
        if tally:
            tally.add(piece.text)
        documents += piece.last
        at_line_ends += piece.at_line_ends
        within_lines += piece.within_lines
        yield scan.size
    reading = tally.reading() if tally else text.reading
    yield replace(text, reading=reading, documents=documents, at_line_ends=at_line_ends, within_lines=within_lines)


class _ByteScan:
    """Scan of the bytes of a file, block by block: encoding, digest, size, and a possible separator."""

    def __init__(self, name: str, encoding: str) -> None:
        self.survey, self.digest = Survey(name, encoding), hashlib.sha256()
        self.size, self.has_separator = 0, False
        self._tail = b""

    def add(self, block: bytes) -> None:
        self.survey.add(block)
        self.digest.update(block)
        self.size += len(block)
        self.has_separator = self.has_separator or _SEPARATOR_BYTES in self._tail + block
        self._tail = block[1 - len(_SEPARATOR_BYTES) :]  # a separator may begin in one block and end in the next


def _byte_blocks(path: Path, name: str) -> Iterator[bytes]:
    try:
        with open(path, "rb") as file:
            while block := file.read(BLOCK):
                yield block
    except OSError as error:
        raise _unreadable(name, error) from None


def pieces(file: TextFile, *, name: str = "") -> Iterator[Piece]:
    """Yield the text of a file, split into documents, about BLOCK characters at a time; line ends become newlines.

    END_OF_TEXT at the beginning or the end of a line separates documents. A piece ends before white space where there
    is some, so that BPE encodes the pieces as it encodes the whole. Bytes that are not valid become U+FFFD.
    """
    buffer = "\n"  # text that is not yielded yet, after one character of that which was
    searched = 1  # up to where separators have been looked for
    begun = False
    at_line_ends = within_lines = 0
    for block in _blocks(file, name or str(file.path)):
        buffer += block
        decided = len(buffer) - _UNDECIDED if block else len(buffer)
        start = 1
        while 0 <= (found := buffer.find(END_OF_TEXT, searched)) < decided:
            searched = found + len(END_OF_TEXT)
            begins, ends = buffer[found - 1] == "\n", _LINE_END.match(buffer, searched)
            if not begins and not ends:
                within_lines += 1
                continue
            if ends:  # blanks before the line end belong to the separator; other text after it stays
                at_line_ends += not begins or ends[0].strip("\n") != ""
                searched = ends.end()
            text = buffer[start:found]
            if begun or text.strip():
                yield Piece(text, True, at_line_ends, within_lines)
                at_line_ends = within_lines = 0
            start, begun = searched, False
        if not block:
            if begun or buffer[start:].strip():
                yield Piece(buffer[start:], True, at_line_ends, within_lines)
            return
        if len(buffer) - start >= BLOCK:
            cut = _place_to_cut(buffer, decided)
            yield Piece(buffer[start:cut], False, at_line_ends, within_lines)
            at_line_ends = within_lines = 0
            start, begun = cut, True
        searched = max(searched, decided, start)
        buffer, searched = buffer[start - 1 :], searched - start + 1


def _blocks(file: TextFile, name: str) -> Iterator[str]:
    """Yield the text of a file, BLOCK characters at a time, and "" as the last block, which marks the end."""
    first = True
    try:
        with open(file.path, encoding=file.encoding, errors="replace") as opened:
            while block := opened.read(BLOCK):
                yield block.removeprefix("\ufeff") if first else block
                first = False
    except OSError as error:
        raise _unreadable(name, error) from None
    yield ""


def _place_to_cut(text: str, decided: int) -> int:
    """Return where to end a piece: before the last white space between two words, or anywhere if there is none.

    The text after it never begins within a separator: before `decided` all are known.
    """
    end = decided if "<" in text[decided:] else len(text)
    blanks = [match.start() for match in _BETWEEN_WORDS.finditer(text, end - 4096, end)]
    return blanks[-1] if blanks else end if end == decided else end - len(END_OF_TEXT)
