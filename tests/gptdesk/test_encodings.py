# ruff: noqa: RUF001
"""Encodings of texts: UTF-8 with a few bad bytes stays UTF-8, others are guessed and told, binary files are refused."""

import codecs
import io
import pickle
import random
import tracemalloc
import zipfile
import zlib

import pytest
import torch
from safetensors.torch import save

from gptdesk.encodings import BLOCK, NO_UTF8, Survey, checked_encoding, decoded

# The first article of the Universal Declaration of Human Rights, or its beginning.
TEXTS = {
    "cp1252": "Tous les êtres humains naissent libres et égaux en dignité et en droits. Ils sont doués de raison.",
    "cp1250": "Wszyscy ludzie rodzą się wolni i równi pod względem swej godności i swych praw. Są oni obdarzeni "
    "rozumem i sumieniem i powinni postępować wobec innych w duchu braterstwa. Każdy człowiek posiada wszystkie prawa.",
    "cp1251": "Все люди рождаются свободными и равными в своем достоинстве и правах.",
    "koi8-r": "Все люди рождаются свободными и равными в своем достоинстве и правах.",
    "cp866": "Все люди рождаются свободными и равными в своем достоинстве и правах.",
    "cp1253": "Όλοι οι άνθρωποι γεννιούνται ελεύθεροι και ίσοι στην αξιοπρέπεια και τα δικαιώματα.",
    "cp1256": "يولد جميع الناس أحرارا متساوين في الكرامة والحقوق. وقد وهبوا عقلا وضميرا.",
    "cp874": "มนุษย์ทั้งหลายเกิดมามีอิสระและเสมอภาคกันในเกียรติศักดิ์และสิทธิ",
    "gb18030": "人人生而自由，在尊严和权利上一律平等。他们赋有理性和良心，并应以兄弟关系的精神相对待。",
    "big5": "人人生而自由，在尊嚴和權利上一律平等。他們賦有理性和良心，並應以兄弟關係的精神互相對待。",
    "cp932": "すべての人間は、生まれながらにして自由であり、かつ、尊厳と権利とについて平等である。",
    "euc-jp": "すべての人間は、生まれながらにして自由であり、かつ、尊厳と権利とについて平等である。"
    "人間は、理性と良心とを授けられており、互いに同胞の精神をもって行動しなければならない。",
    "iso2022-jp": "すべての人間は、生まれながらにして自由であり、かつ、尊厳と権利とについて平等である。",
    "cp949": "모든 인간은 태어날 때부터 자유로우며 그 존엄과 권리에 있어 동등하다.",
}


@pytest.mark.parametrize("encoding", TEXTS)
@pytest.mark.parametrize("times", [1, 3000])
def test_what_is_not_utf8_is_guessed_and_told(encoding: str, times: int) -> None:
    text = TEXTS[encoding] * times
    found = decoded(text.encode(encoding), name="notes.txt")
    assert found.text == text
    assert (found.reading.invalid, found.reading.line) == (0, 0)
    (told,) = found.reading.remarks("notes.txt")
    start = f'notes.txt is not UTF-8; it was read as {found.reading.encoding}: "{text[:20]}'
    assert told.startswith(start)
    assert told.endswith('"; if that looks wrong, name its encoding with --encoding, or save it as UTF-8')
    assert len(told) < 220


