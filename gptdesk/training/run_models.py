"""The models that runs have saved so far, for whoever lends models: book@400, and book@latest for the newest save."""

import re
from pathlib import Path

from gptdesk.training.run_directory import HELD_OUT
from gptdesk.training.saves import MODEL, PREFIX
from models import storage

LATEST = "latest"
SAVE = re.compile(rf"{PREFIX}(\d{{8}})")


def run_models(runs: Path) -> dict[str, Path]:
    """The checkpoint folder of each save there is now, by RUN@STEP, the newest first, and once more as RUN@latest."""
    found: dict[str, Path] = {}
    for run in _folders(runs):
        steps = {int(match[1]): folder for folder in _folders(run) if (match := SAVE.fullmatch(folder.name))}
        for step in sorted(steps, reverse=True):
            path = steps[step] / MODEL
            found.setdefault(f"{run.name}@{LATEST}", path)
            found[f"{run.name}@{step}"] = path
    return found


def title(name: str) -> str:
    """What to call a model in a list: its name, or "run book, step 400"."""
    run, at, step = name.partition("@")
    if not at:
        return name
    return f"run {run}, latest save" if step == LATEST else f"run {run}, step {step}"


def held_out(checkpoint: Path) -> Path | None:
    """The text that a run does not train on, for a checkpoint in one of its saves; None for any other checkpoint."""
    file = checkpoint.parent.parent / HELD_OUT
    return file if SAVE.fullmatch(checkpoint.parent.name) and file.is_file() else None


def _folders(path: Path) -> list[Path]:
    try:
        return storage.folders(path)
    except OSError:
        return []  # not there yet, or no longer
