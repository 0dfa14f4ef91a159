"""Runs seen from outside: names that are free again, options that follow from others, ends that are not missed."""

from pathlib import Path

import psutil
import pytest
import torch
from training_checks import begin, context_in, plan, resume, text_of

from gptdesk.training import TrainingOptions, control, run_process
from gptdesk.training.estimate import free_memory
from gptdesk.training.lock import holder, training_lock
from gptdesk.training.run_directory import RunStatus


def test_a_name_gives_way_until_a_step_is_made(tmp_path: Path) -> None:
    context, run = context_in(tmp_path), begin(tmp_path)
    with training_lock(tmp_path, "run"):
        control.remove_unstarted(context, "run")
        assert run.path.exists()
    control.remove_unstarted(context, "run")
    assert not run.path.exists()
    run = begin(tmp_path, steps=2)
    list(resume(run))
    control.remove_unstarted(context, "run")
    control.remove_unstarted(context, "nobody")
    assert run.path.exists()


def test_a_run_that_ends_while_it_is_looked_at_has_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = begin(tmp_path)
    run.write_status(RunStatus(state="training"))
    assert control.info(context_in(tmp_path), "run").state == "interrupted"

    def ending(home: Path) -> None:
        run.write_status(RunStatus(state="finished", message="all steps are done"))

    monkeypatch.setattr(control, "holder", ending)
    info = control.info(context_in(tmp_path), "run")
    assert (info.state, info.status.message) == ("finished", "all steps are done")


@pytest.mark.parametrize("steps", [float("inf"), float("nan")])
def test_steps_without_end_are_refused_in_a_sentence(steps: float) -> None:
    with pytest.raises(ValueError, match=r"^steps must be a finite number, not (inf|nan)$"):
        TrainingOptions(steps=steps)


def test_what_follows_from_the_steps_follows_from_new_ones(tmp_path: Path) -> None:
    context = context_in(tmp_path)
    control.create(context, plan(steps=1500, evaluate_every=7), text=text_of(tmp_path))
    training = control.amend(context, "run", steps=40).plan().resolve_training()
    assert (training.warmup_steps, training.evaluate_every) == (4, 7)
    training = control.amend(context, "run", optimizer="adamw").plan().resolve_training()
    assert training.learning_rate == TrainingOptions(optimizer="adamw").resolve().learning_rate
    training = control.amend(context, "run", learning_rate=1e-3, steps=300).plan().resolve_training()
    assert (training.learning_rate, training.warmup_steps) == (1e-3, 30)
    assert control.amend(context, "run", steps=200).plan().resolve_training().learning_rate == 1e-3


def test_a_process_that_says_nothing_is_not_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = begin(tmp_path)
    monkeypatch.setattr(run_process, "START_TIMEOUT", 0.0)
    with pytest.raises(
        ValueError, match=r"^the run run could not be started: its process did not respond within 0 s; see .*log\.txt$"
    ):
        control.start(context_in(tmp_path), "run")
    assert holder(tmp_path) is None
    assert run.status() == RunStatus()
    assert not [child for child in psutil.Process().children() if child.status() != psutil.STATUS_ZOMBIE]


def test_memory_is_that_of_the_device_that_trains(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (300_000, 400_000))
    assert free_memory(torch.device("cpu")) > 1_000_000
    assert free_memory(torch.device("cuda")) == 300_000