@pytest.mark.parametrize("text", [text for encoding, text in TEXTS.items() if encoding != "iso2022-jp"])
def test_a_bad_byte_does_not_make_another_encoding_of_utf8(text: str) -> None:
    data = text.encode()
    middle = len(text[: len(text) // 2].encode())
    assert decoded(data, name="a").reading.encoding == "utf-8"
    assert not list(decoded(data, name="a").reading.remarks("a"))
    found = decoded(b"one line\n" + data[:middle] + b"\xff" + data[middle:], name="a")
    assert found.text == f"one line\n{data[:middle].decode()}\ufffd{data[middle:].decode()}"
    assert list(found.reading.remarks("a")) == ["1 byte of a is not valid UTF-8 (in line 2) and was read as \ufffd"]
    cut_off = (text + "é").encode()[:-1]
    assert decoded(cut_off, name="a").text == f"{text}\ufffd"
    twice = decoded(data + b"\n\xfe\n" + data + b"\xff", name="a").reading
    assert list(twice.remarks("a")) == [
        "2 bytes of a are not valid UTF-8 (the first in line 2) and were read as \ufffd"
    ]


def test_ascii_with_a_byte_that_is_not_is_no_utf8() -> None:
    for data in (b"caf\xe9", b"The caf\xe9 was open. " * 50, b"plain words " * 100_000 + b"caf\xe9"):
        found = decoded(data, name="a")
        assert (found.text, found.reading.encoding) == (data.decode("cp1252"), "cp1252")
        assert found.reading.excerpt


def test_many_bad_bytes_before_much_that_is_valid_are_looked_through() -> None:
    mixed = b"\xff" * (NO_UTF8 // 2) + "Grüße ".encode() * NO_UTF8
    assert decoded(mixed, name="a").reading.invalid == NO_UTF8 // 2


def test_blocks_end_anywhere() -> None:
    for text, encoding in (
        (TEXTS["gb18030"] * 3, "utf-8"),
        (TEXTS["gb18030"] + "\n", "gb18030"),
        (TEXTS["cp1251"], "cp1251"),
    ):
        data = text.encode(encoding) * 3
        for cut in range(1, 40):
            survey = Survey("a")
            survey.add(data[:cut])
            survey.add(data[cut:])
            assert survey.reading().encoding == encoding


def test_memory_does_not_grow_with_the_text() -> None:
    block = (TEXTS["cp1251"] + "\n").encode("cp1251") * (BLOCK // len(TEXTS["cp1251"]))
    tracemalloc.start()
    try:
        survey = Survey("a")
        for _ in range(20):
            survey.add(block)
        assert survey.reading().encoding == "cp1251"
        assert tracemalloc.get_traced_memory()[1] < 16_000_000
    finally:
        tracemalloc.stop()


def zipped() -> bytes:
    with zipfile.ZipFile(file := io.BytesIO(), "w") as archive:
        archive.writestr("a.txt", "hello")
    return file.getvalue()


BINARY = {
    "picture": b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR",
    "zip": zipped(),
    "pickle": pickle.dumps({"a": [1, 2]}),
    "empty pickle": pickle.dumps([], 2),
    "safetensors": save({"a": torch.zeros(4)}),
    "PDF": b"%PDF-1.4\n1 0 obj << /Type /Catalog >> endobj\n%%EOF\n",
    "compressed": zlib.compress(" ".join(TEXTS.values()).encode()),
    "random": random.Random(0).randbytes(3000),
    "random without controls": bytes(random.Random(0).choices(range(32, 256), k=3000)),
    "C1 in UTF-8": "ab\x90\x91".encode() * 100,
    "C1 late": b"plain text " * 9000 + "\x90".encode() * 9000,
    "C1 alone": bytes(range(0x80, 0xA0)) * 20,
    "UTF-16 full of C1": "ab\x90\x91".encode("utf-16") * 100,
    "UTF-16 with NUL": "ab\0".encode("utf-16"),
}


@pytest.mark.parametrize("data", BINARY.values(), ids=BINARY)
def test_binary_files_are_refused(data: bytes) -> None:
    with pytest.raises(ValueError, match=r"^x\.bin is not a text file[;,]"):
        decoded(data, name="x.bin")


@pytest.mark.parametrize("encoding", ["latin-1", "cp1252", "utf-8"])
def test_binary_files_are_refused_in_an_encoding_that_is_given_too(encoding: str) -> None:
    with pytest.raises(ValueError, match=r"^x\.bin (is not a text file|cannot be read as)"):
        decoded(BINARY["random"], name="x.bin", encoding=encoding)


def test_an_encoding_that_is_given_decides_but_not_over_a_byte_order_mark() -> None:
    text = "Grüße, мир"
    assert decoded(text.encode("utf-16-le"), name="a", encoding="utf-16-le").text == text
    assert decoded(b"\xff\xfe" + text.encode("utf-16-le"), name="a", encoding="cp1251").text == text
    assert decoded(codecs.BOM_UTF8 + text.encode(), name="a", encoding="cp1251").text == text
    assert decoded("Привет".encode("cp1251"), name="a", encoding="windows-1252").text == "Ïðèâåò"
    assert decoded("für".encode(), name="a", encoding="latin-1").text == "fÃ¼r"
    with pytest.raises(
        ValueError, match=r"^a cannot be read as utf-8: of what is not ASCII in it, 100% is invalid; save"
    ):
        decoded("Привет".encode("cp1251"), name="a", encoding="utf-8")
    some = decoded("漢字".encode("cp932") * 30 + b"\n\x81", name="a", encoding="cp932")
    assert list(some.reading.remarks("a")) == ["1 character of a is not valid cp932 (in line 2) and was read as \ufffd"]


def test_line_ends_become_newlines() -> None:
    assert decoded("one\r\ntwo\rthree\n".encode("utf-16"), name="a").text == "one\ntwo\nthree\n"


@pytest.mark.parametrize("name", ["base64", "zip", "rot13", "idna", "unicode_escape", "nosuch", "a\0b", "é", "utf-7"])
def test_what_is_no_encoding_of_text_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match=r"^encoding must be auto or an encoding of text such as utf-8, .* not '"):
        checked_encoding(name)


def test_encodings_have_many_names() -> None:
    assert [checked_encoding(name) for name in ("", " auto ", "windows-1251", "Latin-1", "utf-16", "utf8")] == [
        "auto",
        "auto",
        "windows-1251",
        "Latin-1",
        "utf-16",
        "utf8",
    ]
