"""Text as a user has it, pasted, in files or in folders: its encoding found out, read a piece at a time."""

import hashlib
import os
import re
import stat
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from gptdesk.encodings import AUTO, BLOCK, UTF8, Reading, Survey, Tally
from gptdesk.training.options import DataOptions
from models.tokenizer import END_OF_TEXT

BLANKS = 64  # spaces and tabs that may stand between a separator and the end of its line
_SEPARATOR_BYTES = END_OF_TEXT.encode()
_LINE_END = re.compile(rf"[ \t]{{0,{BLANKS}}}(?:\n|\Z)")
_BETWEEN_WORDS = re.compile(r"(?<=\S)[ \t](?=[^\s<])")
_UNDECIDED = len(END_OF_TEXT) + BLANKS + 1  # characters at the end in which a separator may not be known as one yet


@dataclass(frozen=True)
class TextFile:
    """A file that has been looked through and found to be text."""

    path: Path
    reading: Reading  # its encoding, and what was not valid in it
    size: int  # bytes
    digest: str  # SHA-256 of its bytes
    documents: int  # which END_OF_TEXT separates
    at_line_ends: int = 0  # separators that end a line which has text
    within_lines: int = 0  # occurrences of END_OF_TEXT that separate nothing

    @property
    def encoding(self) -> str:
        """As Python names it."""
        return self.reading.encoding

    @property
    def identity(self) -> str:
        """The digest of the text: of its bytes, and of how they were read where they alone do not say it.

        It is that of the bytes wherever earlier versions read the same text, which corpora and runs know by it.
        """
        said = self.encoding in (*UTF8, "utf-16", "utf-32") and not self.reading.invalid and not self.at_line_ends
        return self.digest if said else f"{self.digest} {self.encoding} {self.reading.invalid} {self.at_line_ends}"

    def remarks(self) -> Iterator[str]:
        """Sentences on what a user must know about how the file was read."""
        yield from self.reading.remarks(self.path.name)
        if count := self.within_lines:
            verbs, they = (("stands", "separates"), "it") if count == 1 else (("stand", "separate"), "they")
            yield (
                f"{count:,} {END_OF_TEXT} in {self.path.name} {verbs[0]} in the middle of a line and {verbs[1]} no "
                f"documents; {they} would at the beginning or the end of one"
            )


@dataclass(frozen=True)
class Piece:
    """Some of a document's text; `last` if the document ends with it."""

    text: str
    last: bool
    at_line_ends: int = 0  # separators that end a line with text, since the piece before
    within_lines: int = 0  # END_OF_TEXT in the middle of a line, since the piece before


def find_files(places: Sequence[Path]) -> list[Path]:
    """The files named and those in the folders named, each once, sorted within a folder.

    What is hidden in a folder is left out, and so are folders that are links, pipes and devices. Raises ValueError for
    a place that is no file or folder, a folder with nothing in it, or one that cannot be looked into.
    """
    found: dict[Path, Path] = {}  # where a file really is -> as it was named first
    for place in places:
        try:
            inside = _files_in(place) if place.is_dir() else [place]
            if not place.exists():
                raise ValueError(f"there is no file {place}")
            if not inside:
                raise ValueError(f"there is no file in the folder {place}")
            if inside == [place] and not place.is_file():
                raise ValueError(f"{place} is neither a file nor a folder; save the text to a file first")
        except OSError as error:
            raise _unreadable(str(error.filename or place), error) from None
        for path in inside:
            found.setdefault(path.resolve(), path)
    return list(found.values())


def _files_in(folder: Path) -> list[Path]:
    """Raises OSError for a folder inside that may not be looked into."""

    def refuse(error: OSError) -> None:
        raise error

    found = []
    for place, folders, files in os.walk(folder, onerror=refuse):
        folders[:] = [name for name in folders if not name.startswith(".")]
        visible = (Path(place, name) for name in files if not name.startswith("."))
        found += [path for path in visible if path.is_file() or path.is_symlink()]  # a broken link is told of later
    return sorted(found)


