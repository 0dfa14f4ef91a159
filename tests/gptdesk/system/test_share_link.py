"""QR codes of a public link, and links whose page or client cannot be had."""

import contextlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from gptdesk.system import share_link
from gptdesk.system.share_link import LinkState, ShareLink, svg_code, terminal_code


class _Terminal:
    def __init__(self, encoding: str, *, is_terminal: bool = True) -> None:
        self.encoding = encoding
        self.isatty = lambda: is_terminal


def test_the_code_is_shown_where_it_can_be() -> None:
    url = "https://0123456789abcdef01.gradio.live"
    code = terminal_code(url, _Terminal("utf-8"))  # type: ignore[arg-type]
    assert set(code) == set("█▀▄ \n")
    assert len({len(line) for line in code.splitlines()}) == 1
    assert terminal_code(url, _Terminal("cp1252")) == ""  # type: ignore[arg-type]
    assert terminal_code(url, _Terminal("utf-8", is_terminal=False)) == ""  # type: ignore[arg-type]
    assert svg_code(url).startswith("<svg")


@contextlib.contextmanager
def no_page() -> Iterator[int]:
    raise ValueError("no port is free")
    yield 0


@contextlib.contextmanager
def broken_page() -> Iterator[int]:
    raise RuntimeError("a fault of ours")
    yield 0


@contextlib.contextmanager
def some_page() -> Iterator[int]:
    yield 9


def test_a_page_that_cannot_be_had_is_one_sentence_and_the_next_attempt_begins(tmp_path: Path) -> None:
    link = ShareLink(no_page, folder=tmp_path)
    for _ in range(2):
        link.turn_on()
        assert link.wait() == LinkState(fault="no port is free")
    link.turn_off()
    assert link.state == LinkState()
    broken = ShareLink(broken_page, folder=tmp_path)
    broken.turn_on()
    assert "a fault of the desk; the terminal has the details" in broken.wait().fault


def test_a_client_that_says_nothing_or_nonsense_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(share_link, "PROGRAM", "this")  # a module that prints something else, and ends
    link = ShareLink(some_page, folder=tmp_path / "link")
    link.turn_on()
    assert link.wait().fault == "the link has ended, for its client process has; switch Share on again"
    hasty = ShareLink(some_page, folder=tmp_path / "link", patience=0.0)
    hasty.turn_on()
    assert "there was no answer for too long" in hasty.wait().fault
