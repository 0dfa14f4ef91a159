"""What goes wrong in a training run costs nothing that was saved, and is told in a sentence."""

import json
import math
import signal
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from training_checks import assert_same_outcome, begin, context_in, plan, resume, write_text

from gptdesk.training import TrainingDiverged, TrainingOptions, TrainingStep, checkpoints, control
from gptdesk.training.corpus import CorpusProgress
from gptdesk.training.estimate import Estimate, check_memory, memory_bytes
from gptdesk.training.loop import Note
from gptdesk.training.run_directory import RunDirectory
from gptdesk.training.runner import Event
from gptdesk.training.text_input import TextInput
from gptdesk.training.trainer import Trainer
from models.checkpoint import Checkpoint
from models.gpt import GPTConfig


def saved_steps(run: RunDirectory) -> list[int]:
    return [checkpoints.step_of(folder) for folder in checkpoints.folders(run.path)]


def disturbed(monkeypatch: pytest.MonkeyPatch, step: int, where: str) -> None:
    """Put a NaN into the loss or a gradient of the step after `step`, or into a weight by that step."""
    backward, report = Trainer._backward, Trainer._report

    def bad_backward(self: Trainer, part: torch.Tensor) -> torch.Tensor:
        loss = backward(self, part)
        if self.step == step and where == "gradient":
            assert self.model.ln_f.weight.grad is not None
            self.model.ln_f.weight.grad[0] = math.inf
        return loss * math.nan if self.step == step and where == "loss" else loss

    def bad_report(self: Trainer, *values: float, spent: float) -> TrainingStep:
        if self.step == step and where == "weight":
            with torch.no_grad():
                self.model.wte.weight[0, 0] = math.nan
        return report(self, *values, spent=spent)

    monkeypatch.setattr(Trainer, "_backward", bad_backward)
    monkeypatch.setattr(Trainer, "_report", bad_report)


@pytest.mark.parametrize(
    ("where", "sentence"),
    [
        (
            "loss",
            r"^the loss is not finite at step 13 .*; try a lower learning_rate; the checkpoint of step 12 is kept$",
        ),
        ("gradient", r"^the gradient is not finite at step 13 .*; the checkpoint of step 12 is kept$"),
        (
            "weight",
            r"^weights\.wte\.weight is not finite after step 12, so that step was not saved; .*step 10 is kept$",
        ),
    ],
)
def test_what_is_no_number_never_reaches_a_save(tmp_path: Path, where: str, sentence: str) -> None:
    whole, run = begin(tmp_path, "whole"), begin(tmp_path, "run")
    list(resume(whole))
    with pytest.MonkeyPatch.context() as monkeypatch:
        disturbed(monkeypatch, 12, where)
        with pytest.raises(TrainingDiverged, match=sentence):
            list(resume(run))
    assert saved_steps(run)[-1] == (10 if where == "weight" else 12)
    assert run.status().state == "failed"
    assert "not finite" in run.status().message
    list(resume(run))
    assert_same_outcome(run, whole)


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no limit on the size of files")
def test_a_full_disk_costs_one_save_and_says_so(tmp_path: Path) -> None:
    import resource

    whole, run = begin(tmp_path, "whole", patience=0), begin(tmp_path, "run", patience=0)
    list(resume(whole))
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    notes, at_fault = [], []
    try:
        for event in resume(run):
            if isinstance(event, TrainingStep) and event.step == 7:
                resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, limits[1]))  # less than the third save has
            if isinstance(event, TrainingStep) and event.step == 14:
                at_fault = saved_steps(run)
                resource.setrlimit(resource.RLIMIT_FSIZE, limits)
            notes += [event.text] if isinstance(event, Note) else []
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert notes[0] == "the run could not be saved after step 8 (the disk is full); training continues"
    assert at_fault == [4, 5]
    assert not list(run.path.glob(".*"))
    assert_same_outcome(run, whole)
    assert run.status().state == "finished"


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no limit on the size of files")
def test_a_disk_full_at_the_end_is_an_error_and_the_run_can_be_resumed(tmp_path: Path) -> None:
    import resource

    run = begin(tmp_path, "run")
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    sentence = r"^the run run could not be saved after step 20 \(the disk is full\); make room, then resume it$"
    try:
        events = resume(run)
        for event in events:
            if isinstance(event, TrainingStep) and event.step == 19:
                resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, limits[1]))
                break
        with pytest.raises(ValueError, match=sentence):
            list(events)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert not (tmp_path / "models" / "run").exists()
    list(resume(run))
    assert Checkpoint.open(tmp_path / "models" / "run").about.steps == 20


