"""Shared helpers of the tests of training: a small text, a plan that takes a second, a run from start to end."""

import dataclasses
import json
import os
import shutil
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
from gptdesk.training.run_directory import METRICS, RunDirectory, RunStatus, Sample
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


def ended_run(home: Path, model: Path, *, name: str = "book", best: int = 34, steps: int = 142) -> RunDirectory:
    """Return a run that has ended and made two models, each with the weights in the folder `model`."""
    run = begin(home, name, steps=steps)
    for step in (best, steps - 2, steps):
        shutil.copytree(model, checkpoints.model_of(run.path, step))
    for made in (name, f"{name}-last"):
        shutil.copytree(model, home / "models" / made)
    run.write_status(
        RunStatus(
            state="finished", step=steps, steps=steps, saved_step=steps, best_step=best, best_loss=2.5, model=name
        )
    )
    lines = [
        {"step": step, "tokens": 64 * step, "seconds": step / 2, "tokens_per_second": 128.0, "learning_rate": 1e-3}
        | {"grad_norm": 1.0, "train_loss": 3.5 - step / 100, "val_loss": 3.4 - step / 200}
        for step in range(1, steps + 1)
    ]
    (run.path / METRICS).write_text("".join(f"{json.dumps(line)}\n" for line in lines))
    run.log_samples([Sample(step, "Once", f" upon a step {step}") for step in (best, steps)])
    return run


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
    about = Checkpoint.open(newest / checkpoints.MODEL).about
    about = dataclasses.replace(about, created="", source="", recipe={**(about.recipe or {}), "run": ""})
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
