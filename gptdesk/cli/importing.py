"""`gptdesk models import`: a model of another program becomes one of the desk's."""

import argparse
import json
from collections.abc import Callable
from pathlib import Path

from gptdesk import management
from gptdesk.cli.managing import as_json
from gptdesk.cli.parsing import Parser, number, path
from gptdesk.desk import Desk
from models.formats.options import ImportOptions
from models.gpt import GELU


def add_import(add: Callable[[str, str], Parser]) -> None:
    """Add the action and its options."""
    parser = add("import", "add a model in a file or folder of another program")
    parser.add_argument("path", type=path, metavar="PATH", help="file of weights, or the folder it is in")
    parser.add_argument("--name", metavar="NAME", help="name of the new model; default: like the file's")
    parser.add_argument("--n-head", type=number, default=0, metavar="N", help="attention heads, if the file has none")
    parser.add_argument("--activation", default="", metavar="X", help=f"{', '.join(GELU)}, if the file has none")
    words = "gpt2, or a tokenizer.json, meta.pkl or meta.json; default: the one beside the file"
    parser.add_argument("--tokenizer", type=path, default="", metavar="X", help=words)


def import_model(desk: Desk, options: argparse.Namespace) -> int:
    """Add the model and print what it became. Raises ValueError if that fails."""
    given = ImportOptions(n_head=options.n_head, activation=options.activation, tokenizer=options.tokenizer)
    try:
        info, imported = desk.library.import_model(Path(options.path), name=options.name, options=given)
    except OSError as error:
        reason = error.strerror or error
        raise ValueError(f"{options.path} was not imported and nothing was changed: {reason}") from error
    if options.json:
        result = {"format": imported.kind, "remarks": list(imported.remarks)}
        print(json.dumps(as_json(management.listed(desk.library, info)) | result, indent=1))
        return 0
    for remark in imported.remarks:
        print(f"{info.name}: {remark}")
    if info.problem:
        print(f"{info.name} was written to {info.path}, but cannot be used here: {info.problem}")
        return 1
    print(f"{info.name}: a {imported.kind}, {info.parameters:,} parameters, {info.size_bytes / 1e6:,.1f} MB")
    return 0