def test_a_batch_that_does_not_fit_is_told_with_one_that_does(tmp_path: Path) -> None:
    run = begin(tmp_path, "run", batch_size=1_000_000, steps=2)
    config = GPTConfig(vocab_size=70, block_size=16, n_layer=2, n_head=2, n_embd=32)
    options = TrainingOptions(batch_size=1_000_000)
    with pytest.raises(ValueError, match=r"^a batch_size of 1,000,000 needs about .* GB of memory and") as told:
        check_memory(config, options, block_size=16, free=2_000_000_000)
    words = str(told.value).replace(",", "").split()
    fits, parts = int(words[words.index("fits") - 1]), int(words[words.index("accumulation") + 1])
    assert 1_000 < fits < 100_000
    for fitting in (TrainingOptions(batch_size=fits), TrainingOptions(batch_size=1_000_000, accumulation=parts)):
        assert check_memory(config, fitting, block_size=16, free=2_000_000_000) <= 2_000_000_000
    with pytest.raises(ValueError, match=r"choose a smaller preset$"):
        check_memory(config, options, block_size=16, free=100_000)
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setattr("gptdesk.training.preparation.free_memory", lambda device: 2_000_000_000)
        with pytest.raises(ValueError, match=r"fits, or accumulation"):
            list(resume(run))
    assert run.resolved() is None


def test_more_layers_rows_dropout_or_moments_take_more_memory() -> None:
    def needed(rows: int = 8, optimizer: str = "muon", **shape: float) -> int:
        config = GPTConfig(**({"vocab_size": 65, "block_size": 64, "n_layer": 2, "n_head": 2, "n_embd": 64} | shape))
        return memory_bytes(config, TrainingOptions(optimizer=optimizer), rows=rows, block_size=64)

    assert needed(optimizer="adamw") - needed() == 4 * 2 * 12 * 64**2  # a moment of each matrix of the layers

    assert needed() < needed(rows=9) < needed(rows=9, dropout=0.1)
    assert needed() < needed(n_layer=3) < needed(n_layer=3, vocab_size=8000)
    assert needed(rows=1000, vocab_size=50257) < needed(rows=1000, vocab_size=8000)  # whose logits are all held


@pytest.mark.parametrize(
    ("chosen", "sentence"),
    [
        ({"learning_rate": 0}, "learning_rate must be greater than 0, not 0"),
        ({"learning_rate": 1e9}, "learning_rate must be less than or equal to 1, not 1000000000.0"),
        ({"learning_rate": math.nan}, "learning_rate must be a finite number, not nan"),
        ({"steps": 0}, "steps must be greater than or equal to 1, not 0"),
        ({"batch_size": 2, "accumulation": 3}, "accumulation must be at most the batch_size of 2, not 3: "),
        ({"model": {"preset": "huge"}}, "preset must be one of tiny, mini, small"),
        ({"model": {"tokenizer": "words"}}, "tokenizer must be auto, chars, bpe, bpe:SIZE or gpt2, not 'words'"),
        ({"model": {"tokenizer": "bpe:12"}}, "the size of a BPE must be from 257"),
        ({"name": "../up"}, "'../up' cannot be the name of a run: "),
    ],
)
def test_options_that_cannot_be_are_one_sentence(tmp_path: Path, chosen: dict, sentence: str) -> None:
    with pytest.raises(ValueError, match=r"^.") as told:
        plan(chosen.pop("name", "run"), **chosen)
    assert str(told.value).startswith(sentence)


