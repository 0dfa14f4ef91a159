"""Checkpoints of a run: folders `step-NNNNNNNN`, written atomically and verified before they are used.

`model` is a model folder like any other; training.safetensors and state.json hold the rest of the trainer's state;
manifest.json holds the size and SHA-256 of every other file.
"""

import hashlib
import logging
import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from gptdesk.training.steps import WEIGHTS, TrainerState, TrainingDiverged
from gptdesk.training.time_budget import Replan
from gptdesk.training.trainer import Trainer
from models import storage
from models.checkpoint import About, Checkpoint, save_checkpoint
from models.tokenizer import Tokenizer

log = logging.getLogger(__name__)

PREFIX = "step-"
BAD = ".bad-"  # before the name of a damaged checkpoint
MODEL, TENSORS, STATE, MANIFEST = "model", "training.safetensors", "state.json", "manifest.json"
LIMIT = 1_000_000  # bytes of state.json and manifest.json
KEPT = 2  # newest checkpoints: should the newest be damaged


@dataclass(frozen=True)
class Facts:
    """Facts on which bit-exact results depend, besides the state of the trainer."""

    torch: str
    threads: int
    processes: int
    device: str
    sharded: bool = False
    cpu: str = ""  # the instructions that torch uses; checkpoints of earlier versions have none

    @classmethod
    def here(cls, trainer: Trainer) -> "Facts":
        """Return the facts of this process."""
        device = trainer.model.wte.weight.device.type
        cpu = torch.backends.cpu.get_cpu_capability()
        processes = trainer.processes
        return cls(torch.__version__, torch.get_num_threads(), processes.size, device, processes.sharded, cpu)


def save(run: Path, trainer: Trainer, *, tokenizer: Tokenizer, about: About) -> Path:
    """Save the trainer's state in the run's folder, unless it is saved already, and remove older checkpoints.

    Raises OSError if the disk refuses, TrainingDiverged for a state with numbers that are not finite; then no
    checkpoint is removed.
    """
    folder = run / f"{PREFIX}{trainer.step:08d}"
    if not folder.exists():
        state = trainer.state()
        for name, tensor in state.tensors.items():
            if not tensor.isfinite().all():
                raise TrainingDiverged(
                    f"{name} is not finite after step {trainer.step}, so that step was not saved; resume from the "
                    "checkpoint before with a lower learning_rate"
                )
        with storage.new_folder(folder) as fresh:
            with trainer.saved_weights() as model:
                save_checkpoint(fresh / MODEL, model, tokenizer=tokenizer, about=about)
            _write_state(fresh, state, averaged=bool(trainer.options.average), facts=Facts.here(trainer))
            manifest = {path.relative_to(fresh).as_posix(): _fingerprint(path) for path in _files(fresh)}
            storage.write_file(fresh / MANIFEST, storage.json_bytes(manifest))
    _remove_old(run, keep=trainer.best_step)
    return folder


def newest(run: Path) -> Path | None:
    """Return the newest checkpoint that verifies; newer ones that do not are renamed, with a warning."""
    for folder in reversed(folders(run)):
        if fault := _fault(folder):
            log.warning("the checkpoint %s cannot be used (%s); the one before it is used", folder, fault)
            os.replace(folder, folder.with_name(BAD + folder.name))
        else:
            return folder
    return None


def remove_leftovers(run: Path) -> None:
    """Delete unfinished checkpoints of processes that were killed, for the one process that saves in this run."""
    for folder in run.glob(f".{PREFIX}*.partial"):
        shutil.rmtree(folder, ignore_errors=True)


def folders(run: Path) -> list[Path]:
    """Return the checkpoints of a run, oldest first."""
    return sorted(path for path in run.glob(f"{PREFIX}*") if path.is_dir())


def step_of(folder: Path) -> int:
    """Return the step after which a checkpoint was saved."""
    return int(folder.name.removeprefix(PREFIX))


def model_of(run: Path, step: int) -> Path:
    """Return the model folder in the checkpoint of `step`."""
    return run / f"{PREFIX}{step:08d}" / MODEL


def load(folder: Path) -> tuple[TrainerState, Facts]:
    """Read a checkpoint that has been verified; ValueError if it cannot be understood."""
    data = storage.read_json(folder / STATE, limit=LIMIT)
    try:
        tensors = load_file(folder / TENSORS)
        facts = data.pop("facts")
        planned: Any = data.pop("planned", None)
        replans: Any = data.pop("replans", [])
        if planned:
            data |= {"planned": tuple(planned), "replans": tuple(Replan(*pair) for pair in replans)}
        if not data.pop("averaged"):
            model = Checkpoint.open(folder / MODEL).load_model()
            tensors |= {WEIGHTS + name: weight.detach() for name, weight in model.named_parameters()}
        return TrainerState(**data, tensors=tensors), Facts(**facts)  # type: ignore[arg-type]
    except (KeyError, TypeError, SafetensorError) as error:
        raise ValueError(f"the checkpoint {folder} cannot be understood: {error}") from error


def _write_state(folder: Path, state: TrainerState, *, averaged: bool, facts: Facts) -> None:
    """Write what the model folder does not hold: it has the weights already unless they are `averaged`."""
    tensors = {
        name: tensor.cpu().contiguous()
        for name, tensor in state.tensors.items()
        if averaged or not name.startswith(WEIGHTS)
    }
    try:
        save_file(tensors, folder / TENSORS)
    except SafetensorError as error:
        raise storage.disk_error(error, folder / TENSORS) from error
    shutil.copymode(folder / MODEL / "config.json", folder / TENSORS)
    data: dict[str, object] = {
        "step": state.step,
        "seconds": state.seconds,
        "best_step": state.best_step,
        "best_loss": state.best_loss,
        "averaged": averaged,
        "facts": facts.__dict__,
    }
    if state.planned:
        data |= {"planned": state.planned, "replans": [[replan.after, replan.steps] for replan in state.replans]}
    storage.write_file(folder / STATE, storage.json_bytes(data))


def _remove_old(run: Path, *, keep: int) -> None:
    """Remove all checkpoints but the newest ones and that of step `keep`, which is the best."""
    for bad in run.glob(f"{BAD}{PREFIX}*"):
        if bad.name.removeprefix(BAD) <= folders(run)[-1].name:
            shutil.rmtree(bad, ignore_errors=True)
    for folder in folders(run)[:-KEPT]:
        if step_of(folder) != keep:
            try:
                storage.remove_folder(folder)
            except OSError as error:
                log.warning("the old checkpoint %s could not be removed (%s)", folder, error.strerror)


def _fault(folder: Path) -> str:
    """Return why a checkpoint cannot be used; empty if it can."""
    try:
        manifest = storage.read_json(folder / MANIFEST, limit=LIMIT)
        found = {path.relative_to(folder).as_posix(): _fingerprint(path) for path in _files(folder)}
    except (ValueError, OSError) as error:
        return str(error)
    found.pop(MANIFEST, None)
    return next((f"{name} is not as it was written" for name in manifest if manifest[name] != found.get(name)), "")


def _files(folder: Path) -> Iterator[Path]:
    return (path for path in sorted(folder.rglob("*")) if path.is_file())


def _fingerprint(path: Path) -> dict[str, object]:
    with open(path, "rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return {"size": path.stat().st_size, "sha256": digest}
