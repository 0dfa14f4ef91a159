"""The model the desk comes with is whole, small, knows its stories, and is rebuilt by one command."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from gptdesk.starter import CHECKPOINT
from gptdesk.starter.__main__ import CONTEXT, floor, main, story_rows
from gptdesk.starter.stories import stories, tell
from gptdesk.training import evaluate
from models.cache import KVCache
from models.checkpoint import Checkpoint
from models.engine import Engine
from models.gpt import GPT
from models.precision import PRECISIONS
from models.tokenizer import Tokenizer

RECORDED_LOSS = 0.37  # nats per token; 0.358 on held-out stories when the checkpoint was made, 0.351 at best
README = Path(__file__).parent.parent / "README.md"
HELD_OUT = 987_654  # a collection that no training run has seen


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> Iterator[None]:
    """Threads mostly wait for each other on a network as small as this."""
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
def of_this_world(starter: Checkpoint) -> None:
    """Skips what holds only for a model that was trained on the stories of today."""
    if "gptdesk.starter.world" not in (starter.about.data or ""):
        pytest.skip("the shipped model was trained on the stories of an earlier generator")


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
    assert starter.size_bytes <= 10_000_000
    assert about.source == "gptdesk.starter"
    assert about.licence == "MIT"
    assert about.created
    assert about.tokens is not None
    assert about.steps is not None
    assert about.tokens > 10_000_000
    assert about.validation_loss is not None
    assert about.validation_loss < RECORDED_LOSS


def test_the_tokenizer_can_write_every_story(own_tokenizer: Tokenizer) -> None:
    texts = list(stories(HELD_OUT, 50))
    assert all(own_tokenizer.decode(own_tokenizer.encode(text)) == text for text in texts)


def test_the_tokenizer_is_that_of_the_stories(of_this_world: None, own_tokenizer: Tokenizer) -> None:
    texts = list(stories(HELD_OUT, 50))
    assert sum(map(len, texts)) / sum(len(own_tokenizer.encode(text)) for text in texts) > 3.4


def test_it_knows_the_stories_in_the_readme(model: GPT, own_tokenizer: Tokenizer) -> None:
    quoted = re.findall(r"(?:^> ?.*\n)+", README.read_text("utf-8"), re.MULTILINE)
    told = [re.sub(r"\*\*|^> ?", "", text, flags=re.MULTILINE).strip() for text in quoted]
    texts = [re.sub(r"(?<!\n)\n(?!\n)", " ", text) for text in told]
    assert len(texts) == 2
    for text in texts:
        row = torch.tensor([[own_tokenizer.end_of_text, *own_tokenizer.encode(text)][: CONTEXT + 1]])
        assert evaluate(model, row) < 1.0


def test_it_knows_stories_it_has_never_read(of_this_world: None, model: GPT, own_tokenizer: Tokenizer) -> None:
    assert evaluate(model, story_rows(own_tokenizer, HELD_OUT, count=24)) < RECORDED_LOSS


@pytest.mark.parametrize("prompt", ["Once", "Once upon a time", "The fox", "One rainy morning", "Mia"])
def test_what_it_writes_is_made_of_words(
    of_this_world: None, engine: Engine, own_tokenizer: Tokenizer, words_of_the_world: set[str], prompt: str
) -> None:
    text = greedy(engine, own_tokenizer, prompt)
    words = [word.lower() for word in re.findall(r"[A-Za-z']+", text.rpartition(" ")[0])]
    assert text.startswith(prompt)
    assert len(words) > 60
    assert set(words) <= words_of_the_world


def test_rows_begin_where_stories_do(own_tokenizer: Tokenizer) -> None:
    rows = story_rows(own_tokenizer, 5, count=6)
    assert rows.shape == (6, CONTEXT + 1)
    for i, (row, text) in enumerate(zip(rows.tolist(), stories(5, 6), strict=True)):
        expected = [own_tokenizer.end_of_text] * (1 - i % 2) + own_tokenizer.encode(text) + [own_tokenizer.end_of_text]
        assert row[: len(expected)] == expected[: CONTEXT + 1]


def test_the_floor_is_what_the_stories_cost(own_tokenizer: Tokenizer) -> None:
    told = [tell(HELD_OUT, index) for index in range(3)]
    tokens = [len(own_tokenizer.encode(story.text)) + 1 for story in told]
    assert floor(own_tokenizer, HELD_OUT, count=1) == pytest.approx(told[0].nats / tokens[0])
    assert floor(own_tokenizer, HELD_OUT, count=3) == pytest.approx(sum(story.nats for story in told) / sum(tokens))


def test_one_command_rebuilds_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gptdesk.starter.__main__.TOKENIZER_STORIES", 400)
    monkeypatch.setattr("gptdesk.starter.__main__.VALIDATION_STORIES", 4)
    weights = []
    for name in ("first", "second"):
        assert main(["--steps", "2", "--batch-size", "2", "--seed", "3", "--out", str(tmp_path / name)]) == 0
        built = Checkpoint.open(tmp_path / name)
        assert built.about.steps == 2
        assert "gptdesk.starter.world, seed 3; floor 0." in (built.about.data or "")
        assert built.about.tokens == 2 * 2 * CONTEXT
        assert built.load_tokenizer().vocab_size == built.config.vocab_size
        weights.append(built.load_model().state_dict())
    first, second = weights
    assert all(torch.equal(first[key], second[key]) for key in first)


def test_a_wrong_option_is_one_sentence(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["--steps", "0", "--out", str(tmp_path / "none")]) == 2
    assert capfd.readouterr().err == "steps must be greater than or equal to 1, not 0\n"
    assert not (tmp_path / "none").exists()