@pytest.mark.parametrize(
    ("text", "chosen", "sentence"),
    [
        ("", {}, "the text is empty; give a file with some text in it"),
        (
            "too short",
            {},
            "give more text, at least a few sentences, or a shorter context (block_size): the text is too short, ",
        ),
        ("some words, " * 40, {"model": {"n_head": 3}}, "n_embd must be a multiple of n_head, but 32 is not one of 3"),
        ("some words, " * 40, {"model": {"start": "../up"}}, "there is no model '../up'; the models here are: "),
        ("some words, " * 40, {"model": {"start": "nobody"}}, "there is no model 'nobody'; the models here are: none"),
    ],
)
def test_runs_that_cannot_begin_say_why(tmp_path: Path, text: str, chosen: dict, sentence: str) -> None:
    (tmp_path / "text.txt").write_text(text)
    run = begin(tmp_path, "run", split={"validation_share": 0}, **chosen)
    with pytest.raises(ValueError, match=r"^.") as told:
        list(resume(run))
    assert str(told.value).startswith(sentence)
    assert run.status().message == str(told.value)
    assert run.status().state == "failed"


def test_names_are_taken_once(tmp_path: Path) -> None:
    begin(tmp_path, "run")
    with pytest.raises(ValueError, match=r"^there is a run run already; resume it, or choose another name$"):
        begin(tmp_path, "run")
    (tmp_path / "models" / "story").mkdir()
    with pytest.raises(ValueError, match=r"^there is a model story already; choose another name$"):
        begin(tmp_path, "story")
    with pytest.raises(ValueError, match=r"^there is no run 'other'; there is: run$"):
        control.find(context_in(tmp_path), "other")


def test_pasted_text_is_kept_with_the_run(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"^a run needs a text"):
        TextInput()
    with pytest.raises(ValueError, match=r"^the text is empty; paste some"):
        TextInput(pasted=" ")
    text = TextInput(pasted="words that were pasted, " * 20)
    run = control.create(context_in(tmp_path), plan("run", steps=2), text=text)
    assert (run.plan().text_names(), run.plan().pasted) == (("pasted text",), run.plan().data[0])
    list(resume(run))
    assert run.status().state == "finished"
    assert "pasted" in (run.path / "held_out.txt").read_text("utf-8")


def test_a_run_tells_a_viewer_all_there_is(tmp_path: Path) -> None:
    run = begin(tmp_path, "run", log_every=3)
    events: list[Event] = list(resume(run))
    guess = next(event for event in events if isinstance(event, Estimate))
    assert (guess.steps, guess.tokens) == (20, 20 * 4 * 16)
    assert any(isinstance(event, CorpusProgress) for event in events)
    lines = run.metrics()
    assert [line["step"] for line in lines] == [1, 3, 5, 6, 9, 10, 12, 15, 18, 20]
    wanted = {"step", "train_loss", "val_loss", "learning_rate", "grad_norm", "tokens_per_second", "seconds"}
    assert all(wanted <= line.keys() for line in lines)
    assert [line["step"] for line in lines if line["val_loss"] is not None] == [5, 10, 15, 20]
    assert len(run.samples()) == 4 * 3
    assert {len(sample.text) for sample in run.samples()} == {60}
    status = run.status()
    assert (status.state, status.step, status.steps, status.saved_step) == ("finished", 20, 20, 20)
    assert status.best_loss == min(line["val_loss"] for line in lines if line["val_loss"])
    about = json.loads((tmp_path / "models" / "run" / "about.json").read_text("utf-8"))
    assert (about["steps"], about["tokens"], about["validation_loss"]) == (20, 1280, lines[-1]["val_loss"])
    recipe = about["recipe"]
    saved = json.loads((run.path / "plan.json").read_text("utf-8"))
    assert [recipe[group] for group in ("model", "split", "training")] == [
        saved[group] for group in ("model", "split", "training")
    ]
    resolved = run.resolved()
    assert resolved is not None
    assert recipe["text"] == resolved.digest
    assert len(recipe["files"]) == 1
    assert str(tmp_path) not in json.dumps(about)
    assert saved_steps(run) == [16, 20]
    info = control.info(context_in(tmp_path), "run")
    assert (info.state, info.last) == ("finished", lines[-1])


