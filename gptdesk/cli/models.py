"""`gptdesk models`: list of the models, quantization and import."""

import argparse
import dataclasses
import json
import logging
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from gptdesk.cli.parsing import Parser, number, path, verb_parser
from gptdesk.desk import Desk
from models.formats.options import ImportOptions
from models.gpt import GELU
from models.hub import SUGGESTED, HubModel, fetch, is_hub_id, look_up
from models.listing import ModelInfo
from models.precision import PRECISIONS

log = logging.getLogger(__name__)

BLINK = 0.2  # seconds between two looks of the progress


def models(desk: Desk, arguments: Sequence[str]) -> int:
    """List the models, quantize one, or import one."""
    parser = verb_parser("models", "Manage the models in the home folder.")
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
    actions.type = path  # the rest is validated by the parser of the action
    _add_action(actions, "list", "show every model")
    quantize = _add_action(actions, "quantize", "save a smaller and faster copy of a model")
    quantize.add_argument("name", metavar="NAME", help="model to read; it is not changed")
    quantize.add_argument("--precision", required=True, metavar="P", help=", ".join(list(PRECISIONS)[1:]))
    quantize.add_argument("--to", metavar="NAME", help="name of the new model; default: NAME-PRECISION")
    _add_import(actions)
    options = parser.parse_args(arguments)
    return {"list": _list, "quantize": _quantize, "import": _import}[options.action](desk, options)


def _add_action(actions: "argparse._SubParsersAction[Parser]", name: str, words: str) -> Parser:
    parser = actions.add_parser(name, help=words, description=words[0].upper() + words[1:] + ".", allow_abbrev=False)
    parser.add_argument("--json", action="store_true", default=argparse.SUPPRESS, help="print JSON")
    return parser


def _add_import(actions: "argparse._SubParsersAction[Parser]") -> None:
    parser = _add_action(actions, "import", "add a model in a file or folder, or of the Hugging Face Hub")
    words = f"file of weights, the folder it is in, or else an id of the Hub, such as {', '.join(SUGGESTED)}"
    parser.add_argument("path", type=path, metavar="PATH", help=words)
    parser.add_argument("--revision", default="", metavar="R", help="branch, tag or commit on the Hub; default: main")
    parser.add_argument("--name", metavar="NAME", help="name of the new model; default: like the file's")
    parser.add_argument("--n-head", type=number, default=0, metavar="N", help="attention heads, if the file has none")
    parser.add_argument("--activation", default="", metavar="X", help=f"{', '.join(GELU)}, if the file has none")
    words = "gpt2, or a tokenizer.json, meta.pkl or meta.json; default: the one beside the file"
    parser.add_argument("--tokenizer", type=path, default="", metavar="X", help=words)


def _list(desk: Desk, options: argparse.Namespace) -> int:
    available = desk.library.available()
    if options.json:
        print(json.dumps([_as_json(info) for info in available], indent=1))
        return 0
    print(f"{'NAME':24} {'PARAMETERS':>14} {'CONTEXT':>8} {'TOKENIZER':11} {'SIZE':>10}  PRECISIONS")
    for info in available:
        if info.problem:
            print(f"{info.name:24} cannot be used: {info.problem}")
        else:
            size = f"{info.size_bytes / 1e6:,.1f} MB"
            shape = f"{info.parameters:>14,} {info.context:>8,} {info.tokenizer:11} {size:>10}"
            print(f"{info.name:24} {shape}  {', '.join(info.precisions)}")
    return 0


def _quantize(desk: Desk, options: argparse.Namespace) -> int:
    """Write the new model and print its size. Raises ValueError if that fails."""
    original = desk.model(options.name)
    try:
        copy = desk.library.quantize(options.name, options.precision, to=options.to)
    except OSError as error:
        reason = error.strerror or error
        raise ValueError(f"{options.name} was not quantized and nothing was changed: {reason}") from error
    ratio = copy.size_bytes / original.size_bytes
    if options.json:
        print(json.dumps(_as_json(copy) | {"original_size_bytes": original.size_bytes, "ratio": ratio}, indent=1))
        return 0
    if copy.problem:
        print(f"{copy.name} was written to {copy.path}, but cannot be used here: {copy.problem}")
        return 1
    sizes = f"{copy.size_bytes / 1e6:,.1f} MB, {ratio:.0%} of {original.name}'s {original.size_bytes / 1e6:,.1f} MB"
    print(f"{copy.name}: {sizes}, in {copy.path}")
    return 0


def _import(desk: Desk, options: argparse.Namespace) -> int:
    """Add the model and print what it became. Raises ValueError if that fails."""
    given = ImportOptions(n_head=options.n_head, activation=options.activation, tokenizer=options.tokenizer)
    source, name, origin = Path(options.path), options.name, ""
    if not source.exists() and is_hub_id(options.path):
        name = desk.library.new_name(name, wished=options.path.rpartition("/")[2])
        model = look_up(options.path, revision=options.revision or "main")
        _download(model)
        source, origin = model.folder, model.origin
    elif options.revision:
        raise ValueError("--revision is for a model of the Hugging Face Hub, and this is a path; leave it out")
    try:
        info, imported = desk.library.import_model(source, name=name, options=given, origin=origin)
    except OSError as error:
        reason = error.strerror or error
        raise ValueError(f"{options.path} was not imported and nothing was changed: {reason}") from error
    if options.json:
        print(json.dumps(_as_json(info) | {"format": imported.kind, "remarks": list(imported.remarks)}, indent=1))
        return 0
    for remark in imported.remarks:
        print(f"{info.name}: {remark}")
    if info.problem:
        print(f"{info.name} was written to {info.path}, but cannot be used here: {info.problem}")
        return 1
    print(f"{info.name}: a {imported.kind}, {info.parameters:,} parameters, {info.size_bytes / 1e6:,.1f} MB")
    return 0


def _download(model: HubModel) -> None:
    """Download what the cache lacks of a model's files; log their sizes before, and show the progress on a terminal."""
    if model.remark:
        log.info("%s", model.remark)
    for file in model.files:
        log.info("  %-40s %12s bytes", file.name, f"{file.size:,}")
    left = f"{model.remaining / 1e6:,.1f} MB of {model.size / 1e6:,.1f} MB to download into {model.repository}"
    log.info("%s: %s", model.origin, left)
    shown, on_terminal = 0.0, sys.stderr.isatty()
    try:
        for received in fetch(model):
            if on_terminal and time.monotonic() - shown >= BLINK:
                shown = time.monotonic()
                sys.stderr.write(f"\r\x1b[K{model.id}: {received.done / 1e6:,.1f} of {model.size / 1e6:,.1f} MB")
                sys.stderr.flush()
    except BaseException as error:
        if not isinstance(error, Exception):  # a signal
            log.info("%s stopped; run this again, and it goes on where it stopped", model.id)
        raise
    finally:
        if on_terminal:
            sys.stderr.write("\r\x1b[K")


def _as_json(info: ModelInfo) -> dict[str, object]:
    return dataclasses.asdict(info) | {"path": str(info.path)}
