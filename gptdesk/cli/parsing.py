"""Shared by the verbs: parsers of arguments, and reading the standard input."""

import argparse
import contextlib
import logging
import sys
from collections.abc import Sequence
from typing import Any, BinaryIO, NoReturn

from gptdesk.encodings import AUTO, BLOCK, Survey, checked_encoding, decoded

log = logging.getLogger(__name__)

STANDARD_INPUT = "the standard input"
path = str  # the type of an option that names a file: such a name may hold bytes that are no text


class UsageError(Exception):
    """What was typed is no command of ours; the message is one line."""


class Parser(argparse.ArgumentParser):
    """Raises UsageError where argparse would print its usage and end the process."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        self.register("type", None, _text)  # the type of every option that states none

    def error(self, message: str) -> NoReturn:
        raise UsageError(f"{message}; see `{self.prog} --help`")


class VerbParser(Parser):
    """Accepts a value that begins with a dash after an option that needs one, unless it is itself an option."""

    def parse_known_args(  # type: ignore[override]
        self, args: Sequence[str], namespace: argparse.Namespace | None = None
    ) -> tuple[argparse.Namespace, list[str]]:
        return super().parse_known_args(self._attached(args), namespace)

    def _attached(self, words: Sequence[str]) -> list[str]:
        """The words, with each value that begins with a dash attached to its option: `--stop ---` as `--stop=---`."""
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
    """A parser with the options that every verb has."""
    parser = VerbParser(prog=f"gptdesk {verb}", description=description, allow_abbrev=False)
    parser.add_argument("--home", type=path, metavar="DIR", help="folder of models and settings (also GPTDESK_HOME)")
    parser.add_argument("--json", action="store_true", help="print JSON")
    return parser


def add_encoding_option(parser: argparse.ArgumentParser, *, of: str) -> None:
    """Add --encoding, the encoding of the text that comes by the option `of`."""
    told = f"encoding of the text of {of}, such as cp1251; default: found from its bytes, and told if it is not UTF-8"
    parser.add_argument("--encoding", default=AUTO, metavar="X", help=told)


def standard_input(what: str) -> BinaryIO:
    """The bytes that are piped or typed; ValueError if the standard input is closed, from which `what` was to come."""
    found: BinaryIO | None = getattr(sys.stdin, "buffer", None)
    if found is None or found.closed:  # sys.stdin is None if it was closed with <&-, or without a terminal on Windows
        raise ValueError(
            f"{STANDARD_INPUT} is closed, and {what} was to be read from it; pipe it in, or leave out the -"
        )
    return found


def read_standard_input(what: str, *, encoding: str = AUTO) -> str:
    """All of the standard input as text, decoded like a file; the user is told what was odd about its encoding.

    Raises ValueError if it is closed or cannot be read (`what` was to come from it), or is no text.
    """
    encoding = checked_encoding(encoding)
    survey, blocks = Survey(STANDARD_INPUT, encoding), []
    piped = standard_input(what)
    try:
        while block := piped.read(BLOCK):
            survey.add(block)  # which refuses what is no text at once: /dev/zero has no end
            blocks.append(block)
    except OSError as error:
        raise ValueError(f"{what} cannot be read from {STANDARD_INPUT} ({error.strerror}); pipe it in") from None
    found = decoded(b"".join(blocks), name=STANDARD_INPUT, encoding=encoding)
    for remark in found.reading.remarks(STANDARD_INPUT):
        log.warning("%s", remark)
    return found.text


def _text(value: str) -> str:
    """The value itself; argparse names the option if it holds bytes that the terminal's encoding cannot read."""
    if any("\ud800" <= character <= "\udfff" for character in value):
        raise argparse.ArgumentTypeError("this is no valid UTF-8; save it as UTF-8, or type it again")
    return value


def number(text: str) -> int | float | str:
    """What was typed, as a number if it is one; the options class says what is wrong with the rest."""
    for kind in (int, float):
        with contextlib.suppress(ValueError):
            return kind(text)
    return text


def flag(option: str) -> str:
    """How an option is spelled in a terminal."""
    return "--" + option.replace("_", "-")
