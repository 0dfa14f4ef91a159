"""From a plan to all that comes before the first step: text as tokens, the network, what the run will take."""

import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import torch

from gptdesk.training.context import RunContext
from gptdesk.training.corpus import Corpus, CorpusProgress, prepare
from gptdesk.training.distributed import World
from gptdesk.training.estimate import Estimate, check_memory, estimate, free_memory, probe
from gptdesk.training.loader import StreamRows
from gptdesk.training.options import ModelOptions, TrainingOptions
from gptdesk.training.run_directory import RunPlan
from gptdesk.training.saves import MODEL
from models.checkpoint import Checkpoint
from models.gpt import GPT, PRESETS, GPTConfig
from models.tokenizer import Tokenizer


def origin(plan: RunPlan, *, places: RunContext, save: Path | None = None) -> Checkpoint | None:
    """The checkpoint a run goes on from: in its own newest `save`, else the model it starts with; None for a new one.

    Raises ValueError if there is no such model or it cannot be used.
    """
    if not plan.model.start:
        return None
    return Checkpoint.open(save / MODEL if save else places.library.info(plan.model.start).path)


def read_text(plan: RunPlan, *, places: RunContext, origin: Checkpoint | None) -> Iterator[CorpusProgress]:
    """The plan's text as tokens of its tokenizer, or of that of its origin; the last has the corpus. As `prepare`."""
    vocabularies = places.settings.vocabularies
    tokenizer: str | Tokenizer = plan.model.tokenizer
    if origin:
        tokenizer = origin.load_tokenizer(vocabularies)
    yield from prepare(
        [Path(place) for place in plan.data],
        tokenizer,
        options=plan.split,
        cache=places.settings.cache,
        vocabularies=vocabularies,
        own=places.settings.texts,
    )


def block_size(plan: RunPlan, corpus: Corpus, *, origin: Checkpoint | None) -> int:
    """As chosen; else as the preset or model says, or less if the text is so short that little would be left."""
    if plan.model.block_size:
        return plan.model.block_size
    usual = origin.config.block_size if origin else PRESETS[plan.model.preset].block_size
    held_out = len(corpus.validation) - 1
    return max(8, min(usual, len(corpus.train) // 8, held_out if held_out > 0 else usual))


def network(plan: RunPlan, tokenizer: Tokenizer, *, block_size: int, origin: Checkpoint | None) -> GPT:
    """The network before its first step; ValueError if there can be none."""
    training = plan.training
    if origin is None:
        torch.manual_seed(training.seed)
        return GPT(new_config(plan.model, tokenizer.vocab_size, block_size, dropout=training.dropout))
    old = origin.load_model()
    if block_size > old.config.block_size:
        raise ValueError(
            f"block_size must be at most {old.config.block_size}, the context of {plan.model.start}, not {block_size}"
        )
    model = GPT(replace(old.config, dropout=training.dropout))
    model.load_state_dict(old.state_dict())
    return model


def new_config(options: ModelOptions, vocab_size: int, block_size: int, *, dropout: float = 0.0) -> GPTConfig:
    """The shape of a new network; ValueError if no network can have it."""
    preset = PRESETS[options.preset]
    return replace(
        preset,
        vocab_size=vocab_size,
        block_size=block_size,
        n_layer=options.n_layer or preset.n_layer,
        n_head=options.n_head or preset.n_head,
        n_embd=options.n_embd or preset.n_embd,
        dropout=dropout,
    )


def expect(
    model: GPT, rows: StreamRows, *, options: TrainingOptions, stop: threading.Event | None, world: World | None = None
) -> Estimate:
    """What the run will take, by a few steps on a copy of the model; the first process decides for all.

    Raises ValueError if the memory is too small; worthless once `stop` is set.
    """
    world = world or World()
    free = free_memory(model.wte.weight.device)
    memory = check_memory(model.config, options, block_size=rows.width - 1, free=free, world=world)
    if options.batch_size < world.size:
        raise ValueError(f"batch_size must be at least the {world.size} processes, not {options.batch_size}")
    bfloat16, speed = _speed(model, rows, options, stop, world)
    return estimate(options, rows, speed=speed, memory=memory, bfloat16=bfloat16)


def _speed(
    model: GPT, rows: StreamRows, options: TrainingOptions, stop: threading.Event | None, world: World
) -> tuple[bool, float]:
    """Whether all processes will compute in bfloat16, and with how many tokens per second."""
    if world.sharded:
        found = probe(model, rows, options=options, stop=stop, world=world)
    else:
        share = TrainingOptions(**(dict(options) | {"batch_size": -(-options.batch_size // world.size)}))
        bfloat16, speed = probe(model, rows, options=share, stop=stop) if world.rank == 0 else (False, 0.0)
        found = bfloat16, speed * world.size
    wanted, speed = world.add_up(*found) if world.rank == 0 else world.add_up(0, 0)
    return bool(wanted), speed
