"""Shared helpers of the tests of training: a small text, a plan that takes a second, a run from start to end."""

import dataclasses
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import torch

from gptdesk.settings import Settings
from gptdesk.starter.stories import stories
from gptdesk.training import DataOptions, ModelOptions, TrainingOptions, checkpoints, control, runner
from gptdesk.training.context import RunContext
from gptdesk.training.plan import RunPlan
from gptdesk.training.run_directory import RunDirectory
from gptdesk.training.runner import Event
from gptdesk.training.text_input import TextInput
from models.checkpoint import Checkpoint
from models.library import ModelLibrary

ROOT = Path(__file__).parent.parent
TINY = {"tokenizer": "chars", "n_layer": 2, "n_head": 2, "n_embd": 32, "block_size": 16}
QUICK = {"steps": 20, "batch_size": 4, "evaluate_every": 5, "save_every": 4, "log_every": 1, "precision": "float32"}


def context_in(home: Path) -> RunContext:
    settings = Settings(home=home)
    settings.models.mkdir(parents=True, exist_ok=True)
    return RunContext(settings, ModelLibrary(settings.models, cache_folder=settings.vocabularies))


def write_text(path: Path, *, count: int = 12) -> Path:
    path.write_text("\n".join(stories(6, count)), "utf-8")
    return path


def text_of(home: Path) -> TextInput:
    """Return `text.txt` of the home, which is written if it does not exist."""
    path = home / "text.txt"
    if not path.exists():
        write_text(path)
    return TextInput(paths=(path,))


def plan(name: str = "run", *, model: dict | None = None, split: dict | None = None, **training) -> RunPlan:
    """Return the plan of a run of a tiny network, without a text."""
    return RunPlan(
        name=name,
        model=ModelOptions(**(TINY | (model or {}))),
        split=DataOptions(**(split or {})),
        training=TrainingOptions(**(QUICK | training)),
    )


def begin(home: Path, name: str = "run", **chosen) -> RunDirectory:
    """Create a run of a tiny network over the text of the home."""
    return control.create(context_in(home), plan(name, **chosen), text=text_of(home))


def resume(run: RunDirectory, *, stop: threading.Event | None = None, **given) -> Iterator[Event]:
    """Start or resume a run in this process."""
    home = run.path.parent.parent
    event = stop or threading.Event()
    return runner.resume(run, context=context_in(home), device=torch.device("cpu"), stop=event, **given)


def outcome(run: RunDirectory) -> tuple[list[tuple[object, ...]], dict[str, torch.Tensor], list]:
    """What must not depend on interruptions: the curves, the last state to the bit, samples and about.json."""
    names = ("step", "train_loss", "val_loss", "learning_rate", "grad_norm", "tokens", "best")
    curves = [tuple(line[name] for name in names) for line in run.metrics()]
    newest = checkpoints.newest(run.path)
    assert newest is not None
    state, _ = checkpoints.load(newest)
    about = dataclasses.replace(Checkpoint.open(newest / checkpoints.MODEL).about, created="", source="")
    told = [*map(dataclasses.astuple, run.samples()), dataclasses.astuple(about)]
    return curves, {**state.tensors, "step": torch.tensor(state.step)}, told


def assert_same_outcome(one: RunDirectory, other: RunDirectory) -> None:
    (curves, tensors, told), (curves_too, tensors_too, told_too) = outcome(one), outcome(other)
    assert curves == curves_too
    assert told == told_too
    assert tensors.keys() == tensors_too.keys()
    assert all(torch.equal(tensors[name], tensors_too[name]) for name in tensors)


def command(home: Path, *arguments: str, program: tuple[str, ...] = ("-m", "gptdesk")) -> subprocess.Popen:
    """`gptdesk ...` in a process of its own, with one thread."""
    variables = os.environ | {"OMP_NUM_THREADS": "1", "GPTDESK_HOME": str(home), "PYTHONPATH": str(ROOT)}
    pipe = subprocess.PIPE
    return subprocess.Popen([sys.executable, *program, *arguments], cwd=home, env=variables, stdout=pipe, stderr=pipe)


def wait_until(true: Callable[[], bool], process: subprocess.Popen, *, seconds: float = 60) -> None:
    """Wait for what a process will bring about."""
    end = time.monotonic() + seconds
    while not true():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < end, "it takes too long"
        time.sleep(0.05)
