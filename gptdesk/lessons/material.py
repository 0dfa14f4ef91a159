"""Texts and distributions of the starter for the tasks of lessons."""

import random
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

from gptdesk.formatting import visible
from gptdesk.generation import GenerationRequest, GenerationResult, collect, generate
from gptdesk.starter.stories import generate_stories
from models.cache import KVCache
from models.manager import LoadedModel, ModelKey, ModelManager
from samplers import Chain, build
from samplers.ranking import best

MODEL = "starter"
PROMPTS = ("Once upon a time", "Once there was a", "Title: The brave hedgehog", "Dear diary,")


@contextmanager
def lend_starter(manager: ModelManager, precision: str = "float32") -> Iterator[LoadedModel]:
    """Lend the starter; ValueError if it cannot be loaded."""
    with manager.lend(ModelKey(MODEL, precision)) as loaded:
        yield loaded


def write(loaded: LoadedModel, prompt: str, chain: Chain, *, seed: int, new_tokens: int = 40) -> GenerationResult:
    """Return a short text, its log-probabilities not included."""
    request = GenerationRequest(prompt=prompt, chain=chain, seed=seed, max_new_tokens=new_tokens)
    return collect(generate(loaded, request), n=1)


def warm(temperature: float) -> Chain:
    """Return a chain of a temperature alone."""
    return Chain(samplers=(build("temperature", temperature=temperature),))


@torch.inference_mode()
def next_logits(loaded: LoadedModel, text: str) -> tuple[Tensor, Tensor]:
    """Return the logits (1, V) after a text, and its tokens (1, T)."""
    tokens = torch.tensor(loaded.tokenizer.encode_prompt(text), dtype=torch.int64)[None]
    cache = KVCache(loaded.config, capacity=tokens.shape[1], device=loaded.model.device)
    for chunk in tokens.split(loaded.model.chunk, dim=1):
        logits = loaded.model(chunk, cache, last_only=True)[:, -1]  # (1, t) -> (1, V)
    return logits.float().cpu(), tokens


def after_chain(loaded: LoadedModel, text: str, chain: Chain) -> Tensor:
    """Return the distribution (V,) of the next token after all samplers of a chain."""
    return chain.explain(*next_logits(loaded, text))[-1].probabilities[0]


def likeliest(probabilities: Tensor, count: int) -> list[int]:
    """Return the ids of the most probable tokens of a distribution (V,), the best first."""
    ids: list[int] = best(probabilities[None], count).ids[0].tolist()
    return ids


def story_beginning(source: random.Random, *, words: int) -> str:
    """Return the first words of a new story that is told without a title."""
    seed = source.randrange(10_000, 1_000_000)
    story = next(story for story in generate_stories(seed, 100) if story.form == "plain")
    return " ".join(story.text.split()[:words])


def quoted(token: str) -> str:
    """Return a token's text in quotation marks, with its white space visible."""
    return f"“{visible(token)}”"


def quoted_text(text: str) -> str:
    """Return a text of several words in quotation marks, on one line."""
    return f"“{' '.join(text.split())}”"
