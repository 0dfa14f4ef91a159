"""Loss of a model on new stories, beside the generator's entropy."""

import itertools
from collections.abc import Iterable
from dataclasses import dataclass

import torch

from gptdesk.starter.stories import Story, generate_stories
from models.gpt import GPT
from models.tokenizer import Tokenizer

JUDGED, MANY = 128, 400  # stories that a loss is measured on: the first that fit the context, out of MANY


@dataclass(frozen=True)
class Loss:
    """Loss on stories that were not trained on, and the generator's entropy on them, in nats per token."""

    loss: float
    entropy: float

    def __str__(self) -> str:
        excess = self.loss - self.entropy
        return f"{self.loss:.4f} nats per token, {excess:+.4f} above the generator's entropy of {self.entropy:.4f}"


def entropy(tokenizer: Tokenizer, given: list[Story]) -> float:
    """Return the generator's entropy on stories, in nats per token.

    It is the least loss of a model that was not trained on them, each from its start to its end of text.
    """
    return sum(story.nats for story in given) / sum(len(tokenizer.encode(story.text)) + 1 for story in given)


def losses(model: GPT, tokenizer: Tokenizer, *, seed: int) -> dict[str, Loss]:
    """Return the loss of a model on three sorts of new stories of the collection `seed`.

    Like those it was trained on; with a hero, a thing and a place that were never together; with a turn of the plot
    that never occurred.
    """
    held_out = list(generate_stories(seed, MANY, held_out=True))
    sorts = {
        "new stories": generate_stories(seed, MANY),
        "new compositions": (story for story in held_out if not story.twisted),
        "new turns of plots": (story for story in held_out if story.twisted),
    }
    return {name: loss_on(model, tokenizer, given) for name, given in sorts.items()}


@torch.inference_mode()
def loss_on(model: GPT, tokenizer: Tokenizer, given: Iterable[Story]) -> Loss:
    """Return the loss on the first stories that fit the model's context, each from an empty prompt to its end.

    Raises ValueError if none fits.
    """
    most = model.config.block_size + 1
    fitting = list(itertools.islice((story for story in given if len(_ids(tokenizer, story)) <= most), JUDGED))
    if not fitting:
        raise ValueError(f"no story fits the model's context of {model.config.block_size} tokens, so it has no loss")
    rows = [torch.tensor([_ids(tokenizer, story)]) for story in fitting]
    lengths = [row.shape[1] - 1 for row in rows]
    nats = [model.loss(row[:, :-1], row[:, 1:]).item() * n for row, n in zip(rows, lengths, strict=True)]
    return Loss(sum(nats) / sum(lengths), entropy(tokenizer, fitting))


def _ids(tokenizer: Tokenizer, story: Story) -> list[int]:
    """Return the tokens of a story between two ends of text."""
    assert tokenizer.end_of_text is not None
    return [tokenizer.end_of_text, *tokenizer.encode(story.text), tokenizer.end_of_text]
