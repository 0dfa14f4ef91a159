"""Comparison of a model's texts with as many of the generator."""

import itertools
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import torch

from gptdesk.starter.world.novelty import Novelty, Reference, novelty
from gptdesk.starter.world.reader import SENTENCE_END, Verdict, read
from gptdesk.starter.world.scores import Score, score, sentences, words_of
from gptdesk.starter.world.variety import Variety, variety
from models.cache import KVCache
from models.engine import Engine
from models.tokenizer import Tokenizer
from samplers.chain import Chain

CHAIN = Chain.from_data([{"name": "temperature", "temperature": 0.8}, {"name": "top_p", "top_p": 0.95}])
TOGETHER = 50  # texts generated at a time


@dataclass(frozen=True)
class Text:
    """Generated text; `whole` if it reached the end of the story within the context."""

    text: str
    whole: bool


@dataclass(frozen=True)
class Judgement:
    """Measurements of texts, to be compared with those of other texts."""

    score: Score
    novelty: Novelty
    variety: Variety


@torch.inference_mode()
def write_stories(engine: Engine, tokenizer: Tokenizer, *, count: int, seed: int, chain: Chain = CHAIN) -> list[Text]:
    """Generate stories with a model, each from an empty prompt to its end or the end of the context."""
    texts: list[Text] = []
    while len(texts) < count:
        rows = min(TOGETHER, count - len(texts))
        texts += _write_rows(engine, tokenizer, rows, chain, seed=seed + len(texts))
    return texts


def _write_rows(engine: Engine, tokenizer: Tokenizer, count: int, chain: Chain, *, seed: int) -> list[Text]:
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
    """Return the reader's verdict on a text, without the sentence in which it was cut off."""
    if text.whole:
        return read(text.text)
    ends = [match.end() for match in SENTENCE_END.finditer(text.text)]
    return read(text.text[: ends[-1] if ends else 0], whole=False)


class Judge:
    """Measures texts beside the rows (R, T + 1) that a model was trained on."""

    def __init__(self, tokenizer: Tokenizer, rows: torch.Tensor) -> None:
        self._tokenizer = tokenizer
        self._reference = Reference(rows.to(torch.int32).numpy())
        self._seen = {sentence for row in rows for sentence in _sentences(row, tokenizer)}

    def __call__(self, texts: Sequence[Text], *, words: int) -> Judgement:
        """Measure texts; their variety by their first `words` words. Raises ValueError if there are none."""
        verdicts = [verdict(text) for text in texts]
        return Judgement(
            score(verdicts, seen=self._seen),
            novelty([self._tokenizer.encode(text.text) for text in texts if text.text], self._reference),
            variety([text.text for text in texts], verdicts, words=words),
        )


def _sentences(row: torch.Tensor, tokenizer: Tokenizer) -> Iterator[str]:
    """Yield the sentences in a row (T + 1,) of stories, split as by the reader."""
    stories: list[list[int]] = [[]]
    for token in row.tolist():
        if token == tokenizer.end_of_text:
            stories.append([])
        else:
            stories[-1].append(token)
    for story in stories:
        for paragraph in tokenizer.decode(story).split("\n"):
            yield from sentences(paragraph)


def judge_both(judge: Judge, texts: Sequence[Text], held_out: Iterable[str]) -> tuple[Judgement, Judgement]:
    """Measure texts of a model and as many held-out stories of the generator, by equally many words."""
    others = [Text(text, whole=True) for text in itertools.islice(held_out, len(texts))]
    words = min(sum(len(words_of(text.text)) for text in some) for some in (texts, others))
    return judge(texts, words=words), judge(others, words=words)
