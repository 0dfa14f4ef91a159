"""Folders of runs that earlier versions made: listed, amended, resumed bit-exact and deleted."""

import itertools
import json
from pathlib import Path

import pytest
from training_checks import assert_same_outcome, context_in, plan, resume

from gptdesk.training import TrainingOptions, TrainingStep, control
from gptdesk.training.plan import upgrade
from gptdesk.training.run_directory import PLAN, STATUS, RunDirectory, RunStatus
from gptdesk.training.text_input import TextInput

TEXT = "words that were pasted, and more of them. " * 40
# As a version wrote it that stored automatic options as if they had been chosen, and nothing about pasted text.
PLAN_JSON = """{
  "name": "old",
  "data": ["HOME/pasted/old/text.txt"],
  "model": {
    "start": "", "tokenizer": "chars", "preset": "mini", "block_size": 16, "n_layer": 2, "n_head": 2, "n_embd": 32
  },
  "split": {"encoding": "auto", "split": "auto", "validation_share": 0.1},
  "training": {
    "steps": 20, "batch_size": 4, "accumulation": 1, "optimizer": "muon", "learning_rate": 0.006, "schedule": "cosine",
    "warmup_steps": 2, "floor": 0.0, "weight_decay": 0.1, "beta1": 0.9, "beta2": 0.99, "clip": 1.0, "dropout": 0.0,
    "average": 0.0, "precision": "float32", "evaluate_every": 5, "evaluation_tokens": 16384, "patience": 8,
    "log_every": 1, "save_every": 4, "max_minutes": 0.0, "max_tokens": 0, "seed": 3
  }
}"""
STATUS_JSON = """{
  "state": "training", "message": "", "step": 9, "steps": 20, "saved_step": 8, "best_step": 5, "best_loss": 2.5,
  "progress": 0.0, "model": "", "asks": "", "updated": 1795872905.0354288
}"""
OPTIONS = {"steps": 20, "batch_size": 4, "evaluate_every": 5, "save_every": 4, "log_every": 1, "precision": "float32"}


@pytest.fixture
def old(tmp_path: Path) -> RunDirectory:
    """A run of an earlier version that was killed after step 9; its checkpoints are those of this version."""
    chosen = plan("old").model_copy(update={"training": TrainingOptions(**OPTIONS, seed=3)})
    for name in ("whole", "old"):
        named = chosen.model_copy(update={"name": name})
        run = control.create(context_in(tmp_path), named, text=TextInput(pasted=TEXT))
        steps = resume(run)
        last = 9 if name == "old" else 20
        list(itertools.takewhile(lambda event: not isinstance(event, TrainingStep) or event.step < last, steps))  # noqa: B023
        steps.close()  # type: ignore[attr-defined]
    (run.path / PLAN).write_text(PLAN_JSON.replace("HOME", tmp_path.as_posix()))
    (run.path / STATUS).write_text(STATUS_JSON)
    (run.path / "control").write_text("run")
    return run


def test_it_is_listed_and_resumed_bit_exact(old: RunDirectory) -> None:
    context = context_in(old.path.parent.parent)
    assert (control.info(context, "old").state, control.info(context, "old").problem) == ("interrupted", None)
    assert old.status() == RunStatus("training", "", 9, 20, 8, 5, 2.5, updated=1795872905.0354288)
    assert (old.order(), old.plan().text_names()) == ("resume", ("pasted text",))
    steps = [event.step for event in resume(old) if isinstance(event, TrainingStep)]
    assert steps == list(range(9, 21))
    assert_same_outcome(old, RunDirectory(old.path.with_name("whole")))
    assert json.loads((old.path / PLAN).read_text())["training"]["learning_rate"] == 0.006  # it is not rewritten


def test_what_it_chose_automatically_follows_from_new_options(old: RunDirectory) -> None:
    context = context_in(old.path.parent.parent)
    before = old.plan().resolve_training()
    assert (before.learning_rate, before.warmup_steps, before.evaluate_every) == (0.006, 2, 5)
    after = control.amend(context, "old", steps=400).plan().resolve_training()
    assert (after.warmup_steps, after.evaluate_every) == (40, 5)  # the second was chosen
    again = control.amend(context, "old", steps=300, learning_rate=0.006).plan()  # in the format of this version
    assert (again.training.learning_rate, again.training.warmup_steps, again.resolve_training().warmup_steps) == (
        0.006,
        None,
        30,
    )
    assert again.text_names() == ("pasted text",)


def test_it_is_deleted_with_its_text_copy(old: RunDirectory) -> None:
    home = old.path.parent.parent
    control.remove(context_in(home), "old")
    assert not old.path.exists()
    assert [path.name for path in (home / "pasted").iterdir()] == ["whole"]


def test_a_base_model_had_a_lower_learning_rate() -> None:
    data = json.loads(PLAN_JSON)
    for start, stored, chosen in (("", 0.006, None), ("book", 0.0005, None), ("book", 0.006, 0.006), ("", 0.01, 0.01)):
        data["model"]["start"], data["training"]["learning_rate"] = start, stored
        assert upgrade(data)["training"].get("learning_rate") == chosen  # type: ignore[attr-defined]


def test_a_file_called_like_pasted_text_is_not_pasted(old: RunDirectory) -> None:
    home = old.path.parent.parent
    data = json.loads(PLAN_JSON) | {"data": [str(home / "text.txt"), str(home / "pasted" / "other" / "text.txt")]}
    (old.path / PLAN).write_text(json.dumps(data))
    assert old.plan().text_names() == ("text.txt", "text.txt")
