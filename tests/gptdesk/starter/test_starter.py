"""Starter model: complete, small, with a low loss on its stories, and rebuilt by one command."""

import re
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from gptdesk.starter import CHECKPOINT
from gptdesk.starter.__main__ import main
from gptdesk.starter.build import Recipe, build, spread_name_embeddings
from gptdesk.starter.judge import Judge, Text, judge_both, verdict, write_stories
from gptdesk.starter.losses import entropy
from gptdesk.starter.rows import CLOSE, StoryRows
from gptdesk.starter.stories import generate_stories, generate_story, stories
from gptdesk.training import TrainingOptions, evaluate
from models.cache import KVCache
from models.checkpoint import Checkpoint
from models.engine import Engine
from models.gpt import GPT, GPTConfig
from models.precision import PRECISIONS
from models.tokenizer import Tokenizer

RECORDED_LOSS = 0.90  # nats per token; 0.885 on held-out rows when the checkpoint was made
ABOUT = Path(__file__).parents[3] / "docs" / "starter.md"
HELD_OUT = 987_654  # a collection that no training run has seen


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> Iterator[None]:
    """Compute on one thread, which is faster for a network this small."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def starter() -> Checkpoint:
    return Checkpoint.open(CHECKPOINT)


@pytest.fixture(scope="module")
def model(starter: Checkpoint) -> GPT:
    return starter.load_model()


@pytest.fixture(scope="module")
def own_tokenizer(starter: Checkpoint) -> Tokenizer:
    return starter.load_tokenizer()


@pytest.fixture(scope="module")
def words_of_the_world() -> set[str]:
    return {word.lower() for text in stories(HELD_OUT, 2000) for word in re.findall(r"[A-Za-z']+", text)}


@pytest.fixture(scope="module")
def engine(starter: Checkpoint) -> Engine:
    return starter.load_engine(PRECISIONS["float32"])


def greedy(engine: Engine, tokenizer: Tokenizer, prompt: str, *, limit: int = 150) -> str:
    ids = tokenizer.encode(prompt)
    cache = KVCache(engine.config)
    logits = engine(torch.tensor([ids]), cache, last_only=True)
    while len(ids) < limit and (token := int(logits.argmax())) != tokenizer.end_of_text:
        ids.append(token)
        logits = engine(torch.tensor([[token]]), cache)
    return tokenizer.decode(ids)


def test_the_checkpoint_says_what_it_is(starter: Checkpoint) -> None:
    about = starter.about
    assert sum(file.stat().st_size for file in CHECKPOINT.iterdir()) <= 16_000_000
    assert about.source == "gptdesk.starter"
    assert about.licence == "MIT"
    assert about.created
    assert about.tokens is not None
    assert about.steps is not None
    assert about.tokens > 40_000_000
    assert about.validation_loss is not None
    assert about.validation_loss < RECORDED_LOSS


def test_the_tokenizer_can_write_every_story(own_tokenizer: Tokenizer) -> None:
    texts = list(stories(HELD_OUT, 50))
    assert all(own_tokenizer.decode(own_tokenizer.encode(text)) == text for text in texts)


def test_the_tokenizer_is_that_of_the_stories(own_tokenizer: Tokenizer) -> None:
    texts = list(stories(HELD_OUT, 50))
    assert sum(map(len, texts)) / sum(len(own_tokenizer.encode(text)) for text in texts) > 3.4


def test_it_knows_the_stories_in_its_document(model: GPT, own_tokenizer: Tokenizer) -> None:
    quoted = re.findall(r"(?:^> ?.*\n)+", ABOUT.read_text("utf-8"), re.MULTILINE)
    passages = [re.sub(r"\*\*|^> ?", "", text, flags=re.MULTILINE).strip() for text in quoted]
    texts = [re.sub(r"(?<!\n)\n(?!\n)", " ", text) for text in passages]
    assert len(texts) == 3
    for text in texts:
        row = torch.tensor([[own_tokenizer.end_of_text, *own_tokenizer.encode(text)][: model.config.block_size + 1]])
        assert evaluate(model, row) < 1.0


def test_it_knows_stories_it_has_never_read(model: GPT, own_tokenizer: Tokenizer) -> None:
    rows = StoryRows(own_tokenizer, HELD_OUT, count=24, block_size=model.config.block_size)
    assert evaluate(model, rows.take(torch.arange(24), epoch=0)) < RECORDED_LOSS


def test_what_it_writes_makes_sense(engine: Engine, own_tokenizer: Tokenizer) -> None:
    texts = write_stories(engine, own_tokenizer, count=12, seed=5)
    held_out = list(generate_stories(HELD_OUT, 40))
    rows = StoryRows(own_tokenizer, HELD_OUT, count=40, block_size=256).take(torch.arange(40), epoch=0)
    ours, theirs = judge_both(Judge(own_tokenizer, rows), texts, (story.text for story in held_out))
    assert ours.score.in_grammar > 0.95
    assert ours.score.contradictions < 3
    assert (theirs.score.in_grammar, theirs.score.contradictions) == (1.0, 0.0)
    assert ours.novelty.longest_run < 50


@pytest.mark.parametrize("prompt", ["Once", "Once upon a time", "The fox", "One rainy morning", "Mia"])
def test_what_it_writes_is_made_of_words(
    engine: Engine, own_tokenizer: Tokenizer, words_of_the_world: set[str], prompt: str
) -> None:
    text = greedy(engine, own_tokenizer, prompt)
    words = [word.lower() for word in re.findall(r"[A-Za-z']+", text.rpartition(" ")[0])]
    assert text.startswith(prompt)
    assert len(words) > 60
    assert set(words) <= words_of_the_world


SMALL = Recipe(vocabulary=600, context=128, layers=1, heads=2, channels=16, tokenizer_stories=60, validation_stories=4)


def options(steps: int) -> TrainingOptions:
    return TrainingOptions(
        steps=steps, batch_size=2, warmup_steps=0, evaluate_every=2, save_every=2, patience=0, seed=3
    )


def test_rows_begin_where_stories_do(own_tokenizer: Tokenizer) -> None:
    rows = StoryRows(own_tokenizer, 5, count=6, block_size=256)
    taken = rows.take(torch.arange(6), epoch=0)
    assert taken.shape == (6, 257)
    assert rows.take(torch.tensor([4, 1]), epoch=0).tolist() == [taken[4].tolist(), taken[1].tolist()]
    for i, row in enumerate(taken.tolist()):
        index = next(k for k in range(i * CLOSE, (i + 1) * CLOSE) if not generate_story(5, k).held_out)
        text = own_tokenizer.encode(generate_story(5, index).text)
        expected = [own_tokenizer.end_of_text] * (1 - i % 2) + text + [own_tokenizer.end_of_text]
        assert row[: len(expected)] == expected[:257]


def test_the_next_epoch_has_other_stories(own_tokenizer: Tokenizer) -> None:
    rows = StoryRows(own_tokenizer, 5, count=3, block_size=64)
    every = [tuple(row) for epoch in range(3) for row in rows.take(torch.arange(3), epoch=epoch).tolist()]
    assert len(set(every)) == 9


def test_no_row_begins_with_a_composition_that_is_held_out(own_tokenizer: Tokenizer) -> None:
    assert not any(story.held_out for story in generate_stories(5, 200))
    assert all(story.held_out for story in generate_stories(5, 10, held_out=True))
    held_out = StoryRows(own_tokenizer, 5, count=1, block_size=32, held_out=True).take(torch.tensor([0]), epoch=0)
    first = next(generate_stories(5, 1, held_out=True))
    assert held_out[0, 1:].tolist() == own_tokenizer.encode(first.text)[:32]


def test_the_entropy_of_stories_is_their_nats_by_token(own_tokenizer: Tokenizer) -> None:
    generated = [generate_story(HELD_OUT, index) for index in range(3)]
    tokens = [len(own_tokenizer.encode(story.text)) + 1 for story in generated]
    assert entropy(own_tokenizer, generated[:1]) == pytest.approx(generated[0].nats / tokens[0])
    assert entropy(own_tokenizer, generated) == pytest.approx(sum(story.nats for story in generated) / sum(tokens))


def test_one_seed_is_one_model_even_if_it_was_stopped_halfway(tmp_path: Path) -> None:
    for _ in build(tmp_path / "whole", tmp_path / "first", options=options(6), recipe=SMALL):
        pass
    stop = threading.Event()
    for step in build(tmp_path / "stopped", tmp_path / "second", options=options(6), recipe=SMALL, stop=stop):
        if step.step == 3:
            stop.set()
    assert not (tmp_path / "second").exists()
    assert [
        step.step for step in build(tmp_path / "stopped", tmp_path / "second", options=options(6), recipe=SMALL)
    ] == [
        4,
        5,
        6,
    ]
    first, second = (Checkpoint.open(tmp_path / name) for name in ("first", "second"))
    weights = first.load_model().state_dict(), second.load_model().state_dict()
    assert all(torch.equal(weights[0][key], weights[1][key]) for key in weights[0])
    about = second.about
    assert (about.steps, about.tokens, about.validation_loss) == (6, 6 * 2 * 128, first.about.validation_loss)
    list(build(tmp_path / "whole", tmp_path / "again", options=options(6), recipe=SMALL))  # killed before it was saved
    again = Checkpoint.open(tmp_path / "again").about
    assert (again.loss, again.validation_loss) == (first.about.loss, first.about.validation_loss)
    assert (about.data or "").startswith("12 rows of 128 tokens: stories of gptdesk.starter.world, seed 3")
    assert second.load_tokenizer().vocab_size == second.config.vocab_size == 600


def test_a_run_goes_on_with_its_own_options_only(tmp_path: Path) -> None:
    list(build(tmp_path / "run", tmp_path / "model", options=options(2), recipe=SMALL))
    with pytest.raises(ValueError, match="begun with other options"):
        list(build(tmp_path / "run", tmp_path / "model", options=options(3), recipe=SMALL))


def test_a_model_reads_on_where_it_ended(tmp_path: Path) -> None:
    list(build(tmp_path / "run", tmp_path / "model", options=options(2), recipe=SMALL))
    start = Checkpoint.open(tmp_path / "model")
    list(build(tmp_path / "next", tmp_path / "more", options=options(3), recipe=SMALL, start=start))
    more = Checkpoint.open(tmp_path / "more")
    assert (more.about.steps, more.about.tokens) == (5, 5 * 2 * 128)
    assert (more.about.data or "").startswith("10 rows of 128 tokens: stories of gptdesk.starter.world, seed 3")
    tokenizer = more.load_tokenizer()
    both = StoryRows(tokenizer, 3, count=10, block_size=128).take(torch.arange(4, 10), epoch=0)
    assert torch.equal(StoryRows(tokenizer, 3, count=6, block_size=128, first=4).take(torch.arange(6), epoch=0), both)


def test_names_begin_further_apart(own_tokenizer: Tokenizer) -> None:
    model = GPT(GPTConfig(own_tokenizer.vocab_size, 8, n_layer=1, n_head=1, n_embd=16))
    before = model.wte.weight.detach().clone()
    spread_name_embeddings(model, own_tokenizer, times=3.0)
    after = model.wte.weight.detach()
    names = (before != after).any(dim=1)
    assert 10 < names.sum() < 700
    assert torch.allclose(after[names].mean(dim=0), before[names].mean(dim=0), atol=1e-6)
    assert torch.allclose(after[names].var(dim=0), 9 * before[names].var(dim=0), rtol=1e-4)


def test_any_model_of_the_stories_is_scored(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    list(build(tmp_path / "run", tmp_path / "model", options=options(2), recipe=replace(SMALL, context=512)))
    assert main(["score", str(tmp_path / "model"), "--samples", "3"]) == 0
    output = capsys.readouterr().out
    figures = r"\d\.\d{4} nats per token, \+\d\.\d{4} above the generator's entropy of 0\.\d{4}"
    assert re.search(rf"^loss on new stories: {figures}$", output, re.MULTILINE)
    assert re.search(r"^sentences in grammar +0\.0% +100\.0%$", output, re.MULTILINE)
    assert re.search(r"^contradictions per story +\d\.\d\d +0\.00$", output, re.MULTILINE)


def test_what_a_model_has_read_is_not_new(own_tokenizer: Tokenizer) -> None:
    rows = StoryRows(own_tokenizer, 5, count=20, block_size=256).take(torch.arange(20), epoch=0)
    parts = [own_tokenizer.decode(row).split("<|endoftext|>") for row in rows[::2].tolist()]
    judged = Judge(own_tokenizer, rows)([Text(part[1], whole=True) for part in parts if len(part) > 2], words=500)
    assert (judged.score.in_grammar, judged.score.unseen) == (1.0, 0.0)
    assert judged.novelty.near_duplicates == 1.0
    assert judged.novelty.longest_run > 100


def test_a_text_that_was_cut_off_is_judged_without_its_last_words(own_tokenizer: Tokenizer) -> None:
    text = "Once upon a time, there was a shy boy named Tom. Tom had a red ki"
    found = verdict(Text(text, whole=False))
    assert (found.sentences, found.in_grammar, found.contradictions) == (1, 1, [])


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (["--steps", "0"], "steps must be greater than or equal to 1, not 0\n"),
        (["score", "--samples", "0"], "--samples must be at least 1, not 0\n"),
    ],
)
def test_a_wrong_option_is_one_sentence(given: list[str], said: str, capfd: pytest.CaptureFixture[str]) -> None:
    assert main(given) == 2
    assert capfd.readouterr().err == said
