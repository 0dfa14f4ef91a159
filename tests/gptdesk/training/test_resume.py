"""Killed at any moment, a run resumes bit-exact: curves, weights and moments are those of an undisturbed one."""

import json
import signal
import sys
import threading
from itertools import islice
from pathlib import Path

import psutil
import pytest
from training_checks import ROOT, assert_same_outcome, begin, command, context_in, resume, wait_until, write_text

from gptdesk.training import TrainingStep, checkpoints, control, lock
from gptdesk.training.run_directory import RunDirectory
from models.checkpoint import Checkpoint

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGKILL")

# Runs a run in a process that kills itself: the first argument names when, the second how often that may happen before.
DEADLY = """
import os, signal, sys, threading
from pathlib import Path
import torch
torch.set_num_threads(1)
sys.path[:0] = [{root!r}, {root!r} + "/tests"]
from gptdesk.training import checkpoints, loop, trainer
from models import storage
from training_checks import resume
from gptdesk.training.run_directory import RunDirectory

def deadly(owner, name, count, *, after=False):
    before, calls = getattr(owner, name), []
    def call(*arguments, **options):
        calls.append(name)
        if len(calls) > count and not after:
            os.kill(os.getpid(), signal.SIGKILL)
        result = before(*arguments, **options)
        if len(calls) > count:
            os.kill(os.getpid(), signal.SIGKILL)
        return result
    setattr(owner, name, call)

run, when, count = RunDirectory(Path(sys.argv[1])), sys.argv[2], int(sys.argv[3])
owner = {{"_backward": trainer.Trainer, "_report": trainer.Trainer, "_write_state": checkpoints,
         "_fingerprint": checkpoints, "remove_folder": storage,
         "_swap": storage, "log_step": RunDirectory, "_publish": loop.Loop}}[when]
deadly(owner, when, count, after=when == "_write_state")
for event in resume(run):
    pass
"""


def run_and_die(run: RunDirectory, when: str, count: int) -> None:
    program = ("-c", DEADLY.format(root=str(ROOT)))
    process = command(run.path.parent.parent, str(run.path), when, str(count), program=program)
    _, err = process.communicate(timeout=60)
    assert process.returncode == -signal.SIGKILL, err.decode()


CHOSEN = {
    "plain": {"optimizer": "adamw"},
    "hard": {"dropout": 0.1, "average": 0.9, "accumulation": 2, "optimizer": "adamw"},
    "muon": {"optimizer": "muon"},
}


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("home")


@pytest.fixture(scope="module")
def undisturbed(home: Path) -> dict[str, RunDirectory]:
    """For each kind a run that nobody disturbed, with the text and the cache that the others use."""
    made = {kind: begin(home, kind, **chosen) for kind, chosen in CHOSEN.items()}
    for run in made.values():
        list(resume(run))
    return made


@pytest.mark.parametrize(
    ("kind", "when", "count"),
    [
        ("hard", "_backward", 13),  # in the middle of a step
        ("plain", "_report", 7),  # between a step and its lines
        ("hard", "_write_state", 1),  # in the middle of a save: its model is written, its manifest is not
        ("plain", "remove_folder", 0),  # when an old save should go
        ("muon", "_report", 13),
        ("hard", "_publish", 0),  # when all is done but the model
    ],
)
def test_a_killed_run_goes_on_to_the_same_bits(
    home: Path, undisturbed: dict[str, RunDirectory], kind: str, when: str, count: int
) -> None:
    run = begin(home, f"{kind}{when}", **CHOSEN[kind])
    run_and_die(run, when, count)
    if when == "_backward":
        run_and_die(run, "_fingerprint", 2)  # and once more
    list(resume(run))
    assert_same_outcome(run, undisturbed[kind])
    assert run.status().state == "finished"
    weights, expected = (Checkpoint.open(home / "models" / n).load_model().state_dict() for n in (run.name, kind))
    assert all(weights[name].equal(expected[name]) for name in expected)


def test_left_after_any_step_and_taken_up_again(home: Path, undisturbed: dict[str, RunDirectory]) -> None:
    run = begin(home, "left", **CHOSEN["plain"])
    steps = (event for event in resume(run) if isinstance(event, TrainingStep))
    assert [step.step for step in islice(steps, 7)] == [1, 2, 3, 4, 5, 6, 7]
    steps.close()
    del steps
    again = [event.step for event in resume(run) if isinstance(event, TrainingStep)]
    assert again == list(range(6, 21))  # the evaluation after step 5 was the best, and saved
    assert_same_outcome(run, undisturbed["plain"])