def test_lines_that_a_power_cut_has_spoilt_are_left_out(tmp_path: Path) -> None:
    whole, run = begin(tmp_path, "whole"), begin(tmp_path, "run")
    list(resume(whole))
    steps = resume(run)
    for event in steps:
        if isinstance(event, TrainingStep) and event.step == 12:
            break
    steps.close()  # type: ignore[attr-defined]
    with open(run.path / "metrics.jsonl", "ab") as file:
        file.write(b'\0\0\0\n"text"\n{"step": 13, "train_lo')
    assert len(run.metrics()) == 12
    assert run.last_metrics() == run.metrics()[-1]
    list(resume(run))
    assert_same_outcome(run, whole)


def test_the_best_model_is_kept_and_overfitting_ends_the_run(tmp_path: Path) -> None:
    write_text(tmp_path / "text.txt", count=2)
    chosen = {"steps": 2000, "learning_rate": 2e-2, "batch_size": 16, "evaluate_every": 10, "patience": 3}
    run = begin(tmp_path, "run", log_every=100, **chosen)
    *_, last = resume(run)
    assert isinstance(last, Note)
    assert last.text.startswith("the validation loss has not improved for 3 evaluations, after step ")
    best = run.status().best_step
    assert run.status().step == best + 30
    assert saved_steps(run)[0] == best
    model, end = (Checkpoint.open(tmp_path / "models" / name) for name in ("run", "run-last"))
    assert (model.about.steps, end.about.steps) == (best, best + 30)
    assert model.about.validation_loss == run.status().best_loss
    assert end.about.validation_loss is not None
    assert end.about.validation_loss > run.status().best_loss


def test_budgets_shorten_the_schedule(tmp_path: Path) -> None:
    run = begin(tmp_path, "run", steps=1000, warmup_steps=100, max_tokens=650, evaluate_every=100)
    steps = [event for event in resume(run) if isinstance(event, TrainingStep)]
    assert len(steps) == 11  # of 64 tokens
    assert steps[0].learning_rate == TrainingOptions().resolve().learning_rate
    assert steps[-1].learning_rate < 0.05 * steps[0].learning_rate
    timed = begin(tmp_path, "timed", steps=1_000_000, max_minutes=0.002)
    assert len(list(resume(timed))) < 1000
    assert timed.status().state == "finished"


def test_pause_saves_and_waits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gptdesk.training.loop.POLL", 0.0)
    run, whole = begin(tmp_path, "run"), begin(tmp_path, "whole")
    list(resume(whole))
    seen: list[str] = []

    def press_resume() -> None:
        while run.status().state != "paused":
            pass
        seen.append(f"paused after step {run.status().saved_step}")
        control.resume(context_in(tmp_path), "run")

    waiter = threading.Thread(target=press_resume, daemon=True)
    for event in resume(run):
        if isinstance(event, TrainingStep) and event.step == 7:
            control.order(context_in(tmp_path), "run", "pause")
            waiter.start()
    assert seen == ["paused after step 7"]
    assert outcome_but_for_saves(run) == outcome_but_for_saves(whole)
    assert run.status().state == "finished"


def outcome_but_for_saves(run: RunDirectory) -> list[object]:
    return [line["train_loss"] for line in run.metrics()]


def test_going_on_from_a_model_begins_where_it_is(tmp_path: Path) -> None:
    first = begin(tmp_path, "first", steps=60, learning_rate=1e-2)
    list(resume(first))
    second = begin(tmp_path, "second", model={"start": "first"})
    stop = threading.Event()
    for event in resume(second, stop=stop):
        if isinstance(event, TrainingStep) and event.step == 10:
            stop.set()
    (tmp_path / "models" / "first").rename(tmp_path / "models" / "elsewhere")  # it has begun: it needs it no longer
    list(resume(second))
    (tmp_path / "models" / "elsewhere").rename(tmp_path / "models" / "first")
    assert second.status().step == 20
    assert second.metrics()[0]["train_loss"] < first.metrics()[0]["train_loss"] - 0.7  # type: ignore[operator]
    assert (
        Checkpoint.open(tmp_path / "models" / "second").config == Checkpoint.open(tmp_path / "models" / "first").config
    )


@pytest.fixture(autouse=True)
def no_signal_left() -> Iterator[None]:
    before = signal.getsignal(signal.SIGINT)
    yield
    assert signal.getsignal(signal.SIGINT) is before
