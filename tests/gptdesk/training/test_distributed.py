"""Two processes train one model as one does, each with all of it or a part; what they saved one process takes up."""

import itertools
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from training_checks import begin, command, outcome, resume, wait_until

from gptdesk.training import TrainingStep, checkpoints
from gptdesk.training.loop import Note
from gptdesk.training.run_directory import RunDirectory
from models.checkpoint import Checkpoint

pytestmark = pytest.mark.skipif(
    sys.platform == "win32" or not torch.distributed.is_gloo_available(), reason="needs gloo, and loopback sockets"
)
CHOSEN = {"batch_size": 6, "accumulation": 2, "clip": 0.5, "patience": 0}  # three rows each, in parts of two and one
TORCHRUN = ("-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m", "gptdesk")


def together(run: RunDirectory, *flags: str) -> subprocess.Popen:
    return command(run.path.parent.parent, "train", "--resume", run.name, *flags, program=TORCHRUN)


def numbers(run: RunDirectory) -> list[float]:
    return [line[name] for line in run.metrics() for name in ("train_loss", "val_loss") if line[name]]  # type: ignore[misc]


@pytest.mark.parametrize(
    ("chosen", "flags", "differing"),
    [
        ({"average": 0.9, "optimizer": "adamw"}, (), "processes"),
        ({"average": 0.9, "optimizer": "muon"}, ("--shard",), "processes, sharded"),
    ],
)
def test_two_processes_are_one_and_one_goes_on_where_two_were_and_two_where_one_was(
    tmp_path: Path, chosen: dict, flags: tuple[str, ...], differing: str
) -> None:
    alone, pair = begin(tmp_path, "alone", **CHOSEN | chosen), begin(tmp_path, "pair", **CHOSEN | chosen)
    list(resume(alone))
    list(itertools.takewhile(lambda event: not isinstance(event, TrainingStep) or event.step < 7, resume(pair)))
    process = together(pair, *flags)
    _, err = process.communicate(timeout=400)
    assert process.returncode == 0, err.decode()
    assert f"{differing} differ from before" in err.decode()
    assert numbers(pair) == pytest.approx(numbers(alone), abs=1e-5)
    (_, tensors, _), (_, expected, _) = outcome(pair), outcome(alone)
    for name, tensor in expected.items():
        torch.testing.assert_close(tensors[name], tensor, rtol=0, atol=1e-3 if flags else 1e-4)  # Muon rounds
    assert (tmp_path / "models" / "pair").is_dir()

    for later in (pair.path / "step-00000020", tmp_path / "models" / "pair"):
        later.rename(tmp_path / later.name)
    events = list(resume(pair))
    notes = [event.text for event in events if isinstance(event, Note)]
    assert notes[0].startswith(f"{differing} differ from before: the run is resumed, but")
    assert [event.step for event in events if isinstance(event, TrainingStep)] == [17, 18, 19, 20]
    assert numbers(pair) == pytest.approx(numbers(alone), abs=1e-5)


def test_two_processes_pause_and_stop_together(tmp_path: Path) -> None:
    chosen = CHOSEN | {"steps": 100_000, "average": 0.9, "save_every": 100_000, "evaluate_every": 100_000}
    run, alone = begin(tmp_path, "pair", **chosen), begin(tmp_path, "alone", **chosen)
    process = together(run, "--shard")
    wait_until(lambda: len(run.metrics()) > 3, process, seconds=200)
    run.write_order("pause")
    wait_until(lambda: run.status().state == "paused", process)
    paused = run.status().step
    assert checkpoints.step_of(checkpoints.folders(run.path)[-1]) == run.status().saved_step == paused
    run.write_order("resume")
    wait_until(lambda: run.status().step > paused, process)
    process.send_signal(signal.SIGTERM)
    _, err = process.communicate(timeout=60)
    assert "stopped as asked, after step " in err.decode()
    status = run.status()
    assert (status.state, checkpoints.step_of(checkpoints.folders(run.path)[-1])) == ("stopped", status.step)
    assert Checkpoint.open(tmp_path / "models" / "pair").about.steps == status.step
    list(
        itertools.takewhile(
            lambda event: not isinstance(event, TrainingStep) or event.step < status.step, resume(alone)
        )
    )
    assert numbers(run) == pytest.approx(numbers(alone)[: len(numbers(run))], abs=1e-4)


def test_a_model_is_not_divided_among_one_process(tmp_path: Path) -> None:
    process = command(tmp_path, "train", "--data", "text.txt", "--name", "one", "--shard")
    _, err = process.communicate(timeout=60)
    assert process.returncode == 2
    assert err.decode() == (
        "gptdesk: --shard divides a model among processes and there is one; start it under torchrun\n"
    )
