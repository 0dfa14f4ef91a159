"""What the tests of comparisons share: sides, the last of a stream's events, and damaged models."""

import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import TypeVar

import torch

from gptdesk.comparison import Side, side_names
from gptdesk.generation import GenerationRequest, GenerationResult, collect, generate
from gptdesk.starter import CHECKPOINT
from models.checkpoint import About, Checkpoint, save_checkpoint
from models.gpt import GPT, GPTConfig
from models.manager import ModelKey, ModelManager
from models.tokenizer import Tokenizer, character_tokenizer
from samplers import Chain, build

Wanted = TypeVar("Wanted")
GREEDY = Chain(samplers=(build("greedy"),))
LETTERS = character_tokenizer("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ .,\n'\"!?-")


def asked(prompt: str = "Once", *, tokens: int = 24, **fields: object) -> GenerationRequest:
    return GenerationRequest(**{"prompt": prompt, "max_new_tokens": tokens, "seed": 5} | fields)  # type: ignore[arg-type]


def sides_of(request: GenerationRequest, *models: str) -> list[Side]:
    """A side for each NAME:PRECISION, all with the same request."""
    keys = [ModelKey.parse(model) for model in models]
    return [Side(name, key, request) for name, key in zip(side_names(keys), keys, strict=True)]


def only(events: Iterable[object], kind: type[Wanted]) -> Wanted:
    """The one event of a kind in a stream, which must come last."""
    everything = list(events)
    found = [event for event in everything if isinstance(event, kind)]
    assert len(found) == 1
    assert everything[-1] is found[0]
    return found[0]


def written(manager: ModelManager, side: Side) -> GenerationResult:
    """What a side writes with nobody beside it."""
    with manager.lend(side.key) as loaded:
        return collect(generate(loaded, side.request), n=1)


def save_damaged(original: Path, path: Path, *, noise: float, tokenizer: Tokenizer) -> None:
    """A checkpoint whose h.1.mlp.c_proj is multiplied by noise, and equal to the original but for that."""
    model = Checkpoint.open(original).load_model()
    weight = model.get_parameter("h.1.mlp.c_proj.weight")
    with torch.no_grad():
        weight.mul_(1 + noise * torch.randn(weight.shape, generator=torch.Generator().manual_seed(2)))
    save_checkpoint(path, model, tokenizer=tokenizer, about=About())


def save_letters(path: Path) -> None:
    """A random checkpoint that writes letters one by one."""
    torch.manual_seed(4)
    letters = GPT(GPTConfig(vocab_size=LETTERS.vocab_size, block_size=32, n_layer=1, n_head=1, n_embd=16))
    save_checkpoint(path, letters, tokenizer=LETTERS, about=About())


def save_family(folder: Path) -> Path:
    """The starter, its twin, one that is damaged, a tiny one with its tokenizer, and one that writes letters."""
    tokenizer = Tokenizer.load(CHECKPOINT)
    for name in ("whole", "twin"):
        shutil.copytree(CHECKPOINT, folder / name)
    save_damaged(CHECKPOINT, folder / "damaged", noise=4.0, tokenizer=tokenizer)
    save_letters(folder / "letters")
    tiny = GPT(GPTConfig(vocab_size=tokenizer.vocab_size, block_size=48, n_layer=1, n_head=1, n_embd=16))
    save_checkpoint(folder / "tiny", tiny, tokenizer=tokenizer, about=About())
    return folder


def save_tiny_family(tiny_folder: Path, folder: Path, tokenizer: Tokenizer) -> Path:
    """In `folder`: `tiny`, its `twin`, one that is `damaged`, and one that writes `letters`."""
    for name in ("tiny", "twin"):
        shutil.copytree(tiny_folder / "tiny", folder / name)
    save_damaged(folder / "tiny", folder / "damaged", noise=0.5, tokenizer=tokenizer)
    save_letters(folder / "letters")
    return folder