def test_a_damaged_save_is_put_aside_and_the_one_before_it_taken(
    home: Path, undisturbed: dict[str, RunDirectory], caplog: pytest.LogCaptureFixture
) -> None:
    run = begin(home, "damaged", **CHOSEN["plain"])
    list(resume(run))
    newest = checkpoints.folders(run.path)[-1]
    data = bytearray((newest / checkpoints.TENSORS).read_bytes())
    data[-1] ^= 1
    (newest / checkpoints.TENSORS).write_bytes(data)
    list(resume(run))
    assert "training.safetensors is not as it was written" in caplog.text
    assert_same_outcome(run, undisturbed["plain"])


def test_stopped_by_order_or_event_it_has_a_model_and_goes_on(home: Path, undisturbed: dict[str, RunDirectory]) -> None:
    run = begin(home, "stopped", **CHOSEN["hard"])
    stop = threading.Event()
    for event in resume(run, stop=stop):
        if isinstance(event, TrainingStep) and event.step == 3:
            stop.set()
    assert run.status().state == "stopped"
    model = Checkpoint.open(home / "models" / "stopped")
    assert model.about.steps == 3
    list(resume(run))
    assert_same_outcome(run, undisturbed["hard"])


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_signals_save_and_leave_a_model(tmp_path: Path, number: signal.Signals, code: int) -> None:
    run = begin(tmp_path, "long", steps=100_000, patience=0)
    process = command(tmp_path, "train", "--resume", "long")
    wait_until(lambda: len(run.metrics()) > 3, process)
    process.send_signal(number)
    _, err = process.communicate(timeout=20)
    assert process.returncode == code, err.decode()
    assert err.decode().splitlines()[-1].startswith("stopped as asked, after step ")
    status = run.status()
    assert status.state == "stopped"
    assert checkpoints.step_of(checkpoints.folders(run.path)[-1]) == status.saved_step == status.step
    assert Checkpoint.open(tmp_path / "models" / "long").load_model()


def test_a_second_training_waits_its_turn_and_a_dead_ones_lock_does_not_count(tmp_path: Path) -> None:
    first, second = begin(tmp_path, "first", steps=100_000, patience=0), begin(tmp_path, "second")
    process = command(tmp_path, "train", "--resume", "first")
    try:
        wait_until(lambda: len(first.metrics()) > 3, process)
        with pytest.raises(ValueError, match=r"^the run first is training already; stop it first$"):
            list(resume(second))
        assert control.info(context_in(tmp_path), "first").state == "training"
    finally:
        process.kill()
        process.communicate()
    assert control.info(context_in(tmp_path), "first").state == "interrupted"
    list(resume(second))
    assert second.status().state == "finished"


def test_a_process_that_has_got_the_number_of_a_dead_one_does_not_train(tmp_path: Path) -> None:
    me = psutil.Process()
    written = {"run": "run", "pid": me.pid, "started": me.create_time()}
    assert lock.holder(tmp_path) is None
    for content, held_by in (
        (written, "run"),
        (written | {"started": me.create_time() - 60}, None),
        (written | {"pid": 2**22 + 1}, None),  # more than there can be
        ({"run": "run"}, None),
        ([], None),
    ):
        (tmp_path / lock.NAME).write_text(json.dumps(content))
        assert lock.holder(tmp_path) == held_by
    with lock.training_lock(tmp_path, "next"):  # what is written does not count: the system knows who holds it
        assert lock.holder(tmp_path) == "next"
        with (
            pytest.raises(ValueError, match=r"^the run next is training already"),
            lock.training_lock(tmp_path, "other"),
        ):
            pass
    assert lock.holder(tmp_path) is None


def test_a_changed_text_is_asked_about(tmp_path: Path) -> None:
    run = begin(tmp_path)
    list(islice(resume(run), 12))
    write_text(tmp_path / "text.txt", count=13)
    with pytest.raises(ValueError, match=r"^the text of the run run has changed since it began; restore it, or accept"):
        list(resume(run))
    assert run.status().state == "failed"
    steps = [event for event in resume(run, accept_changes=True) if isinstance(event, TrainingStep)]
    assert steps[-1].step == 20
