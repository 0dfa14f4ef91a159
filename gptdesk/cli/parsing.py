"""Argument parsers and input of the verbs."""

import argparse
import contextlib
import logging
import sys
from collections.abc import Sequence
from typing import Any, BinaryIO, NoReturn

from gptdesk.encodings import AUTO, BLOCK, Survey, checked_encoding, decoded

log = logging.getLogger(__name__)

STANDARD_INPUT = "the standard input"
path = str  # type of an option that names a file, whose name may hold bytes that are not text


class UsageError(Exception):
    """Mistake in the arguments; the message is one line."""


class Parser(argparse.ArgumentParser):
    """Argument parser that raises UsageError where argparse prints its usage and ends the process."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        self.register("type", None, _text)  # the type of every option that states none

    def error(self, message: str) -> NoReturn:
        raise UsageError(f"{message}; see `{self.prog} --help`")


class VerbParser(Parser):
    """Parser that accepts a value beginning with a dash after an option that needs one, unless it is an option."""

    def parse_known_args(  # type: ignore[override]
        self, args: Sequence[str], namespace: argparse.Namespace | None = None
    ) -> tuple[argparse.Namespace, list[str]]:
        return super().parse_known_args(self._attached(args), namespace)

    def _attached(self, words: Sequence[str]) -> list[str]:
        """Return the words with each value that begins with a dash attached to its option: `--stop=---`."""
        known = self._option_string_actions
        attached: list[str] = []
        for word in words:
            option = known.get(attached[-1]) if attached else None
            if option and option.nargs is None and word.startswith("-") and word.partition("=")[0] not in known:
                attached[-1] += f"={word}"
            else:
                attached.append(word)
        return attached

    def _get_values(self, action: argparse.Action, arg_strings: list[str]) -> Any:
        if action.nargs is None and action.option_strings and arg_strings == ["--"]:
            return self._get_value(action, "--")  # which argparse would drop, and then miss
        return super()._get_values(action, arg_strings)


def verb_parser(verb: str, description: str) -> Parser:
    """Return a parser with the options that every verb has."""
    parser = VerbParser(prog=f"gptdesk {verb}", description=description, allow_abbrev=False)
    parser.add_argument("--home", type=path, metavar="DIR", help="folder of models and settings (also GPTDESK_HOME)")
    parser.add_argument("--json", action="store_true", help="print JSON")
    return parser


def add_encoding_option(parser: argparse.ArgumentParser, *, of: str) -> None:
    """Add --encoding, the encoding of the text that comes by the option `of`."""
    words = f"encoding of the text of {of}, such as cp1251; default: detected, with a message if it is not UTF-8"
    parser.add_argument("--encoding", default=AUTO, metavar="X", help=words)


def standard_input(what: str) -> BinaryIO:
    """Return the stream of the standard input, to read `what` from; raises ValueError if it is closed."""
    stream: BinaryIO | None = getattr(sys.stdin, "buffer", None)
    if stream is None or stream.closed:  # sys.stdin is None if it was closed with <&-, or without a terminal on Windows
        raise ValueError(
            f"{STANDARD_INPUT} is closed, so {what} cannot be read from it; pipe it in, or leave out the -"
        )
    return stream


def read_standard_input(what: str, *, encoding: str = AUTO) -> str:
    """Return all of the standard input, `what`, as text, decoded like a file; log a remark about its encoding.

    Raises ValueError if it is closed, cannot be read, or is not text.
    """
    encoding = checked_encoding(encoding)
    survey, blocks = Survey(STANDARD_INPUT, encoding), []
    piped = standard_input(what)
    try:
        while block := piped.read(BLOCK):
            survey.add(block)  # raises ValueError at once if it is not text: /dev/zero has no end
            blocks.append(block)
    except OSError as error:
        raise ValueError(f"{what} cannot be read from {STANDARD_INPUT} ({error.strerror}); pipe it in") from None
    text = decoded(b"".join(blocks), name=STANDARD_INPUT, encoding=encoding)
    for remark in text.reading.remarks(STANDARD_INPUT):
        log.warning("%s", remark)
    return text.text


def _text(value: str) -> str:
    """Return the value; raises an error, to which argparse adds the option, if its bytes are not valid UTF-8."""
    if any("\ud800" <= character <= "\udfff" for character in value):
        raise argparse.ArgumentTypeError("this is not valid UTF-8; save it as UTF-8, or type it again")
    return value


def number(text: str) -> int | float | str:
    """Return the number that `text` spells, or else the text, which the options class will refuse."""
    for kind in (int, float):
        with contextlib.suppress(ValueError):
            return kind(text)
    return text


def flag(option: str) -> str:
    """Return an option as it is typed: --top-k for top_k."""
    return "--" + option.replace("_", "-")
