"""A plan looked at before it is a run: what is shown is what the run then does, and leaves nothing but the cache."""

import threading
from pathlib import Path

import pytest
import torch
from training_checks import TINY, context_in, plan, resume, text_of, write_text

from gptdesk.starter.stories import stories
from gptdesk.training import ModelOptions, control
from gptdesk.training.corpus import CorpusProgress
from gptdesk.training.estimate import PROBE_STEPS
from gptdesk.training.loader import Loader
from gptdesk.training.plan import RunPlan
from gptdesk.training.preview import Preview, preview
from gptdesk.training.steps import TrainingStep
from gptdesk.training.text_input import TextInput

CPU = torch.device("cpu")


def shown(home: Path, chosen: RunPlan, *, text: TextInput | None = None) -> Preview:
    *before, last = preview(chosen, text=text or text_of(home), context=context_in(home), device=CPU)
    assert all(isinstance(event, CorpusProgress) for event in before)
    assert isinstance(last, Preview)
    return last


def test_it_shows_what_the_run_then_does(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    chosen = plan()
    found = shown(tmp_path, chosen)
    assert not (tmp_path / "runs").exists()
    batches = []
    taken = Loader.batch

    def observed(self: Loader, position: int, size: int) -> torch.Tensor:
        batches.append(taken(self, position, size))
        return batches[-1]

    run = control.create(context_in(tmp_path), chosen, text=text_of(tmp_path))
    monkeypatch.setattr(Loader, "batch", observed)
    steps = [event for event in resume(run) if isinstance(event, TrainingStep)]
    monkeypatch.undo()
    alphabet = sorted(set((tmp_path / "text.txt").read_text("utf-8")))
    first = batches[PROBE_STEPS][:, :-1]  # after those of the probe
    assert found.batches == tuple(tuple(alphabet[i] for i in row) for row in first[:3].tolist())
    resolved = run.resolved()
    assert resolved is not None
    assert (found.tokens, found.validation_tokens) == (resolved.tokens, resolved.validation_tokens)
    assert (found.split, found.tokenizer, found.config.parameters()) == ("position", "characters", resolved.parameters)
    assert found.estimate.steps == len(steps) == 20
    assert found.characters == len((tmp_path / "text.txt").read_text("utf-8"))
    assert (found.documents, found.vocab_size, found.config.block_size) == (1, len(alphabet), 16)


def test_pasted_text_is_looked_at_and_leaves_only_the_cache(tmp_path: Path) -> None:
    text = "A sentence that was pasted, and then it says so. " * 40
    chosen = RunPlan(name="pasted", model=ModelOptions(**TINY), training=plan().training)
    found = shown(tmp_path, chosen, text=TextInput(pasted=text))
    assert [(file.path.name, file.encoding, file.size) for file in found.files] == [("pasted text", "utf-8", len(text))]
    assert found.characters == len(text)
    [kept] = (tmp_path / "cache").iterdir()
    before = (kept / "train.bin").stat()
    run = control.create(context_in(tmp_path), chosen, text=TextInput(pasted=text))
    assert [event for event in resume(run) if isinstance(event, TrainingStep)]
    assert [*(tmp_path / "cache").iterdir()] == [kept]
    assert (kept / "train.bin").stat().st_ino == before.st_ino
    with pytest.raises(ValueError, match="the text is empty; paste some"):
        shown(tmp_path, chosen, text=TextInput(pasted="  \n "))


def test_tokens_are_shown_with_their_bounds(tmp_path: Path) -> None:
    text = tmp_path / "text.txt"
    text.write_text("naïve 🐦 birds, " * 400 + " ".join(stories(2, 30)), "utf-8")
    found = shown(tmp_path, plan(model={"tokenizer": "bpe:300"}))
    assert "".join(found.batches[0]) in text.read_text("utf-8") + "<|endoftext|>"
    assert any(len(token) > 2 for row in found.batches for token in row)
    assert "�" not in "".join(found.batches[0])
    assert found.tokenizer_reason == "as chosen"


def test_what_is_to_mind_is_said(tmp_path: Path) -> None:
    def warnings(**chosen) -> str:
        return " / ".join(shown(tmp_path, plan(**chosen)).warnings)

    write_text(tmp_path / "text.txt", count=6)
    held_out = shown(tmp_path, plan()).validation_tokens
    assert warnings().startswith(f"the validation split has only {held_out} tokens, so the validation loss is rough / ")
    often = warnings(steps=2000, batch_size=24)
    tokens = shown(tmp_path, plan()).tokens
    step = round(1000 / tokens**0.25 * (tokens // 16) / 24)
    assert f"expect the model to overfit after about step {step:,};" in often
    assert "overfit" not in warnings(steps=3)
    assert "% of the text will be read" in warnings(steps=3)
    weights = shown(tmp_path, plan()).config.parameters()
    assert f"the model has {weights:,} parameters and will be trained on 192 tokens: a smaller preset" in warnings(
        steps=3
    )
    assert "the validation split is empty" in warnings(split={"validation_share": 0})
    assert "300 tokens are many for a text of" in warnings(model={"tokenizer": "bpe:300"})
    (tmp_path / "text.txt").write_bytes("Überall Bäume. ".encode("cp1252") * 100)
    assert 'text.txt is not UTF-8; it was read as cp1252: "Überall Bäume. Überall' in warnings()
    assert "not UTF-8" not in warnings(split={"encoding": "cp1252"})
    (tmp_path / "text.txt").write_bytes("Überall Bäume. ".encode() * 100 + b"\xff")
    assert "1 byte of text.txt is not valid UTF-8 (in line 1) and was read as �" in warnings()
    (tmp_path / "text.txt").write_text("Some words <|endoftext|> and more. " * 100, "utf-8")
    assert "100 <|endoftext|> in text.txt stand in the middle of a line" in warnings()


def test_why_that_tokenizer(tmp_path: Path) -> None:
    write_text(tmp_path / "text.txt", count=4)
    few = shown(tmp_path, plan(model={"tokenizer": "auto"}))
    assert few.tokenizer == "characters"
    assert few.tokenizer_reason.startswith("characters, since ")
    run = control.create(context_in(tmp_path), plan("first", steps=2), text=text_of(tmp_path))
    list(resume(run))
    more = shown(tmp_path, plan("second", model={"start": "first"}))
    assert more.tokenizer_reason == "that of the base model first"
    write_text(tmp_path / "text.txt", count=150)
    many = shown(tmp_path, plan(model={"tokenizer": "auto"}))
    assert (many.tokenizer, many.vocab_size) == ("bpe", 512)
    assert many.tokenizer_reason.startswith("trained on the text; 512 tokens suit ")


def test_it_ends_when_told_and_disturbs_no_dice(tmp_path: Path) -> None:
    stop = threading.Event()
    stop.set()
    events = list(preview(plan(), text=text_of(tmp_path), context=context_in(tmp_path), device=CPU, stop=stop))
    assert len(events) == 1
    state = torch.get_rng_state()
    shown(tmp_path, plan())
    assert torch.equal(torch.get_rng_state(), state)


def test_what_cannot_be_trained_is_one_sentence(tmp_path: Path) -> None:
    for chosen, words in (
        ({"model": {"start": "nobody"}}, "there is no model 'nobody'"),
        ({"batch_size": 10_000_000}, "a batch_size of 10,000,000 needs about"),
        ({"model": {"n_head": 3}}, "n_embd must be a multiple of n_head"),
    ):
        with pytest.raises(ValueError, match=words):
            shown(tmp_path, plan(**chosen))
