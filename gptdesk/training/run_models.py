"""Models in the checkpoints of runs, by name: book@400, and book@latest for the newest one."""

import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

from gptdesk.training.checkpoints import MODEL, PREFIX
from gptdesk.training.run_directory import RunDirectory, RunStatus
from gptdesk.training.states import ENDED
from models import storage
from models.checkpoint import HELD_OUT

LATEST = "latest"
CLOSEST, UNSEEN = "closest to its text", "best on unseen text"  # the two models that a run may make
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


@dataclass(frozen=True)
class RunModel:
    """One of the models of a run in a list: a model that it made, or one of its checkpoints."""

    run: str
    title: str
    is_main: bool  # one of the one or two by which short lists show the run


def by_run(runs: Path, names: Collection[str]) -> dict[str, RunModel]:
    """Return those of these models that are of a run which has checkpoints among them.

    The main ones of a run that has ended are the models that it made; those of any other are its newest checkpoint and
    its best one.
    """
    found: dict[str, RunModel] = {}
    steps: dict[str, list[int]] = {}
    for name in names:
        run, at, step = name.partition("@")
        if at:
            steps.setdefault(run, []).extend([int(step)] if step.isdecimal() else [])
    same = duplicates(runs, names)
    for run, saved in steps.items():
        if f"{run}@{LATEST}" not in names:  # a model of such a name, and no run
            continue
        status = RunDirectory(runs / run).status()
        made = _made(run, status, names)
        best = status.best_step if status.best_step in saved and status.best_step != max(saved) else 0
        found |= {name: RunModel(run, f"{name} ({role})" if role else name, True) for name, role in made.items()}
        for name in (name for name in names if name.startswith(f"{run}@")):
            is_best = name == f"{run}@{best}"
            is_main = not made and (is_best or name == f"{run}@{LATEST}")
            more = f" (as {same[name]})" if name in same else ", the best so far" if is_best and not made else ""
            found[name] = RunModel(run, title(name) + more, is_main)
    return found


def grouped(names: Sequence[str], of_runs: dict[str, RunModel]) -> list[str]:
    """Return these names in their order, but each run's in one place: its main ones, then its further checkpoints."""
    ordered: list[str] = []
    for name in names:
        if name in ordered:
            continue
        run = of_runs[name].run if name in of_runs else None
        together = [other for other in names if other in of_runs and of_runs[other].run == run] if run else [name]
        ordered += sorted(together, key=lambda other: other in of_runs and not of_runs[other].is_main)
    return ordered


def _made(run: str, status: RunStatus, names: Collection[str]) -> dict[str, str]:
    """Return the models among `names` that a run which has ended made, each with its role if there are two."""
    last = status.closest or f"{run[:75]}-last"
    if status.state not in ENDED or status.model not in names:
        return {}
    if status.best_step in (0, status.saved_step) or last not in names:
        return {status.model: ""}
    return {status.model: f"{UNSEEN}, step {status.best_step:,}", last: f"{CLOSEST}, step {status.saved_step:,}"}


def duplicates(runs: Path, names: Collection[str]) -> dict[str, str]:
    """Return those checkpoints among `names` whose weights are another of them, the model that its run made.

    These are the best and the last one of a run that has ended; a run that is resumed has newer ones, and none.
    """
    same: dict[str, str] = {}
    for run in {name.partition("@")[0] for name in names if "@" in name}:
        status = RunDirectory(runs / run).status()
        last = status.closest or f"{run[:75]}-last"
        if status.state not in ENDED or status.model not in names:
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
