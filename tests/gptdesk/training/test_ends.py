"""How a run ends: in models that are its own, in words where the memory ends, and without leaving rubbish behind."""

import json
import shutil
from itertools import islice
from pathlib import Path

import psutil
import pytest
import torch
from training_checks import begin, context_in, resume, write_text

from gptdesk.__main__ import main
from gptdesk.training import TrainingStep, checkpoints, control, corpus, lock, loop
from gptdesk.training.loop import Note
from gptdesk.training.run_directory import RunDirectory
from gptdesk.training.runner import Event
from gptdesk.training.trainer import Trainer
from models import storage
from models.checkpoint import Checkpoint
from models.library import ModelLibrary

OVERFITTING = {"steps": 2000, "learning_rate": 2e-2, "batch_size": 16, "evaluate_every": 10, "patience": 2}


def overfitting(home: Path) -> RunDirectory:
    """A run whose best step is not its last."""
    write_text(home / "text.txt", count=2)
    return begin(home, "book", log_every=100, **OVERFITTING)


def source(home: Path, model: str) -> str:
    return Checkpoint.open(home / "models" / model).about.source


def test_the_last_weights_never_take_the_place_of_another_model(tmp_path: Path) -> None:
    other = begin(tmp_path, "book-last", steps=4)
    list(resume(other))
    run = overfitting(tmp_path)
    *_, note = resume(run)
    assert isinstance(note, Note)
    assert note.text.endswith(" the best) and book-last-2 (book-last is not of this run)")
    assert source(tmp_path, "book-last") == "gptdesk train, run book-last"
    assert source(tmp_path, "book-last-2") == source(tmp_path, "book") == "gptdesk train, run book"
    *_, note = resume(run)
    assert not (tmp_path / "models" / "book-last-3").exists()  # its own is replaced


