"""`gptdesk bundle`: the desk as an archive for computers without network."""

import json
import logging
import sys
import time
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

from gptdesk.bundle import PACKAGES, Bundle, BundledModel, BundleProgress, write_bundle
from gptdesk.cli.parsing import path, verb_parser
from gptdesk.desk import Desk
from gptdesk.formatting import file_size, plural
from gptdesk.starter import CHECKPOINT as STARTER
from models.names import free_name

log = logging.getLogger(__name__)

BLINK = 0.2  # seconds between two looks of the progress
DESCRIPTION = (
    "Write one archive with the program, the packages it needs and models, for computers without network: unpack it "
    "there, then run python launch.py as usual. Packages are for this Python version, system and kind of processor."
)


def bundle(desk: Desk, arguments: Sequence[str]) -> int:
    """Write the archive and print what it is for. Raises ValueError if that fails."""
    parser = verb_parser("bundle", DESCRIPTION)
    parser.add_argument("--to", type=path, required=True, metavar="FILE.zip", help="new archive, outside the clone")
    words = "model to pack besides the starter; may be given several times"
    parser.add_argument("--model", action="append", default=[], dest="models", metavar="NAME", help=words)
    parser.add_argument("--replace", action="store_true", help="replace the archive if it exists")
    options = parser.parse_args(arguments)
    models = _models(desk, options.models)
    also = f", {', '.join(model.name for model in models)}" if models else ""
    size = sum(model.checkpoint.size_bytes for model in models)
    log.info("packages to download: about %.1f GB; models: the starter%s (%s)", PACKAGES / 1e9, also, file_size(size))
    written = _written(Path(options.to), models, replace=options.replace)
    python, *computer = written.made_for
    if options.json:
        result = {"path": str(written.path), "size_bytes": written.size_bytes, "packages": written.packages}
        print(json.dumps(result | {"python": python, "system": computer, "models": [model.name for model in models]}))
        return 0
    print(f"{written.path}: {file_size(written.size_bytes)}, {plural(written.packages, 'package')}")
    print(f"For computers with Python {python} on {' '.join(computer)}: unpack it there, then run python launch.py")
    own = {path.name for path in desk.settings.models.iterdir() if not path.name.startswith(".")}
    if left_out := sorted(own - set(options.models)):
        print(f"Not in it: {', '.join(left_out)}. Add a model of yours with --model NAME.")
    return 0


def _models(desk: Desk, names: Sequence[str]) -> list[BundledModel]:
    """Return the models to pack; ValueError if one does not exist or cannot be used."""
    models: list[BundledModel] = []
    for name in dict.fromkeys(names):
        checkpoint = desk.library.checkpoint(name)
        if checkpoint.path == STARTER.absolute():  # in the program anyway
            continue
        packed = free_name(name, ["starter", *(model.name for model in models)])  # NAME@STATE is none for a folder
        models.append(BundledModel(packed, checkpoint, desk.tokenizer(name)))
    return models


def _written(target: Path, models: Sequence[BundledModel], *, replace: bool) -> Bundle:
    """Return the bundle once it is written; show the progress on a terminal."""
    shown, on_terminal = 0.0, sys.stderr.isatty()
    try:
        with closing(write_bundle(target, models, replace=replace)) as events:
            for event in events:
                if isinstance(event, Bundle):
                    return event
                if on_terminal and time.monotonic() - shown >= BLINK:
                    shown = time.monotonic()
                    sys.stderr.write(f"\r\x1b[K{_spelled(event)}")
                    sys.stderr.flush()
    finally:
        if on_terminal:
            sys.stderr.write("\r\x1b[K")
    raise AssertionError("the stream ends with the bundle")


def _spelled(progress: BundleProgress) -> str:
    of = f" of {progress.total / 1e6:,.0f}" if progress.total else ""
    return f"{progress.step}: {progress.done / 1e6:,.0f}{of} MB"
