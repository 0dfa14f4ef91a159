"""What the verbs share to read their arguments."""

import argparse
import contextlib
from collections.abc import Sequence
from typing import Any, NoReturn

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
