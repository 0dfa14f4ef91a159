"""Verbs of `gptdesk`: one function each, which parses arguments and prints results."""

import argparse
from collections.abc import Callable, Sequence

from gptdesk import __version__
from gptdesk.cli.about import about
from gptdesk.cli.batch import batch
from gptdesk.cli.bench import bench
from gptdesk.cli.bundle import bundle
from gptdesk.cli.compare import compare, evaluate
from gptdesk.cli.desk_options import SERVE, add_page_options, add_server_options, serve_parser
from gptdesk.cli.generate import generate
from gptdesk.cli.grid import grid
from gptdesk.cli.history import history
from gptdesk.cli.models import models
from gptdesk.cli.parsing import Parser, UsageError, path
from gptdesk.cli.recipe import recipe
from gptdesk.cli.runs import runs
from gptdesk.cli.samplers import samplers
from gptdesk.cli.saved_items import presets, prompts
from gptdesk.cli.sensitivity import sensitivity
from gptdesk.cli.shortcut import shortcut
from gptdesk.cli.train import train
from gptdesk.cli.uninstall import uninstall
from gptdesk.desk import Desk
from gptdesk.settings import load_settings

__all__ = ["SERVE", "UsageError", "main_parser", "run", "serve_parser"]

EPILOG = (
    "Without a verb the desk opens in the browser; `serve` is its API without the page. "
    "A model is NAME or NAME:PRECISION, as in starter:float32. "
    "Each verb has its own --help."
)

VERBS: dict[str, Callable[[Desk, Sequence[str]], int]] = {
    "generate": generate,
    "samplers": samplers,
    "models": models,
    "compare": compare,
    "evaluate": evaluate,
    "sensitivity": sensitivity,
    "train": train,
    "runs": runs,
    "history": history,
    "recipe": recipe,
    "batch": batch,
    "grid": grid,
    "prompts": prompts,
    "presets": presets,
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
    add_server_options(parser)
    add_page_options(parser)
    verbs = [*VERBS, SERVE]
    parser.add_argument("verb", nargs="?", choices=verbs, metavar="VERB", help=", ".join(verbs))
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