def test_a_short_text_is_used_by_its_last_weights_and_a_longer_one_by_its_best(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, context = overfitting(tmp_path), context_in(tmp_path)
    list(resume(run))
    assert control.model_of(context, control.info(context, "book")) == "book-last"
    monkeypatch.setattr(corpus, "SHORT", 10)
    list(resume(run))
    assert control.model_of(context, control.info(context, "book")) == "book"


def test_a_finished_run_is_trained_as_long_again_bit_exact(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run, longer = begin(tmp_path, "run"), begin(tmp_path, "longer")
    list(resume(run))
    ended = run.status().step
    list(resume(longer))
    monkeypatch.setattr(control, "launch", lambda run, *_, **__: list(resume(run)))
    control.extend(context_in(tmp_path), "run", steps=ended)
    control.amend(context_in(tmp_path), "longer", steps=2 * ended, patience=0)
    list(resume(longer))
    assert run.status().step == 2 * ended
    first, second = (checkpoints.load(checkpoints.newest(one.path))[0].tensors for one in (run, longer))
    assert all(torch.equal(first[name], second[name]) for name in second)


def test_a_best_step_that_could_not_be_saved_is_told(tmp_path: Path) -> None:
    run = overfitting(tmp_path)
    events: list[Event] = []
    for event in resume(run):
        events.append(event)
        best = max((seen.step for seen in events if isinstance(seen, TrainingStep) and seen.best), default=0)
        if best and isinstance(event, TrainingStep) and event.step == best + 15:
            shutil.rmtree(checkpoints.model_of(run.path, best).parent)
    assert isinstance(events[-1], Note)
    wanted = f"saved as book (the last step: the best, step {run.status().best_step}, could not be saved)"
    assert events[-1].text.endswith(wanted)


def test_weights_of_a_last_step_that_is_now_the_best_go(tmp_path: Path) -> None:
    run = begin(tmp_path)
    list(resume(run))
    models = tmp_path / "models"
    shutil.copytree(models / "run", models / "run-last")
    list(resume(run))
    assert [path.name for path in models.iterdir()] == ["run"]


def test_a_model_says_only_what_was_measured_of_it(tmp_path: Path) -> None:
    run = begin(tmp_path, evaluate_every=5, save_every=4)
    for event in islice(resume(run), 200):
        if isinstance(event, TrainingStep) and event.step == 8:
            break
    losses = [
        Checkpoint.open(folder / checkpoints.MODEL).about.validation_loss for folder in checkpoints.folders(run.path)
    ]
    assert losses == [run.metrics()[4]["val_loss"], None]  # after steps 5 and 8


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20 GiB"),
        RuntimeError("[enforce fail at alloc_cpu.cpp] DefaultCPUAllocator: can't allocate memory: you tried to"),
        RuntimeError("DefaultCPUAllocator: not enough memory: you tried to allocate 80 bytes"),
    ],
)
def test_memory_that_ends_is_a_sentence(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    def greedy(self: Trainer, part: torch.Tensor) -> torch.Tensor:
        raise error

    begin(tmp_path)
    with monkeypatch.context() as patched:
        patched.setattr(Trainer, "_backward", greedy)
        assert main(["--home", str(tmp_path), "train", "--resume", "run"]) == 2
    told = "the memory is too small for a step; resume with a larger accumulation (--accumulation), which computes"
    assert told in capsys.readouterr().err
    info = control.info(context_in(tmp_path), "run")
    assert info.state == "failed"
    assert info.status.message.startswith(told)
    assert main(["--home", str(tmp_path), "train", "--resume", "run", "--accumulation", "2"]) == 0


def test_other_faults_of_the_program_stay_what_they_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def faulty(self: Trainer, part: torch.Tensor) -> torch.Tensor:
        raise RuntimeError("mat1 and mat2 shapes cannot be multiplied")

    monkeypatch.setattr(Trainer, "_backward", faulty)
    with pytest.raises(RuntimeError, match=r"^mat1 and mat2"):
        list(resume(begin(tmp_path)))


def test_what_killed_saves_have_left_goes(tmp_path: Path) -> None:
    run = begin(tmp_path)
    (run.path / ".step-00000004.aaaaaaaaaaaa.partial").mkdir()
    (run.path / ".bad-step-00000012").mkdir()
    steps = resume(run)
    for event in steps:
        if isinstance(event, TrainingStep) and event.step == 11:
            break
    assert [path.name for path in run.path.glob(".*")] == [".bad-step-00000012"]  # no good one is as new
    list(steps)
    assert not list(run.path.glob(".*"))


def test_a_clock_that_is_set_ends_no_run(tmp_path: Path) -> None:
    with lock.training_lock(tmp_path, "run"):
        written = json.loads((tmp_path / lock.NAME).read_text())
        (tmp_path / lock.NAME).write_text(json.dumps(written | {"started": written["started"] - 3}))
        assert lock.holder(tmp_path) == "run"
        assert lock.holding_process(tmp_path) == psutil.Process()


def test_a_save_of_before_the_processor_was_noted_goes_on(tmp_path: Path) -> None:
    run = begin(tmp_path)
    list(resume(run))
    newest = checkpoints.folders(run.path)[-1]
    for cpu, told in ((None, False), ("Z80", True)):
        state = json.loads((newest / checkpoints.STATE).read_text())
        state["facts"].pop("cpu", None)
        state["facts"] |= {"cpu": cpu} if cpu else {}
        (newest / checkpoints.STATE).write_text(json.dumps(state))
        manifest = json.loads((newest / checkpoints.MANIFEST).read_text())
        manifest[checkpoints.STATE] = checkpoints._fingerprint(newest / checkpoints.STATE)
        (newest / checkpoints.MANIFEST).write_text(json.dumps(manifest))
        notes = [event.text for event in resume(run) if isinstance(event, Note)]
        assert any(note.startswith("cpu differ from before") for note in notes) == told


def test_a_model_is_saved_when_no_other_program_changes_models(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = begin(tmp_path, steps=4)
    monkeypatch.setattr(loop, "LONG_PATIENCE", 0.1)
    library = ModelLibrary(tmp_path / "models", cache_folder=context_in(tmp_path).settings.vocabularies)
    with library.own.adding(), pytest.raises(ValueError, match="not saved as a model yet: another window or program"):
        list(resume(run))
    assert storage.names(tmp_path / "models") == set()
    list(resume(run))
    assert storage.names(tmp_path / "models") == {"run"}
