"""`gptdesk models export`: a model for other programs."""

import argparse
import json
from collections.abc import Callable
from pathlib import Path

from gptdesk.cli.parsing import Parser, path
from gptdesk.desk import Desk
from gptdesk.export import FORMATS, export


def add_export(add: Callable[[str, str], Parser]) -> None:
    """Add the action and its options."""
    parser = add("export", "write a model for other programs")
    parser.add_argument("name", metavar="NAME", help="model to read; it is not changed")
    formats = "; ".join(f"{known.name}: {known.title}" for known in FORMATS)
    parser.add_argument("--format", required=True, metavar="FORMAT", help=formats)
    parser.add_argument("--to", type=path, required=True, metavar="PATH", help="new file or folder to write")
    precisions = "of the weights; pt: float32, int8-dynamic; gguf: f32, f16, q8_0, q4_0; space: any of ours"
    parser.add_argument("--precision", metavar="P", help=precisions)
    kinds = "kind of Space: static, a page that runs the model (default); zero, for ZeroGPU; cpu, the desk"
    parser.add_argument("--sdk", metavar="KIND", help=kinds)
    parser.add_argument("--zip", action="store_true", help="one archive instead of a folder (pt)")


def export_model(desk: Desk, options: argparse.Namespace) -> int:
    """Write the model and print what to open. Raises ValueError if that fails."""
    checkpoint, tokenizer = desk.library.checkpoint(options.name), desk.tokenizer(options.name)
    given = {"precision": options.precision, "zip": options.zip, "sdk": options.sdk}
    to = Path(options.to)
    written = export(checkpoint, tokenizer, name=options.name, to=to, format=options.format, **given)
    if options.json:
        print(json.dumps({"name": options.name, "format": options.format, "path": str(written)}, indent=1))
    else:
        print(f"{options.name} was written to {written}")
    return 0
