"""Character encodings of texts: detection, a named one, invalid bytes."""

import codecs
import contextlib
import re
from collections.abc import Iterator
from dataclasses import dataclass

from gptdesk.encodings.guess import excerpt, likeliest

AUTO = "auto"
COMMON = ("utf-8", "utf-16", "cp1252", "cp1250", "cp1251", "koi8-r", "gb18030", "big5", "cp932", "euc-jp", "cp949")
BLOCK = 1 << 20  # bytes examined together
MOST_CONTROLS = 0.05  # share of control characters beyond which it is no text
VALID_PER_INVALID = 2  # multi-byte sequences that must be valid for each invalid byte of UTF-8
NO_UTF8 = 1 << 16  # invalid bytes after which UTF-8 is ruled out if too few sequences were valid so far
MOST_INVALID = 0.01  # share of a text that may be invalid in an encoding that was given
SAMPLE = 1 << 16  # bytes that an encoding is guessed from
AROUND = 200  # bytes of plain ASCII before others that are part of the sample
BOMS = {
    codecs.BOM_UTF8: "utf-8-sig",
    codecs.BOM_UTF32_LE: "utf-32",  # before UTF-16, whose mark it begins with
    codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}
UTF8 = ("utf-8", "utf-8-sig")
CONTROL = re.compile("[\0-\x08\x0e-\x1a\x1c-\x1f\x7f-\x9f]")  # C0 without white space and escape, DEL, C1

# Codecs of Python between texts and bytes that are no encodings of files: escapes and domain names.
_NO_ENCODINGS = {"idna", "punycode", "unicode-escape", "raw-unicode-escape", "undefined", "utf-7"}
_CONTROL_BYTES = bytes(byte for byte in (*range(32), 127) if byte not in b"\t\n\v\f\r\x1b")
_ESCAPED = re.compile("[\udc80-\udcff]")  # bytes that are not UTF-8, decoded with surrogateescape
_C1 = re.compile("[\x80-\x9f]")
_SHIFT = b"\x1b$"  # with which ISO-2022 leaves ASCII, in bytes that are all ASCII
_BEYOND_ASCII = re.compile(rb"[\x80-\xff]|\x1b\$")


@dataclass(frozen=True)
class Reading:
    """Encoding of a text, with its invalid bytes."""

    encoding: str  # as Python names it
    invalid: int = 0  # bytes, or characters if it is not UTF-8, that were read as U+FFFD
    line: int = 0  # of the first of them
    excerpt: str = ""  # a decoded line, if the encoding was guessed

    def remarks(self, name: str) -> Iterator[str]:
        """Yield sentences for the user on how the text `name` was read."""
        if self.excerpt:
            yield (
                f'{name} is not UTF-8; it was read as {self.encoding}: "{self.excerpt}"; if that looks wrong, name its '
                "encoding with --encoding, or save it as UTF-8"
            )
        if self.invalid:
            what = "byte" if self.encoding in UTF8 else "character"
            spelled = "UTF-8" if self.encoding in UTF8 else self.encoding
            one = self.invalid == 1
            yield (
                f"{self.invalid:,} {what}{'s' * (not one)} of {name} {'is' if one else 'are'} not valid {spelled} "
                f"({'' if one else 'the first '}in line {self.line:,}) and {'was' if one else 'were'} read as \ufffd"
            )


@dataclass(frozen=True)
class Decoded:
    """Decoded text with its reading."""

    text: str  # with newlines as line ends, without a byte order mark
    reading: Reading


def checked_encoding(encoding: str) -> str:
    """Return `encoding`, AUTO if it is blank. Raises ValueError if Python has no such encoding of text."""
    encoding = encoding.strip() or AUTO
    if encoding == AUTO:
        return AUTO
    if not _is_encoding(encoding):
        raise ValueError(
            f"encoding must be {AUTO} or an encoding of text such as {', '.join(COMMON[:-1])} or {COMMON[-1]}, "
            f"not {encoding[:60]!r}"
        )
    return encoding


def _is_encoding(name: str) -> bool:
    try:
        known = codecs.lookup(name).name
        with contextlib.suppress(UnicodeError):  # half a character of UTF-16
            b" ".decode(name)  # raises LookupError for codecs that are no encodings of text: base64, zip
    except (LookupError, ValueError):
        return False
    return known not in _NO_ENCODINGS


