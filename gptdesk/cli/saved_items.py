"""`gptdesk prompts` and `gptdesk presets`: the user's own, listed, saved, renamed, moved, exported and imported."""

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

from gptdesk.cli.parsing import path, standard_input, verb_parser
from gptdesk.desk import Desk
from gptdesk.formatting import plural
from gptdesk.saved_items import LARGEST_FILE, LONGEST_PROMPT, SavedItems
from models.json_values import parse_json
from models.storage import read_bytes, write_file


def prompts(desk: Desk, arguments: Sequence[str]) -> int:
    """Print or change the prompts of this home."""
    return _run(desk.prompts, "prompt", arguments)


def presets(desk: Desk, arguments: Sequence[str]) -> int:
    """Print or change the user's own presets of this home."""
    return _run(desk.presets, "preset", arguments)


def _run(items: SavedItems, kind: str, arguments: Sequence[str]) -> int:
    parser = verb_parser(f"{kind}s", f"List, save, rename, move, export and import {kind}s of your own.")
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
    actions.type = path
    for name, words in (
        ("list", f"print the names of your {kind}s, in their order"),
        ("show", f"print a {kind}"),
        ("save", f"save a {kind}, read from the standard input" + (" as JSON" if kind == "preset" else "")),
        ("rename", f"give a {kind} another name; a / in it makes a folder, as in poems/sea"),
        ("move", f"move a {kind} in the order"),
        ("delete", f"delete a {kind}"),
        ("export", f"write all your {kind}s to a file"),
        ("import", f"add the {kind}s of a file; none of yours is replaced"),
    ):
        action = actions.add_parser(name, help=words, description=words[0].upper() + words[1:] + ".")
        action.add_argument("--json", action="store_true", default=argparse.SUPPRESS, help="print JSON")
        if name in ("show", "save", "rename", "move", "delete"):
            action.add_argument("name", metavar="NAME", help=f"name of the {kind}")
        if name == "rename":
            action.add_argument("new", metavar="NEW", help="new name")
        if name == "move":
            action.add_argument("by", type=int, metavar="PLACES", help="-1 is one up, 1 one down")
        if name in ("export", "import"):
            action.add_argument("file", type=path, metavar="FILE")
    options = parser.parse_args(arguments)
    _act(items, kind, options)
    return 0


def _act(items: SavedItems, kind: str, options: argparse.Namespace) -> None:
    match options.action:
        case "list":
            names = list(items.read())
            print(json.dumps(names, indent=1) if options.json else "\n".join(names) or f"no {kind}s of yours")
        case "show":
            value = items.get(options.name)
            print(value if isinstance(value, str) and not options.json else json.dumps(value, indent=1))
        case "save":
            data = standard_input(f"the {kind}").read(4 * LONGEST_PROMPT)
            items.save(options.name, _text(data) if kind == "prompt" else parse_json(data))
        case "rename":
            items.rename(options.name, options.new)
        case "move":
            items.move(options.name, options.by)
        case "delete":
            items.delete(options.name)
        case "export":
            _export(items, Path(options.file))
        case "import":
            imported = items.import_file(read_bytes(Path(options.file), limit=LARGEST_FILE))
            there = f", {imported.known} were here already" if imported.known else ""
            print(f"added {plural(len(imported.added), kind)}{there}", file=sys.stderr)


def _text(data: bytes) -> str:
    try:
        return data.decode("utf-8").rstrip("\r\n")
    except UnicodeDecodeError:
        raise ValueError("the prompt is not UTF-8 text; convert it first") from None


def _export(items: SavedItems, file: Path) -> None:
    if file.exists():
        raise ValueError(f"{file} exists; choose another name, or delete it")
    write_file(file, items.export())
