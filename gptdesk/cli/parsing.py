"""What the verbs share to read their arguments."""

import argparse
import contextlib
from typing import NoReturn


class UsageError(Exception):
    """What was typed is no command of ours; the message is one line."""


class Parser(argparse.ArgumentParser):
    """Raises UsageError where argparse would print its usage and end the process."""

    def error(self, message: str) -> NoReturn:
        raise UsageError(f"{message}; see `{self.prog} --help`")


def verb_parser(verb: str, description: str) -> Parser:
    """A parser with the options that every verb has."""
    parser = Parser(prog=f"gptdesk {verb}", description=description, allow_abbrev=False)
    parser.add_argument("--home", metavar="DIR", help="folder of models and settings (also GPTDESK_HOME)")
    parser.add_argument("--json", action="store_true", help="print JSON")
    return parser


def number(text: str) -> int | float | str:
    """What was typed, as a number if it is one; the options class says what is wrong with the rest."""
    for kind in (int, float):
        with contextlib.suppress(ValueError):
            return kind(text)
    return text


def flag(option: str) -> str:
    """How an option is spelled in a terminal."""
    return "--" + option.replace("_", "-")