def without_surrogates(text: str) -> str:
    """Return the text with U+FFFD for each half of a surrogate pair that has no other half, which is no character."""
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def decoded(data: bytes, *, name: str, encoding: str = AUTO) -> Decoded:
    """Decode `data`; its encoding is detected unless one is given.

    Raises ValueError with `name` if it is no text or cannot be read in its encoding.
    """
    survey = Survey(name, encoding)
    for start in range(0, len(data), BLOCK):
        survey.add(data[start : start + BLOCK])
    reading = survey.reading()
    text = data.decode(reading.encoding, "replace").removeprefix("\ufeff")
    if reading.encoding not in UTF8:
        tally = Tally(name, reading)
        tally.add(text)
        reading = tally.reading()
    return Decoded(text.replace("\r\n", "\n").replace("\r", "\n"), reading)


class Survey:
    """Detection of the encoding of a text, block by block; only a sample is kept in memory.

    In this order: a byte order mark, which overrides an encoding that was given, as in browsers; the encoding given;
    UTF-8 if all bytes are valid; UTF-8 if nearly all are; a guess of charset-normalizer.

    Nearly valid is UTF-8 with at least VALID_PER_INVALID multi-byte sequences for each invalid byte. Text of other
    encodings looks valid by chance only: of 28,000 fragments of 16 characters and more, of 30 languages in 24
    encodings, none had more than 1.84 valid sequences for each invalid byte; of 3,600 fragments of 8 characters, one in
    a thousand had 2 or more. A sequence that the end cuts off is no evidence against UTF-8, but needs another one that
    is whole: a text in ASCII whose only other byte is 0xE9 is no UTF-8, but cp1252 or latin-1.
    """

    def __init__(self, name: str, encoding: str = AUTO) -> None:
        self._name = name
        self._given = "" if encoding == AUTO else codecs.lookup(encoding).name
        self._bom = ""
        self._size = self._controls = 0
        self._decoder = codecs.getincrementaldecoder("utf-8")("surrogateescape")
        self._valid = self._invalid = 0  # multi-byte sequences, and bytes
        self._ruled_out = False  # whether it is no UTF-8
        self._lines, self._first = 1, 0  # lines so far, and that of the first invalid byte
        self._sample, self._full, self._ragged = b"", False, False  # ragged: it may end within a character
        self._rest = b""  # what may belong to the sample, once it is known how it goes on
        self._shifts = False  # whether it may be ISO-2022

    def add(self, block: bytes) -> None:
        """Add the next block. Raises ValueError once it is certain that this is no text."""
        if not self._size:
            self._bom = next((encoding for mark, encoding in BOMS.items() if block.startswith(mark)), "")
            if block.startswith(b"%PDF-"):  # which may be plain ASCII
                raise self._no_text()
            if self._bom == "utf-8-sig":  # which is no evidence that the rest is valid
                block = block.removeprefix(codecs.BOM_UTF8)
        self._size += len(block)
        if self._encoding not in (None, *UTF8):
            return  # a Tally examines the decoded text
        self._controls += len(block) - len(block.translate(None, _CONTROL_BYTES))
        # the beginning of a text may have more control characters than all of it
        if b"\0" in block or self._controls > MOST_CONTROLS * max(self._size, BLOCK // 16):
            raise self._no_text()
        self._shifts = self._shifts or _SHIFT in block
        if not self._full and (self._rest or self._shifts or not block.isascii()):
            self._add_to_sample(block)
        self._decode(block, final=False)

    def reading(self) -> Reading:
        """Return the reading of the whole text. Raises ValueError if it is no text, or in no known encoding."""
        encoding = self._encoding
        if encoding not in (None, *UTF8):
            return Reading(encoding)
        cut_off = len(self._decoder.getstate()[0])  # bytes of a sequence that did not end
        self._decode(b"", final=True)
        if self._rest and not self._full:
            self._add_to_sample(b"", final=True)
        if self._controls > MOST_CONTROLS * max(self._size, 1):
            raise self._no_text()
        if encoding is None and not self._ruled_out and self._is_utf8(cut_off):
            encoding = "utf-8"
        if encoding is None:
            return self._guess()
        _check_valid(self._name, encoding, self._invalid, self._invalid + self._valid, self._size)
        return Reading(encoding, self._invalid, self._first)

    def _is_utf8(self, cut_off: int) -> bool:
        """Return whether this is UTF-8 or nearly so; the last `cut_off` bytes are a sequence that did not end."""
        if not self._invalid:
            return self._valid > 0 or not self._shifts or likeliest(self._sample, ragged=self._ragged) != "iso2022_jp"
        return self._valid > 0 and self._valid >= VALID_PER_INVALID * (self._invalid - cut_off)

    @property
    def _encoding(self) -> str | None:
        """Encoding of the byte order mark, or the one given."""
        return self._bom or self._given or None

    def _decode(self, block: bytes, *, final: bool) -> None:
        """Count valid and invalid UTF-8."""
        if self._ruled_out:
            return
        text = self._decoder.decode(block, final)
        if not text.isascii():
            self._controls += _count(_C1, text)
            others = len(text) - len(text.encode("ascii", "ignore"))
            match = _ESCAPED.search(text)
            if match and not self._first:
                self._first = self._lines + text.count("\n", 0, match.start())
            invalid = _count(_ESCAPED, text) if match else 0
            self._valid += others - invalid
            self._invalid += invalid
            self._ruled_out = self._encoding is None and self._invalid > max(NO_UTF8, self._valid / VALID_PER_INVALID)
        self._lines += text.count("\n")

    def _add_to_sample(self, block: bytes, *, final: bool = False) -> None:
        """Keep lines that are not plain ASCII, whole or cut at white space, which is never within a character."""
        block = self._rest + block
        end = len(block) if final else 1 + max(block.rfind(blank) for blank in (b" ", b"\n"))
        if len(block) - end >= SAMPLE:  # a text without white space
            end = len(block)
        before = block[max(0, end - AROUND) : end]
        self._rest = (before if before.isascii() else b"") + block[end:]
        start = 0
        while (match := _BEYOND_ASCII.search(block, start, end)) and not self._full:
            begin = block.rfind(b"\n", start, match.start()) + 1 or start
            if match.start() - begin > AROUND:  # a line without end
                begin = max(begin, block.rfind(b" ", begin, match.start() - AROUND))
            start = block.find(b"\n", match.start(), end) + 1 or end
            line, room = block[begin:start], SAMPLE - len(self._sample)
            if len(line) > room:
                cut = line.rfind(b" ", 0, room)
                self._full, self._ragged = True, cut < 0
                line = line[: room if cut < 0 else cut]
            self._sample += line

    def _guess(self) -> Reading:
        sample = self._sample
        encoding = likeliest(sample, ragged=self._ragged)
        if encoding is None:
            raise ValueError(
                f"{self._name} is not a text file, or in an encoding that cannot be guessed; give plain text in UTF-8, "
                "or name its encoding with --encoding"
            )
        return Reading(codecs.lookup(encoding).name, excerpt=excerpt(sample.decode(encoding, "replace")))

    def _no_text(self) -> ValueError:
        return no_text(self._name)


class Tally:
    """Counter of invalid characters in a text of a given encoding, other than UTF-8, while it is decoded."""

    def __init__(self, name: str, reading: Reading) -> None:
        self._name, self._reading = name, reading
        self._characters = self._others = self._controls = self._invalid = self._line = 0
        self._lines = 1

    def add(self, text: str) -> None:
        """Add decoded text, with U+FFFD for invalid characters. Raises ValueError if it is no text."""
        self._characters += len(text)
        self._others += len(text) - len(text.encode("ascii", "ignore"))
        self._controls += _count(CONTROL, text)
        if invalid := text.count("\ufffd"):
            self._line = self._line or self._lines + text.count("\n", 0, text.index("\ufffd"))
            self._invalid += invalid
        self._lines += text.count("\n")
        if "\0" in text or self._controls > MOST_CONTROLS * max(self._characters, BLOCK // 16):
            raise no_text(self._name)

    def reading(self) -> Reading:
        """Return the reading with the counts. Raises ValueError if too much was invalid, or it is no text."""
        if self._controls > MOST_CONTROLS * max(self._characters, 1):
            raise no_text(self._name)
        _check_valid(self._name, self._reading.encoding, self._invalid, self._others, self._characters)
        return Reading(self._reading.encoding, self._invalid, self._line, self._reading.excerpt)


def no_text(name: str) -> ValueError:
    """Return the error for a file that is no text."""
    return ValueError(f"{name} is not a text file; give plain text, such as a .txt file")


def _count(characters: re.Pattern[str], text: str) -> int:
    """Return how many of these there are; a list of a million matches would take 70 MB."""
    return len(text) - len(characters.sub("", text))


def _check_valid(name: str, encoding: str, invalid: int, others: int, size: int) -> None:
    """Raise ValueError if most characters beyond ASCII are invalid, and they are more than MOST_INVALID of the text."""
    if 2 * invalid > others and invalid > MOST_INVALID * size:
        raise ValueError(
            f"{name} cannot be read as {encoding}: of what is not ASCII in it, {invalid / others:.0%} is invalid; save "
            "it as UTF-8, or name its encoding with --encoding"
        )
