"""Preview of a run that does not exist yet: its text as the trainer will see it, its network, estimate, warnings."""

import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch

from gptdesk.training import preparation
from gptdesk.training.context import RunContext
from gptdesk.training.corpus import LITTLE, Corpus, CorpusProgress
from gptdesk.training.estimate import Estimate, outlook
from gptdesk.training.loader import Loader, StreamRows
from gptdesk.training.lock import holder
from gptdesk.training.plan import RunPlan
from gptdesk.training.text import TextFile, pieces
from gptdesk.training.text_input import TextInput
from models.gpt import PRESETS, GPTConfig
from models.tokenizer import Tokenizer

ROWS = 3  # of the first batch that are shown
OVERFITS = 1000  # over the fourth root of the tokens: epochs until the validation loss is at its best, roughly
ROUGH = 1000  # tokens in the validation split below which its loss says little
RARE = 30  # times that a token occurs on average, below which most are not learnt


@dataclass(frozen=True)
class Preview:
    """Preview of a run."""

    files: tuple[TextFile, ...]  # with encodings and sizes
    characters: int
    documents: int
    tokens: int  # to train on
    validation_tokens: int
    split: str  # document or position
    tokenizer: str  # kind
    vocab_size: int
    tokenizer_reason: str  # why it was chosen
    batches: tuple[tuple[str, ...], ...]  # rows of the first step, token by token; joined they are the text
    config: GPTConfig
    estimate: Estimate
    warnings: tuple[str, ...]  # a sentence each


def preview(
    plan: RunPlan,
    *,
    text: TextInput,
    context: RunContext,
    device: torch.device,
    stop: threading.Event | None = None,
) -> Iterator[CorpusProgress | Preview]:
    """Prepare a run with this text that does not exist yet; at last yields its preview.

    Ends early once `stop` is set. The tokens stay in the cache, where the run finds them. Raises ValueError for what
    cannot be trained.
    """
    stop = stop or threading.Event()
    cache = context.settings.cache
    cache.mkdir(parents=True, exist_ok=True)
    with text.temporary_paths(cache, encoding=plan.split.encoding) as paths:
        names = text.copied_names(paths)
        yield from _prepare(plan.model_copy(update={"data": paths}), context, device, stop, names=names)


def _prepare(
    plan: RunPlan, context: RunContext, device: torch.device, stop: threading.Event, *, names: Mapping[Path, str]
) -> Iterator[CorpusProgress | Preview]:
    base = preparation.base_model(plan, context=context)
    corpus = None
    for progress in preparation.read_text(plan, context=context, trained=base, names=names):
        yield progress
        corpus = progress.corpus
        if stop.is_set():
            return
    assert corpus is not None
    yield CorpusProgress("trying ten steps", 0, 0)
    options = plan.resolve_training()
    block_size = preparation.block_size(plan, corpus, base=base)
    with torch.random.fork_rng(devices=[]):  # other parts of this process use torch's generator, too
        model = preparation.network(plan, corpus.tokenizer, block_size=block_size, base=base).to(device)
        rows = StreamRows(corpus.train, block_size, seed=options.seed)
        estimate = preparation.estimate_run(model, rows, options=options, stop=stop)
    characters, documents = _count(corpus, stop)
    if stop.is_set():
        return
    training = holder(context.settings.home)
    slowed = [f"the run {training} is training now, so that the time is estimated too long"] if training else []
    yield Preview(
        files=corpus.files,
        characters=characters,
        documents=documents,
        tokens=len(corpus.train),
        validation_tokens=len(corpus.validation),
        split=corpus.split,
        tokenizer=corpus.tokenizer.kind,
        vocab_size=corpus.tokenizer.vocab_size,
        tokenizer_reason=_reason(plan, corpus),
        batches=_first_rows(plan, corpus, rows),
        config=model.config,
        estimate=estimate,
        warnings=(
            *_warn_of_text(corpus),
            *_warn_of_steps(plan, rows, estimate, corpus, characters),
            *_warn_of_model(plan, model.config, estimate, corpus),
            *slowed,
        ),
    )


