"""Text as a user has it, pasted, in files or in folders: its encoding found out, read a piece at a time."""

import codecs
import hashlib
import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from models.tokenizer import END_OF_TEXT

BLOCK = 1 << 20  # bytes or characters that are looked at together
MOST_CONTROLS = 0.05  # share of control characters beyond which it is no text
BOMS = {
    codecs.BOM_UTF8: "utf-8-sig",
    codecs.BOM_UTF32_LE: "utf-32",
    codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}
NOT_IN_CP1252 = bytes([0x81, 0x8D, 0x8F, 0x90, 0x9D])
_CONTROLS = bytes(byte for byte in (*range(32), 127) if byte not in b"\t\n\v\f\r\x1b")
_SEPARATOR_BYTES = END_OF_TEXT.encode()
_SEPARATOR = re.compile(rf"^{re.escape(END_OF_TEXT)}\n?", re.MULTILINE)


@dataclass(frozen=True)
class TextFile:
    """A file that has been looked through and found to be text."""

    path: Path
    encoding: str
    size: int  # bytes
    digest: str  # SHA-256 of its bytes
    documents: int  # which lines of END_OF_TEXT separate


@dataclass(frozen=True)
class Piece:
    """Some of a document's text; `last` if the document ends with it."""

    text: str
    last: bool


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


def inspect(path: Path, *, name: str = "") -> Iterator[int | TextFile]:
    """Read a file once to find its encoding; yields the bytes read so far, at last the file itself.

    Raises ValueError, naming the file by its path or `name`, if it cannot be read or is no text.
    """
    name = name or str(path)
    digest = hashlib.sha256()
    size = controls = 0
    separated, tail = False, b""
    nul = impossible = False
    utf8 = codecs.getincrementaldecoder("utf-8")()
    valid = True
    try:
        with open(path, "rb") as file:
            head = file.read(4)
            file.seek(0)
            bom = next((encoding for mark, encoding in BOMS.items() if head.startswith(mark)), None)
            while block := file.read(BLOCK):
                digest.update(block)
                size += len(block)
                controls += len(block) - len(block.translate(None, _CONTROLS))
                nul = nul or b"\0" in block
                if bom in (None, "utf-8-sig") and (nul or controls > MOST_CONTROLS * max(size, BLOCK // 16)):
                    raise ValueError(f"{name} is not a text file; give plain text, such as a .txt file")
                separated = separated or _SEPARATOR_BYTES in tail + block
                tail = block[1 - len(_SEPARATOR_BYTES) :]
                impossible = impossible or block.translate(None, NOT_IN_CP1252) != block
                valid = valid and _decodes(utf8, block)
                yield size
    except OSError as error:
        raise _unreadable(name, error) from None
    valid = valid and _decodes(utf8, b"", final=True)
    if bom in (None, "utf-8-sig") and controls > MOST_CONTROLS * max(size, 1):
        raise ValueError(f"{name} is not a text file; give plain text, such as a .txt file")
    encoding = bom or ("utf-8" if valid else "latin-1" if impossible else "cp1252")
    text = TextFile(path, encoding, size, digest.hexdigest(), 1)
    if separated or bom not in (None, "utf-8-sig") or size < BLOCK:
        documents = 0
        for piece in pieces(text, name=name):
            documents += piece.last
            yield size
        text = replace(text, documents=documents)
    yield text


def pieces(file: TextFile, *, name: str = "") -> Iterator[Piece]:
    """The text of a file, split into documents, about BLOCK characters at a time; line ends become newlines.

    A piece ends before white space where there is some, so that BPE makes of the pieces what it makes of the whole.
    """
    rest, begun = "", False
    try:
        with open(file.path, encoding=file.encoding) as opened:
            while block := opened.read(BLOCK):
                *whole, rest = _SEPARATOR.split(rest + block)
                for text in whole:
                    if begun or text.strip():
                        yield Piece(text, last=True)
                    begun = False
                if len(rest) >= BLOCK:
                    cut = _place_to_cut(rest)
                    yield Piece(rest[:cut], last=False)
                    rest, begun = rest[cut:], True
    except UnicodeError:
        raise ValueError(f"{name or file.path} cannot be read as {file.encoding}; save it as UTF-8") from None
    except OSError as error:
        raise _unreadable(name or str(file.path), error) from None
    if begun or rest.strip():
        yield Piece(rest, last=True)


def checked(text: str) -> str:
    """Pasted text, if it can be trained on; ValueError otherwise."""
    if not text.strip():
        raise ValueError("the text is empty; paste some, or choose a file")
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        raise ValueError("the text holds lone surrogates, which are no characters; paste it again") from None
    return text


def _place_to_cut(text: str) -> int:
    """Where to end a piece: before the last white space between two words, or where there is none, anywhere.

    What follows is never the beginning of a separator that has not been read to its end.
    """
    tail = max(len(text) - 4096, 0)
    places = [tail + match.start() for match in re.finditer(r"(?<=\S)[ \t](?=[^\s<])", text[tail:])]
    return places[-1] if places else len(text) - len(END_OF_TEXT)


def _decodes(decoder: codecs.IncrementalDecoder, block: bytes, *, final: bool = False) -> bool:
    try:
        decoder.decode(block, final)
    except UnicodeDecodeError:
        return False
    return True
