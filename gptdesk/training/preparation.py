"""Preparation of a run before its first step: corpus, network and estimate from its plan."""

import threading
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType

import torch

from gptdesk.training.checkpoints import MODEL
from gptdesk.training.context import RunContext
from gptdesk.training.corpus import Corpus, CorpusProgress, inspect_all, prepare
from gptdesk.training.distributed import ProcessGroup
from gptdesk.training.estimate import Estimate, check_memory, estimate, free_memory, probe
from gptdesk.training.loader import StreamRows
from gptdesk.training.options import ModelOptions, TrainingOptions
from gptdesk.training.plan import RunPlan
from gptdesk.training.text import find_files
from gptdesk.training.text_input import TextInput
from models.checkpoint import Checkpoint
from models.gpt import GPT, PRESETS, GPTConfig
from models.tokenizer import Tokenizer

INSPECTED = 20_000_000  # bytes of text whose files are all read before a run is made of them
TOKENIZED = 20_000  # bytes of text that is tokenized, too, since it may be too short to train on


def check_text(plan: RunPlan, *, text: TextInput, context: RunContext) -> None:
    """Raise ValueError for a text that cannot be trained on, as far as that is known at once.

    A longer text is checked by its run.
    """
    cache = context.settings.cache
    cache.mkdir(parents=True, exist_ok=True)
    with text.temporary_paths(cache, encoding=plan.split.encoding) as paths:
        names = text.copied_names(paths)
        files = find_files([Path(path) for path in paths])
        size = sum(file.stat().st_size for file in files if file.exists())
        if size > INSPECTED:
            return
        for _ in inspect_all(files, [], encoding=plan.split.encoding, own=context.settings.texts, names=names):
            pass
        if size > TOKENIZED:
            return
        plan = plan.model_copy(update={"data": paths})
        base = base_model(plan, context=context)
        for progress in read_text(plan, context=context, trained=base, names=names):
            if corpus := progress.corpus:
                # raises if the tokens do not fill a row
                StreamRows(corpus.train, block_size(plan, corpus, base=base), seed=plan.training.seed)


def base_model(plan: RunPlan, *, context: RunContext, newest: Path | None = None) -> Checkpoint | None:
    """Return the base model of a run, or what its own `newest` checkpoint made of it; None if the model is new.

    Raises ValueError if there is no such model or it cannot be used.
    """
    if not plan.model.start:
        return None
    return Checkpoint.open(newest / MODEL if newest else context.library.info(plan.model.start).path)


def read_text(
    plan: RunPlan,
    *,
    context: RunContext,
    trained: Checkpoint | None,
    names: Mapping[Path, str] = MappingProxyType({}),
) -> Iterator[CorpusProgress]:
    """Tokenize the plan's text with its tokenizer, or with that of a `trained` model. As `prepare`."""
    vocabularies = context.settings.vocabularies
    tokenizer: str | Tokenizer = plan.model.tokenizer
    if trained:
        tokenizer = trained.load_tokenizer(vocabularies)
    yield from prepare(
        [Path(path) for path in plan.data],
        tokenizer,
        options=plan.split,
        cache=context.settings.cache,
        vocabularies=vocabularies,
        own=context.settings.texts,
        names=names,
    )


def block_size(plan: RunPlan, corpus: Corpus, *, base: Checkpoint | None) -> int:
    """Return the context length: as chosen, or that of the preset or base model, or less for a short text."""
    if plan.model.block_size:
        return plan.model.block_size
    usual = base.config.block_size if base else PRESETS[plan.model.preset].block_size
    held_out = len(corpus.validation) - 1
    return max(8, min(usual, len(corpus.train) // 8, held_out if held_out > 0 else usual))


def network(plan: RunPlan, tokenizer: Tokenizer, *, block_size: int, base: Checkpoint | None) -> GPT:
    """Return the network before its first step; ValueError if its shape is impossible."""
    training = plan.training
    if base is None:
        torch.manual_seed(training.seed)
        return GPT(new_config(plan.model, tokenizer.vocab_size, block_size, dropout=training.dropout))
    old = base.load_model()
    if block_size > old.config.block_size:
        raise ValueError(
            f"block_size must be at most {old.config.block_size}, the context of {plan.model.start}, not {block_size}"
        )
    model = GPT(replace(old.config, dropout=training.dropout))
    model.load_state_dict(old.state_dict())
    return model


def new_config(options: ModelOptions, vocab_size: int, block_size: int, *, dropout: float = 0.0) -> GPTConfig:
    """Return the shape of a new network; ValueError if it is impossible."""
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


def estimate_run(
    model: GPT,
    rows: StreamRows,
    *,
    options: TrainingOptions,
    stop: threading.Event | None,
    processes: ProcessGroup | None = None,
) -> Estimate:
    """Return the estimate of a run, by a few steps on a copy of the model; that of the first process holds for all.

    Raises ValueError if the memory is too small; worthless once `stop` is set.
    """
    processes = processes or ProcessGroup()
    free = free_memory(model.wte.weight.device)
    memory = check_memory(model.config, options, block_size=rows.width - 1, free=free, processes=processes)
    if options.batch_size < processes.size:
        raise ValueError(f"batch_size must be at least the {processes.size} processes, not {options.batch_size}")
    bfloat16, speed = _speed(model, rows, options, stop, processes)
    return estimate(options, rows, speed=speed, memory=memory, bfloat16=bfloat16)


def _speed(
    model: GPT, rows: StreamRows, options: TrainingOptions, stop: threading.Event | None, processes: ProcessGroup
) -> tuple[bool, float]:
    """Return whether all processes will compute in bfloat16, and their tokens per second together."""
    if processes.sharded:
        measured = probe(model, rows, options=options, stop=stop, processes=processes)
    else:
        share = TrainingOptions(**(dict(options) | {"batch_size": -(-options.batch_size // processes.size)}))
        bfloat16, speed = probe(model, rows, options=share, stop=stop) if processes.rank == 0 else (False, 0.0)
        measured = bfloat16, speed * processes.size
    wanted, speed = processes.sum(*measured) if processes.rank == 0 else processes.sum(0, 0)
    return bool(wanted), speed
