"""`gptdesk models export`: a model for other programs, in a file, a folder, or a repository of the Hub."""

import argparse
import json
import logging
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from gptdesk.cli.parsing import Parser, UsageError, path
from gptdesk.desk import Desk
from gptdesk.export import FORMATS, export, export_format
from gptdesk.export.push import Pushed, PushPlan, plan_push, push
from gptdesk.export.push_errors import AGAIN
from gptdesk.formatting import file_size

log = logging.getLogger(__name__)


def add_export(add: Callable[[str, str], Parser]) -> None:
    """Add the action and its options."""
    parser = add("export", "write a model for other programs")
    parser.add_argument("name", metavar="NAME", help="model to read; it is not changed")
    formats = "; ".join(f"{known.name}: {known.title}" for known in FORMATS)
    parser.add_argument("--format", required=True, metavar="FORMAT", help=formats)
    words = "new file or folder to write; may be left out with --push"
    parser.add_argument("--to", type=path, metavar="PATH", help=words)
    precisions = "of the weights; pt: float32, int8-dynamic; gguf: f32, f16, q8_0, q4_0; space: any of ours"
    parser.add_argument("--precision", metavar="P", help=precisions)
    kinds = "kind of Space: static, a page that runs the model (default); zero, for ZeroGPU; cpu, the desk"
    parser.add_argument("--sdk", metavar="KIND", help=kinds)
    parser.add_argument("--zip", action="store_true", help="one archive instead of a folder (pt)")
    words = "upload to the Hugging Face Hub as this repository (huggingface, space), with the token of `hf auth login`"
    parser.add_argument("--push", metavar="USER/NAME", help=words)
    visibility = parser.add_mutually_exclusive_group()
    words = "only you see the new repository (the default)"
    visibility.add_argument("--private", action="store_true", help=words)
    visibility.add_argument("--public", action="store_true", help="everybody sees the new repository")


def export_model(desk: Desk, options: argparse.Namespace) -> int:
    """Write the model, push it if asked for, and print what to open. Raises ValueError if that fails."""
    plan = _plan(options)
    checkpoint, tokenizer = desk.library.checkpoint(options.name), desk.tokenizer(options.name)
    given = {"precision": options.precision, "zip": options.zip, "sdk": options.sdk}
    if plan and plan.kind == "model":
        given["repository"] = plan.id
    with tempfile.TemporaryDirectory(prefix="gptdesk-") as temporary:
        to = Path(options.to) if options.to else Path(temporary) / "export"
        written = export(checkpoint, tokenizer, name=options.name, to=to, format=options.format, **given)
        try:
            pushed = _push(written, plan) if plan else None
        except ValueError as error:
            if not options.to:
                raise
            raise ValueError(f"{error}; the export itself is in {written}, so leave --to out then") from error
    result: dict[str, object] = {"name": options.name, "format": options.format}
    if options.to:
        result["path"] = str(written)
    if pushed:
        result |= {"url": pushed.url, "commit": pushed.commit, "deleted": list(pushed.deleted)}
    if options.json:
        print(json.dumps(result, indent=1))
        return 0
    if options.to:
        print(f"{options.name} was written to {written}")
    if pushed:
        print(f"{options.name} is at {pushed.url}")
    return 0


def _plan(options: argparse.Namespace) -> PushPlan | None:
    """Return what a push will do, after telling it, or None without --push; the options must go together."""
    if options.push is None:
        if options.to is None:
            raise UsageError("--to PATH or --push USER/NAME is required; see `gptdesk models export --help`")
        if options.private or options.public:
            raise ValueError("--private and --public are for a repository that --push creates; leave them out")
        return None
    kind = export_format(options.format).repository
    if not kind:
        having = ", ".join(known.name for known in FORMATS if known.repository)
        raise ValueError(f"--push takes the formats {having}, not {options.format}; write it with --to instead")
    plan = plan_push(options.push, kind=kind, sdk=options.sdk, public=options.public)
    for sentence in plan.sentences:
        log.info("%s", sentence)
    return plan


def _push(folder: Path, plan: PushPlan) -> Pushed:
    """Upload a folder; the progress on stderr is that of huggingface_hub, between two lines of ours."""
    sizes = [file.stat().st_size for file in folder.rglob("*") if file.is_file()]
    log.info("Uploading %s files, %s, to %s.", f"{len(sizes):,}", file_size(sum(sizes)), plan.url)
    try:
        pushed = push(folder, plan)
    except BaseException as error:
        if sys.stderr.isatty():
            sys.stderr.write("\r\x1b[K")  # an unfinished progress bar
        if not isinstance(error, Exception):  # a signal
            log.info("The upload to %s stopped; %s", plan.id, AGAIN)
        raise
    if pushed.deleted:
        log.info("Deleted there, from an earlier push: %s", ", ".join(pushed.deleted)[:500])
    return pushed