def _count(corpus: Corpus, stop: threading.Event) -> tuple[int, int]:
    """Return the numbers of characters and documents; zeros once `stop` is set."""
    characters = documents = 0
    for file in corpus.files:
        for piece in pieces(file):
            characters += len(piece.text)
            documents += piece.last
            if stop.is_set():
                return 0, 0
    return characters, documents


def _reason(plan: RunPlan, corpus: Corpus) -> str:
    """Return why the run has its tokenizer."""
    if plan.model.start:
        return f"that of the base model {plan.model.start}"
    size = sum(file.size for file in corpus.files)
    if plan.model.tokenizer == "auto" and size < LITTLE:
        return f"characters, since {size:,} bytes are too short a text to train a BPE on"
    if plan.model.tokenizer in ("auto", "bpe"):
        return f"trained on the text; {corpus.tokenizer.vocab_size:,} tokens suit {size:,} bytes"
    return "as chosen"


def _first_rows(plan: RunPlan, corpus: Corpus, rows: StreamRows) -> tuple[tuple[str, ...], ...]:
    """Return rows of the first step as the network reads them, token by token."""
    count = min(ROWS, plan.training.batch_size)
    batch = Loader(rows, seed=plan.training.seed).batch(0, count)
    return tuple(tuple(_tokens(row, corpus.tokenizer)) for row in batch[:, :-1].tolist())


def _tokens(ids: list[int], tokenizer: Tokenizer) -> Iterator[str]:
    """Yield the text of each token; tokens that end within a character come with those that complete it."""
    decoder = tokenizer.stream()
    for token in ids:
        if text := decoder.push(token):
            yield text
    if rest := decoder.flush():
        yield rest


def _warn_of_text(corpus: Corpus) -> Iterator[str]:
    yield from corpus.remarks()
    held_out = len(corpus.validation)
    if held_out < 2:
        yield "the validation split is empty, so nothing shows when the model overfits; the last weights are saved"
    elif held_out < ROUGH:
        yield f"the validation split has only {held_out:,} tokens, so the validation loss is rough"


def _warn_of_steps(
    plan: RunPlan, rows: StreamRows, estimate: Estimate, corpus: Corpus, characters: int
) -> Iterator[str]:
    batch = plan.training.batch_size
    epochs = OVERFITS / len(corpus.train) ** 0.25
    if estimate.epochs > epochs:
        yield (
            f"your text is small ({characters:,} characters) and will be read {estimate.epochs:,.0f} times: expect the "
            f"model to overfit after about step {epochs * rows.count / batch:,.0f}; more text, fewer "
            "steps or dropout help"
        )
    elif estimate.epochs < 0.5:
        yield f"only {estimate.epochs:.0%} of the text will be read; more steps or minutes would use the rest"
    if estimate.steps < plan.training.steps:
        seconds = estimate.seconds / estimate.steps
        limited = outlook(plan.training, base=plan.model.start, steps=estimate.steps, seconds=seconds)
        yield limited or f"the budget leaves {estimate.steps:,} of {plan.training.steps:,} steps"
    usual = PRESETS[plan.model.preset].block_size
    if not plan.model.start and not plan.model.block_size and rows.width - 1 < usual:
        yield f"the model will see {rows.width - 1} tokens at once instead of {usual}, since the text is short"


def _warn_of_model(plan: RunPlan, config: GPTConfig, estimate: Estimate, corpus: Corpus) -> Iterator[str]:
    parameters = config.parameters()
    if not plan.model.start and estimate.tokens < parameters:
        yield (
            f"the model has {parameters:,} parameters and will be trained on {estimate.tokens:,} tokens: a smaller "
            "preset reaches a lower loss in the same time"
        )
    chosen = not plan.model.start and plan.model.tokenizer not in ("auto", "bpe", "chars")
    if chosen and len(corpus.train) < RARE * config.vocab_size:
        yield (
            f"{config.vocab_size:,} tokens are many for a text of {len(corpus.train):,}: most are too rare to be "
            "learnt; a smaller BPE or characters would suit it better"
        )
