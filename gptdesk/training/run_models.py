"""Models in the checkpoints of runs, by name: book@400, and book@latest for the newest one."""

import re
from collections.abc import Collection
from pathlib import Path

from gptdesk.training.checkpoints import MODEL, PREFIX
from gptdesk.training.run_directory import RunDirectory
from models import storage
from models.checkpoint import HELD_OUT

LATEST = "latest"
CHECKPOINT = re.compile(rf"{PREFIX}(\d{{8}})")


def run_models(runs: Path) -> dict[str, Path]:
    """Return the model folder of each checkpoint by RUN@STEP, newest first, and that of the newest as RUN@latest."""
    found: dict[str, Path] = {}
    for run in _folders(runs):
        steps = {int(match[1]): folder for folder in _folders(run) if (match := CHECKPOINT.fullmatch(folder.name))}
        for step in sorted(steps, reverse=True):
            path = steps[step] / MODEL
            found.setdefault(f"{run.name}@{LATEST}", path)
            found[f"{run.name}@{step}"] = path
    return found


def duplicates(runs: Path, names: Collection[str]) -> dict[str, str]:
    """Return those checkpoints among `names` whose weights are another of them, the model that its run made.

    These are the best and the last one of a run that has ended; a run that is resumed has newer ones, and none.
    """
    same: dict[str, str] = {}
    for run in {name.partition("@")[0] for name in names if "@" in name}:
        status = RunDirectory(runs / run).status()
        last = f"{run[:75]}-last"
        if status.state not in ("finished", "stopped") or status.model not in names:
            continue
        is_best = status.best_step in (0, status.saved_step)
        if status.best_step:
            same[f"{run}@{status.best_step}"] = status.model
        if is_best or last in names:
            newest = status.model if is_best else last
            same |= {f"{run}@{LATEST}": newest, f"{run}@{status.saved_step}": newest}
    return {name: model for name, model in same.items() if name in names}


def title(name: str) -> str:
    """Return the title of a model in a list: its name, or "run book, step 400"."""
    run, at, step = name.partition("@")
    if not at:
        return name
    return f"run {run}, latest checkpoint" if step == LATEST else f"run {run}, step {step}"


def held_out(checkpoint: Path) -> Path | None:
    """Return the file with a run's validation split, for a model in one of its checkpoints; None for any other."""
    file = checkpoint.parent.parent / HELD_OUT
    return file if CHECKPOINT.fullmatch(checkpoint.parent.name) and file.is_file() else None


def _folders(path: Path) -> list[Path]:
    try:
        return storage.folders(path)
    except OSError:
        return []  # not there yet, or no longer
