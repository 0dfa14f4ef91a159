"""A run whose text changes, or that is stopped before it trains, goes on with what its weights have learnt."""

import threading
from itertools import islice
from pathlib import Path

import pytest
from training_checks import begin, context_in, resume

from gptdesk.training import TrainingStep, checkpoints, control
from gptdesk.training.corpus import CorpusProgress
from gptdesk.training.estimate import Estimate
from gptdesk.training.loop import Note
from gptdesk.training.run_directory import RunDirectory
from models.checkpoint import Checkpoint
from models.tokenizer import Tokenizer


def begun(home: Path, **chosen: dict) -> RunDirectory:
    """A run that was left after step 12."""
    run = begin(home, **chosen)
    steps = resume(run)
    for event in steps:
        if isinstance(event, TrainingStep) and event.step == 12:
            break
    steps.close()  # type: ignore[attr-defined]
    return run


def tokenizer_of(run: RunDirectory) -> Tokenizer:
    newest = checkpoints.newest(run.path)
    assert newest is not None
    return Checkpoint.open(newest / checkpoints.MODEL).load_tokenizer()


@pytest.mark.parametrize("kind", ["chars", "bpe:300"])
def test_a_changed_text_is_read_with_the_tokens_that_the_weights_have_learnt(tmp_path: Path, kind: str) -> None:
    run = begun(tmp_path, model={"tokenizer": kind})
    before, text = tokenizer_of(run), (tmp_path / "text.txt").read_text("utf-8")
    (tmp_path / "text.txt").write_text(text.replace("w", "v") + "The dog digs at the den. " * 60, "utf-8")
    list(resume(run, accept_changes=True))
    after = tokenizer_of(run)
    assert run.status().step == 20
    assert [after.token_bytes(i) for i in range(after.vocab_size)] == [
        before.token_bytes(i) for i in range(before.vocab_size)
    ]


def test_a_character_that_the_weights_have_not_learnt_is_named(tmp_path: Path) -> None:
    run = begun(tmp_path)
    with open(tmp_path / "text.txt", "a", encoding="utf-8") as file:
        file.write("\u00e9")
    with pytest.raises(ValueError, match=r"^the model knows \d+ characters and these are not among them: '\u00e9'$"):
        list(resume(run, accept_changes=True))


def test_a_change_is_accepted_once_and_measured_on_the_new_text(tmp_path: Path) -> None:
    run = begun(tmp_path)
    known = run.resolved()
    assert known is not None
    text = (tmp_path / "text.txt").read_text("utf-8")
    (tmp_path / "text.txt").write_text(f"{text}{'On and on they went. ' * 30}", "utf-8")
    steps = resume(run, accept_changes=True)
    first = next(event for event in steps if isinstance(event, TrainingStep) and event.validation_loss is not None)
    assert first.best
    steps.close()  # type: ignore[attr-defined]
    now = run.resolved()
    assert now is not None
    assert now.digest != known.digest
    assert now.tokens > known.tokens
    assert now.bigram != known.bigram
    assert "On and on they went." in (run.path / "held_out.txt").read_text("utf-8")
    list(resume(run))
    assert run.status().state == "finished"


@pytest.mark.parametrize("during", [CorpusProgress, Estimate])
def test_an_order_to_stop_is_heard_before_the_first_step(tmp_path: Path, during: type) -> None:
    run = begin(tmp_path, steps=1000)
    events = []
    for event in resume(run):
        if isinstance(event, during) and not any(isinstance(seen, during) for seen in events):
            control.order(context_in(tmp_path), "run", "stop")
        events.append(event)
    assert not any(isinstance(event, TrainingStep) for event in events)
    assert (run.status().state, run.status().message) == ("stopped", "stopped before the first step")
    assert not (tmp_path / "models" / "run").exists()
    assert not any(isinstance(event, Note) for event in islice(resume(run), 8))  # the order was for that time


def test_an_order_given_as_soon_as_the_run_says_something_counts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, write = begin(tmp_path), RunDirectory.write_status

    def hasty(self: RunDirectory, status: control.RunStatus) -> None:
        write(self, status)
        if status.state == "preparing":
            self.write_order("stop")

    monkeypatch.setattr(RunDirectory, "write_status", hasty)
    assert not any(isinstance(event, TrainingStep) for event in resume(run))
    assert run.status().state == "stopped"


def test_stopped_before_it_goes_on_a_run_has_the_model_of_its_save(tmp_path: Path) -> None:
    run = begun(tmp_path)
    stop = threading.Event()
    stop.set()
    list(resume(run, stop=stop))
    context = context_in(tmp_path)
    info = control.info(context, "run")
    assert (info.state, info.status.message) == ("stopped", "stopped before it was resumed from step 12")
    assert control.model_of(context, info) == "run@latest"
    list(resume(run))
    assert control.model_of(context, control.info(context, "run")) == "run"
