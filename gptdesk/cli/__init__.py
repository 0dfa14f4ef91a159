"""Verbs of `gptdesk`: one function each, which parses arguments and prints results."""

import argparse
from collections.abc import Callable, Sequence

from gptdesk import __version__
from gptdesk.cli.about import about
from gptdesk.cli.bench import bench
from gptdesk.cli.bundle import bundle
from gptdesk.cli.compare import compare, evaluate
from gptdesk.cli.generate import generate
from gptdesk.cli.history import history
from gptdesk.cli.models import models
from gptdesk.cli.parsing import Parser, UsageError, path
from gptdesk.cli.recipe import recipe
from gptdesk.cli.runs import runs
from gptdesk.cli.samplers import samplers
from gptdesk.cli.shortcut import shortcut
from gptdesk.cli.train import train
from gptdesk.cli.uninstall import uninstall
from gptdesk.desk import Desk
from gptdesk.settings import load_settings

__all__ = ["UsageError", "main_parser", "run"]

EPILOG = (
    "Without a verb the desk opens in the browser. A model is NAME or NAME:PRECISION, as in starter:float32. "
    "Each verb has its own --help."
)

VERBS: dict[str, Callable[[Desk, Sequence[str]], int]] = {
    "generate": generate,
    "samplers": samplers,
    "models": models,
    "compare": compare,
    "evaluate": evaluate,
    "train": train,
    "runs": runs,
    "history": history,
    "recipe": recipe,
    "bench": bench,
    "bundle": bundle,
    "about": about,
    "shortcut": shortcut,
    "uninstall": uninstall,
}


def main_parser() -> Parser:
    """Return the parser of the desk's own options and the verb; the verb's options are left to it."""
    parser = Parser(prog="gptdesk", description="A workbench for small GPT models.", epilog=EPILOG)
    parser.add_argument("--version", action="version", version=f"gptdesk {__version__}")
    parser.add_argument("--home", type=path, metavar="DIR", help="folder of models and settings (also GPTDESK_HOME)")
    parser.add_argument("--host", help="address to listen on (default 127.0.0.1: this computer only)")
    parser.add_argument(
        "--allow-host",
        metavar="NAME,NAME",
        help="host names, separated by commas, that your reverse proxy uses for the desk",
    )
    parser.add_argument("--port", help="first port to try (default 7860)")
    parser.add_argument(
        "--api-key", metavar="KEY", help="key that requests to the API must send (better by GPTDESK_API_KEY)"
    )
    parser.add_argument(
        "--share", action="store_const", const=True, help="make a public link, by which others can use the desk"
    )
    parser.add_argument("--no-browser", dest="browser", action="store_const", const=False, help="do not open the page")
    parser.add_argument(
        "--app-window",
        action="store_const",
        const=True,
        help="open the page in a window without browser bars, if possible",
    )
    parser.add_argument("verb", nargs="?", choices=list(VERBS), metavar="VERB", help=", ".join(VERBS))
    parser.add_argument("rest", type=path, nargs=argparse.REMAINDER, help=argparse.SUPPRESS)
    return parser


def run(verb: str, arguments: Sequence[str], *, home: str | None) -> int:
    """Run one verb and return the exit code. Raises ValueError or UsageError for a mistake of the user."""
    # The options of `generate` depend on the samplers in the home folder, so the home comes first.
    desk = Desk(load_settings({"home": _home(verb, arguments) or home}))
    return VERBS[verb](desk, arguments)


def _home(verb: str, arguments: Sequence[str]) -> str | None:
    """Return the value of the last --home, if there is one."""
    home = None
    for word, following in zip(arguments, [*arguments[1:], "-"], strict=False):
        if word == "--home" and following.startswith("-"):
            raise UsageError(f"argument --home: expected one argument; see `gptdesk {verb} --help`")
        if word == "--home":
            home = following
        elif word.startswith("--home="):
            home = word.removeprefix("--home=")
    return home
