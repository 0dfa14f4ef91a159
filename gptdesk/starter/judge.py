"""What a model of the stories is worth: its loss beside the floor, and its own texts beside those of the generator."""

import itertools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch

from gptdesk.starter.build import floor
from gptdesk.starter.stories import Story, tellings
from gptdesk.starter.world.novelty import Novelty, novelty
from gptdesk.starter.world.reader import SENTENCE_END, Verdict, read
from gptdesk.starter.world.scores import Score, score, sentences, words_of
from gptdesk.starter.world.variety import Variety, variety
from models.cache import KVCache
from models.engine import Engine
from models.gpt import GPT
from models.tokenizer import Tokenizer
from samplers.chain import Chain

CHAIN = Chain.from_data([{"name": "temperature", "temperature": 0.8}, {"name": "top_p", "top_p": 0.95}])
TOGETHER = 50  # texts that are written at a time
JUDGED, MANY = 128, 400  # stories that a loss is measured on, and of which they are those that fit the context


@dataclass(frozen=True)
class Text:
    """What a model wrote; `whole` if it came to the end of the story within its context."""

    text: str
    whole: bool


@dataclass(frozen=True)
class Loss:
    """In nats per token, of stories that were not trained on, and what they cost whoever knows how they are made."""

    loss: float
    floor: float


@dataclass(frozen=True)
class Judgement:
    """Texts of one writer: all of it is to be compared with the same of another."""

    score: Score
    novelty: Novelty
    variety: Variety


@torch.inference_mode()
def write(engine: Engine, tokenizer: Tokenizer, *, count: int, seed: int, chain: Chain = CHAIN) -> list[Text]:
    """New stories by a model, each from nothing to its end or the end of the context."""
    found: list[Text] = []
    while len(found) < count:
        rows = min(TOGETHER, count - len(found))
        found += _written(engine, tokenizer, rows, chain, seed=seed + len(found))
    return found


def _written(engine: Engine, tokenizer: Tokenizer, count: int, chain: Chain, *, seed: int) -> list[Text]:
    end = tokenizer.end_of_text
    assert end is not None
    cache = KVCache(engine.config)
    logits = engine(torch.tensor([[end]]), cache, last_only=True)[:, -1]  # (1, V)
    cache, logits = cache.copy(rows=count), logits.expand(count, -1)
    tokens, draw = torch.full((count, 1), end), chain.start(seed=seed, rows=count)
    while tokens.shape[1] <= engine.config.block_size:
        drawn = draw(logits, tokens)  # (B, V) -> (B,)
        tokens = torch.cat([tokens, drawn[:, None]], dim=1)
        if (tokens[:, 1:] == end).any(dim=1).all() or tokens.shape[1] > engine.config.block_size:
            break
        logits = engine(drawn[:, None], cache, last_only=True)[:, -1]
    rows = [list(itertools.takewhile(lambda token: token != end, row[1:])) for row in tokens.tolist()]
    return [Text(tokenizer.decode(row), len(row) + 1 < tokens.shape[1]) for row in rows]


def verdict(text: Text) -> Verdict:
    """What the reader makes of it, without the sentence in which it was cut off."""
    if text.whole:
        return read(text.text)
    ends = [match.end() for match in SENTENCE_END.finditer(text.text)]
    return read(text.text[: ends[-1] if ends else 0], whole=False)


def losses(model: GPT, tokenizer: Tokenizer, *, seed: int) -> dict[str, Loss]:
    """Of a model on three sorts of stories of the collection `seed`: like those it was trained on; with a hero, a thing
    and a place that were never together; and plots that take a turn they never took."""
    held_out = list(tellings(seed, MANY, held_out=True))
    sorts = {
        "new stories": tellings(seed, MANY),
        "new compositions": (story for story in held_out if not story.twisted),
        "new turns of plots": (story for story in held_out if story.twisted),
    }
    return {name: _loss(model, tokenizer, told) for name, told in sorts.items()}


@torch.inference_mode()
def _loss(model: GPT, tokenizer: Tokenizer, told: Iterable[Story]) -> Loss:
    """Of those that fit the model's context, each from nothing to its end."""
    most = model.config.block_size + 1
    fitting = list(itertools.islice((story for story in told if len(_ids(tokenizer, story)) <= most), JUDGED))
    if not fitting:
        raise ValueError(f"no story fits the model's context of {model.config.block_size} tokens, so it has no loss")
    rows = [torch.tensor([_ids(tokenizer, story)]) for story in fitting]
    lengths = [row.shape[1] - 1 for row in rows]
    nats = [model.loss(row[:, :-1], row[:, 1:]).item() * n for row, n in zip(rows, lengths, strict=True)]
    return Loss(sum(nats) / sum(lengths), floor(tokenizer, fitting))


def _ids(tokenizer: Tokenizer, story: Story) -> list[int]:
    """The tokens of a story between two ends of text."""
    assert tokenizer.end_of_text is not None
    return [tokenizer.end_of_text, *tokenizer.encode(story.text), tokenizer.end_of_text]


class Judge:
    """Judges texts beside the rows (R, T + 1) that a model was trained on."""

    def __init__(self, tokenizer: Tokenizer, rows: torch.Tensor) -> None:
        self._tokenizer = tokenizer
        self._rows: Sequence[Sequence[int]] = rows.tolist()
        self._seen = {sentence for row in self._rows for sentence in sentences(tokenizer.decode(list(row)))}

    def __call__(self, texts: Sequence[Text], *, words: int) -> Judgement:
        """Judge texts; how different they are, by their first `words` words. ValueError if there are none."""
        verdicts = [verdict(text) for text in texts]
        return Judgement(
            score(verdicts, seen=self._seen),
            novelty([self._tokenizer.encode(text.text) for text in texts if text.text], self._rows),
            variety([text.text for text in texts], verdicts, words=words),
        )


def judge_both(judge: Judge, texts: Sequence[Text], held_out: Iterable[str]) -> tuple[Judgement, Judgement]:
    """Those of a model, and as many of the generator that nobody was trained on, by equally many words."""
    others = [Text(text, whole=True) for text in itertools.islice(held_out, len(texts))]
    words = min(sum(len(words_of(text.text)) for text in some) for some in (texts, others))
    return judge(texts, words=words), judge(others, words=words)
