"""The loss of a model on stories that nobody was trained on, and the floor: what they cost whoever knows the world."""

import itertools
from collections.abc import Iterable
from dataclasses import dataclass

import torch

from gptdesk.starter.stories import Story, tellings
from models.gpt import GPT
from models.tokenizer import Tokenizer

JUDGED, MANY = 128, 400  # stories that a loss is measured on, and of which they are those that fit the context


@dataclass(frozen=True)
class Loss:
    """In nats per token, of stories that were not trained on, and what they cost whoever knows how they are made."""

    loss: float
    floor: float

    def __str__(self) -> str:
        excess = self.loss - self.floor
        return f"{self.loss:.4f} nats a token, {excess:+.4f} above the floor of {self.floor:.4f}"


def floor(tokenizer: Tokenizer, told: list[Story]) -> float:
    """Nats per token that stories cost whoever knows how they are made.

    No model that has not read them can have a loss much lower on them, each from its start to its end of text.
    """
    return sum(story.nats for story in told) / sum(len(tokenizer.encode(story.text)) + 1 for story in told)


def losses(model: GPT, tokenizer: Tokenizer, *, seed: int) -> dict[str, Loss]:
    """Of a model on three sorts of stories of the collection `seed`: like those it was trained on; with a hero, a thing
    and a place that were never together; and plots that take a turn they never took."""
    held_out = list(tellings(seed, MANY, held_out=True))
    sorts = {
        "new stories": tellings(seed, MANY),
        "new compositions": (story for story in held_out if not story.twisted),
        "new turns of plots": (story for story in held_out if story.twisted),
    }
    return {name: loss_on(model, tokenizer, told) for name, told in sorts.items()}


@torch.inference_mode()
def loss_on(model: GPT, tokenizer: Tokenizer, told: Iterable[Story]) -> Loss:
    """Of the first of those that fit the model's context, each from nothing to its end; ValueError if none does."""
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