def _unreadable(name: str, error: OSError) -> ValueError:
    return ValueError(f"{name} cannot be read ({error.strerror}); leave it out or change its permissions")


def check_is_file(path: Path, *, name: str = "") -> None:
    """ValueError, naming the file by its path or `name`, for what would not end or cannot be read as a file."""
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
    """Read a file once to find its encoding; yields the bytes read so far, at last the file itself.

    Raises ValueError, naming the file by its path or `name`, if it cannot be read, is no text, or is not in the
    `encoding` if one is given.
    """
    name = name or str(path)
    check_is_file(path, name=name)
    survey = Survey(name, encoding)
    digest = hashlib.sha256()
    size, separated, tail = 0, False, b""
    try:
        with open(path, "rb") as file:
            while block := file.read(BLOCK):
                digest.update(block)
                size += len(block)
                survey.add(block)
                separated = separated or _SEPARATOR_BYTES in tail + block
                tail = block[1 - len(_SEPARATOR_BYTES) :]
                yield size
    except OSError as error:
        raise _unreadable(name, error) from None
    text = TextFile(path, survey.reading(), size, digest.hexdigest(), 1)
    tally = None if text.encoding in UTF8 else Tally(name, text.reading)
    if tally or separated or size < BLOCK:
        documents = at_line_ends = within_lines = 0
        for piece in pieces(text, name=name):
            if tally:
                tally.add(piece.text)
            documents += piece.last
            at_line_ends += piece.at_line_ends
            within_lines += piece.within_lines
            yield size
        reading = tally.reading() if tally else text.reading
        text = replace(text, reading=reading, documents=documents, at_line_ends=at_line_ends, within_lines=within_lines)
    yield text


def pieces(file: TextFile, *, name: str = "") -> Iterator[Piece]:
    """The text of a file, split into documents, about BLOCK characters at a time; line ends become newlines.

    END_OF_TEXT at the beginning or the end of a line separates documents. A piece ends before white space where there
    is some, so that BPE makes of the pieces what it makes of the whole. What is not valid in its encoding is U+FFFD.
    """
    buffer = "\n"  # what is not yielded yet, after one character of what was
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
            if ends:  # blanks there go with the line; what else follows on it stays
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
    """The text of a file, BLOCK characters at a time, and at last "", which no other is."""
    first = True
    try:
        with open(file.path, encoding=file.encoding, errors="replace") as opened:
            while block := opened.read(BLOCK):
                yield block.removeprefix("\ufeff") if first else block
                first = False
    except OSError as error:
        raise _unreadable(name, error) from None
    yield ""


def checked(text: str) -> str:
    """Pasted text, if it can be trained on; ValueError otherwise."""
    if not text.strip():
        raise ValueError("the text is empty; paste some, or choose a file")
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        raise ValueError("the text holds lone surrogates, which are no characters; paste it again") from None
    survey = Survey("the pasted text", "utf-8")
    survey.add(text.encode("utf-8"))
    survey.reading()  # which says so if it is no text, before a run is made of it
    return text


def encoded(text: str, *, options: DataOptions) -> bytes:
    """Pasted text as the bytes of a file that will be read by these options; ValueError as `checked`."""
    # A byte order mark goes before the encoding that is given for the user's own files.
    return checked(text).encode("utf-8" if options.encoding == AUTO else "utf-8-sig")


def _place_to_cut(text: str, decided: int) -> int:
    """Where to end a piece: before the last white space between two words, or where there is none, anywhere.

    What follows is never part of a separator: before `decided` all are known.
    """
    end = decided if "<" in text[decided:] else len(text)
    places = [match.start() for match in _BETWEEN_WORDS.finditer(text, end - 4096, end)]
    return places[-1] if places else end if end == decided else end - len(END_OF_TEXT)
