"""Actions of `gptdesk models` that look at, rename, remove and verify models, and measure the home."""

import argparse
import json
from collections.abc import Callable
from dataclasses import asdict

from gptdesk import management
from gptdesk.cli.parsing import Parser
from gptdesk.desk import Desk
from gptdesk.disk_usage import size_of, usage
from gptdesk.formatting import file_size
from gptdesk.management import ListedModel, memory_estimates, when
from gptdesk.training.run_models import duplicates
from models.about import read_about
from models.weight_reading import group_sizes

AddAction = Callable[[str, str], Parser]
DASH = "-"


def add_actions(add: AddAction) -> None:
    """Add the parsers of ACTIONS, each made by `add(name, words)`."""
    show = add("show", "print all that is known of a model")
    show.add_argument("name", metavar="NAME", help="model to look at; its weights are not loaded")
    rename = add("rename", "give a model another name")
    rename.add_argument("name", metavar="NAME", help="model in the home folder")
    rename.add_argument("new", metavar="NEW", help="name that it gets")
    remove = add("remove", "delete a model and its quantized copies")
    remove.add_argument("name", metavar="NAME", help="model in the home folder; the runs that made it stay")
    verify = add("verify", "read models from disk whole, and say which are damaged")
    verify.add_argument("names", metavar="NAME", nargs="*", help="models to read; default: all")
    add("disk", "show what takes room in the home folder")


def show_list(desk: Desk, options: argparse.Namespace) -> int:
    """Print a line for each model."""
    models = management.listing(desk.library)
    if options.json:
        print(json.dumps([as_json(model) for model in models], indent=1))
        return 0
    print(
        f"{'NAME':24} {'PARAMETERS':>14} {'CONTEXT':>8} {'TOKENIZER':11} {'SIZE':>10} {'LOSS':>8} "
        f"{'LAST USED':12} {'ON DISK AT':24} SOURCE"
    )
    same = duplicates(desk.settings.runs, [model.info.name for model in models])
    for model in models:
        info = model.info
        if info.problem:
            print(f"{info.name:24} cannot be used: {info.problem}")
            continue
        size = f"{info.size_bytes / 1e6:,.1f} MB"
        loss = DASH if info.validation_loss is None else f"{info.validation_loss:.4f}"
        used = DASH if model.last_used is None else when(model.last_used)
        shape = f"{info.parameters:>14,} {info.context:>8,} {info.tokenizer:11} {size:>10} {loss:>8}"
        source = f"the weights of {same[info.name]}" if info.name in same else info.source
        print(f"{info.name:24} {shape} {used:12} {', '.join(model.stored):24} {source}".rstrip())
        for remark in info.remarks:
            print(f"{'':24} {remark}")
    return 0


def as_json(model: ListedModel) -> dict[str, object]:
    """Return a model of the list as JSON values."""
    more = {"stored": list(model.stored), "last_used": model.last_used}
    return asdict(model.info) | {"path": str(model.info.path)} | more


def _show(desk: Desk, options: argparse.Namespace) -> int:
    """Print about.json, files, sizes by group of tensors, and memory; code 1 if the model cannot be used."""
    model = management.listed(desk.library, desk.model(options.name))
    info = model.info
    about: dict[str, object] = {}
    groups: dict[str, int] = {}
    memory = []
    if not info.problem:
        about, groups = asdict(read_about(info.path)), group_sizes(info.path)
        memory = memory_estimates(desk.manager, info)
    files = {file.name: file.stat().st_size for file in sorted(info.path.iterdir()) if file.is_file()}
    if options.json:
        more = {"about": about, "files": files, "tensor_groups": groups}
        estimates = [asdict(one) | {"verdict": one.verdict} for one in memory]
        print(json.dumps(as_json(model) | more | {"memory": estimates}, indent=1))
        return 1 if info.problem else 0
    print(f"{info.name}, in {info.path}")
    if info.problem:
        print(f"cannot be used: {info.problem}")
        return 1
    print(f"{info.parameters:,} parameters, {info.context:,} tokens of context, tokenizer {info.tokenizer}")
    print(f"on disk at {', '.join(model.stored)}; last used {when(model.last_used)}")
    if about["recipe"] is not None:
        about["recipe"] = "options of the run and hash of its text: --json shows them"
    _print_table("About", {name: str(value) for name, value in about.items() if value not in ("", None)})
    _print_table("Files", {name: file_size(size) for name, size in files.items()})
    _print_table("Tensors", {name: file_size(size) for name, size in groups.items()})
    sizes = {e.precision: f"at most {file_size(e.needed)}, {e.verdict}" for e in memory}
    _print_table("Memory of the weights", sizes)
    return 0


def _rename(desk: Desk, options: argparse.Namespace) -> int:
    info = management.rename(desk.run_context, desk.manager, options.name, options.new)
    if options.json:
        print(json.dumps(as_json(management.listed(desk.library, info)), indent=1))
    else:
        print(f"{options.name} is now {info.name}, in {info.path}")
    return 0


def _remove(desk: Desk, options: argparse.Namespace) -> int:
    size = size_of(desk.model(options.name).path)
    management.remove(desk.run_context, desk.manager, options.name)
    if options.json:
        print(json.dumps({"removed": options.name, "size_bytes": size}))
    else:
        print(f"{options.name} was removed: {file_size(size)}")
    return 0


def _verify(desk: Desk, options: argparse.Namespace) -> int:
    """Print a sentence for each model; code 1 if one is damaged."""
    names = options.names or [info.name for info in desk.library.available()]
    problems: dict[str, str | None] = {}
    for name in names:
        try:
            tensors = desk.library.verify(name)
            problems[name], sentence = None, management.whole_sentence(name, tensors)
        except ValueError as error:
            problems[name] = sentence = str(error)
        if not options.json:
            print(sentence)
    if options.json:
        print(json.dumps([{"name": name, "problem": problem} for name, problem in problems.items()], indent=1))
    return 1 if any(problems.values()) else 0


def _disk(desk: Desk, options: argparse.Namespace) -> int:
    parts = usage(desk.settings.home)
    if options.json:
        as_data = [{"kind": part.kind, "size_bytes": part.size_bytes} for part in parts]
        print(json.dumps({"home": str(desk.settings.home), "parts": as_data}, indent=1))
        return 0
    print(desk.settings.home)
    for part in parts:
        print(f"{file_size(part.size_bytes):>14}  {part.kind}: {', '.join(path.name for path in part.paths)}")
        if part.kind == "models":
            for path in sorted(path for folder in part.paths for path in folder.iterdir()):
                print(f"{file_size(size_of(path)):>14}    {path.name}")
    print(f"{file_size(sum(part.size_bytes for part in parts)):>14}  in all")
    return 0


def _print_table(title: str, rows: dict[str, str]) -> None:
    if rows:
        print(f"{title}:")
    for name, value in rows.items():
        print(f"    {name + ':':24} {value}")


ACTIONS: dict[str, Callable[[Desk, argparse.Namespace], int]] = {
    "list": show_list,
    "show": _show,
    "rename": _rename,
    "remove": _remove,
    "verify": _verify,
    "disk": _disk,
}
