"""Two processes train one model as one process does, and what they have saved one process takes up."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from training_checks import begin, command, go_on, outcome

from gptdesk.training import TrainingStep
from gptdesk.training.loop import Note
from gptdesk.training.run_directory import RunDirectory

pytestmark = pytest.mark.skipif(
    sys.platform == "win32" or not torch.distributed.is_gloo_available(), reason="needs gloo, and loopback sockets"
)
CHOSEN = {"batch_size": 6, "accumulation": 2, "average": 0.9, "patience": 0}  # three rows each, in parts of two and one
TORCHRUN = ("-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m", "gptdesk")


def together(run: RunDirectory) -> subprocess.Popen:
    return command(run.path.parent.parent, "train", "--resume", run.name, program=TORCHRUN)


def numbers(run: RunDirectory) -> list[float]:
    return [line[name] for line in run.metrics() for name in ("train_loss", "val_loss") if line[name]]  # type: ignore[misc]


def test_two_processes_are_one_and_one_goes_on_where_two_were(tmp_path: Path) -> None:
    alone, pair = begin(tmp_path, "alone", **CHOSEN), begin(tmp_path, "pair", **CHOSEN)
    list(go_on(alone))
    process = together(pair)
    _, err = process.communicate(timeout=120)
    assert process.returncode == 0, err.decode()
    assert numbers(pair) == pytest.approx(numbers(alone), abs=1e-5)
    (_, tensors, _), (_, expected, _) = outcome(pair), outcome(alone)
    for name, tensor in expected.items():
        torch.testing.assert_close(tensors[name], tensor, rtol=0, atol=1e-4)
    assert (tmp_path / "models" / "pair").is_dir()

    for later in (pair.path / "step-00000020", tmp_path / "models" / "pair"):
        later.rename(tmp_path / later.name)
    events = list(go_on(pair))
    notes = [event.text for event in events if isinstance(event, Note)]
    assert notes[0].startswith("processes differ from before: the run goes on")
    assert [event.step for event in events if isinstance(event, TrainingStep)] == [17, 18, 19, 20]
    assert numbers(pair) == pytest.approx(numbers(alone), abs=1e-5)
