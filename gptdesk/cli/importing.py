"""`gptdesk models import`: a model of another program, or of the Hugging Face Hub, becomes one of the desk's."""

import argparse
import json
import logging
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from gptdesk import management
from gptdesk.cli.managing import as_json
from gptdesk.cli.parsing import Parser, number, path
from gptdesk.desk import Desk
from gptdesk.importing import (
    ImportEvent,
    ImportResult,
    ImportTarget,
    find_on_hub,
    import_from_hub,
    import_path,
)
from models.download import Received
from models.formats.options import ImportOptions
from models.gpt import GELU
from models.hub import SUGGESTED, HubModel, is_hub_id

log = logging.getLogger(__name__)

BLINK = 0.2  # seconds between two looks of the progress


def add_import(add: Callable[[str, str], Parser]) -> None:
    """Add the action and its options."""
    parser = add("import", "add a model in a file or folder, or of the Hugging Face Hub")
    words = f"file of weights, the folder it is in, or else an id of the Hub, such as {', '.join(SUGGESTED)}"
    parser.add_argument("path", type=path, metavar="PATH", help=words)
    parser.add_argument("--revision", default="", metavar="R", help="branch, tag or commit on the Hub; default: main")
    parser.add_argument("--name", metavar="NAME", help="name of the new model; default: like the file's")
    parser.add_argument("--n-head", type=number, default=0, metavar="N", help="attention heads, if the file has none")
    parser.add_argument("--activation", default="", metavar="X", help=f"{', '.join(GELU)}, if the file has none")
    words = "gpt2, or a tokenizer.json, meta.pkl or meta.json; default: the one beside the file"
    parser.add_argument("--tokenizer", type=path, default="", metavar="X", help=words)


def import_model(desk: Desk, options: argparse.Namespace) -> int:
    """Add the model and print what it became. Raises ValueError if that fails."""
    given = ImportOptions(n_head=options.n_head, activation=options.activation, tokenizer=options.tokenizer)
    target, source = ImportTarget(desk.library, options.name, given), Path(options.path)
    if not source.exists() and is_hub_id(options.path):
        target, model = find_on_hub(target, options.path, revision=options.revision)
        _say_files(model)
        events = _with_progress(model, import_from_hub(target, model))
    elif options.revision:
        raise ValueError("--revision is for a model of the Hugging Face Hub, and this is a path; leave it out")
    else:
        events = import_path(target, source)
    [made] = [event for event in events if isinstance(event, ImportResult)]
    info, imported = made.info, made.imported
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


def _say_files(model: HubModel) -> None:
    """Log the sizes of a model's files, and what is to be downloaded."""
    if model.remark:
        log.info("%s", model.remark)
    for file in model.files:
        log.info("  %-40s %12s bytes", file.name, f"{file.size:,}")
    left = f"{model.remaining / 1e6:,.1f} MB of {model.size / 1e6:,.1f} MB to download into {model.repository}"
    log.info("%s: %s", model.origin, left)


def _with_progress(model: HubModel, events: Iterable[ImportEvent]) -> Iterator[ImportEvent]:
    """Yield the events of an import; show the progress of its download on a terminal."""
    shown, on_terminal = 0.0, sys.stderr.isatty()
    try:
        for event in events:
            yield event
            if on_terminal and isinstance(event, Received) and time.monotonic() - shown >= BLINK:
                shown = time.monotonic()
                sys.stderr.write(f"\r\x1b[K{model.id}: {event.done / 1e6:,.1f} of {model.size / 1e6:,.1f} MB")
                sys.stderr.flush()
    except BaseException as error:
        if not isinstance(error, Exception):  # a signal
            log.info("%s stopped; run this again, and it goes on where it stopped", model.id)
        raise
    finally:
        if on_terminal:
            sys.stderr.write("\r\x1b[K")
