"""A run looked at before there is one: its text as the trainer will see it, its network, its cost, what to mind."""

import tempfile
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch

from gptdesk.training import preparation
from gptdesk.training.context import RunContext
from gptdesk.training.corpus import LITTLE, Corpus, CorpusProgress
from gptdesk.training.estimate import Estimate
from gptdesk.training.loader import Loader, StreamRows
from gptdesk.training.lock import holder
from gptdesk.training.run_directory import RunPlan
from gptdesk.training.text import TextFile, encoded, pieces
from models import storage
from models.gpt import PRESETS, GPTConfig
from models.tokenizer import Tokenizer

ROWS = 3  # of the first batch that are shown
BY_HEART = 1000  # over the fourth root of the tokens: passes until the loss on held-out text is at its best, roughly
ROUGH = 1000  # held-out tokens below which a loss says little
RARE = 30  # times that a token occurs on average, below which most are not learnt


@dataclass(frozen=True)
class Preview:
    """What a plan comes to."""

    files: tuple[TextFile, ...]  # with encodings and sizes
    characters: int
    documents: int
    tokens: int  # to train on
    validation_tokens: int  # held out
    split: str  # document or position
    tokenizer: str  # kind
    vocab_size: int
    tokenizer_reason: str  # why that one
    batches: tuple[tuple[str, ...], ...]  # rows of the first step, token by token; joined they are the text
    config: GPTConfig
    estimate: Estimate
    warnings: tuple[str, ...]  # what to mind, a sentence each


def preview(
    plan: RunPlan,
    *,
    places: RunContext,
    device: torch.device,
    stop: threading.Event | None = None,
    text: str | None = None,
) -> Iterator[CorpusProgress | Preview]:
    """Look at the plan of a run that is not there yet; `text` is trained on besides its files.

    Ends early once `stop` is set. What is made of the text stays in the cache, where the run finds it.
    Raises ValueError for what cannot be trained.
    """
    stop = stop or threading.Event()
    cache = places.settings.cache
    cache.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="pasted-", dir=cache) as folder:
        if text is not None:
            pasted = Path(folder) / "pasted text"
            storage.write_file(pasted, encoded(text, options=plan.split))
            plan = plan.model_copy(update={"data": (*plan.data, str(pasted))})
        yield from _looked_at(plan, places, device, stop)


def _looked_at(
    plan: RunPlan, places: RunContext, device: torch.device, stop: threading.Event
) -> Iterator[CorpusProgress | Preview]:
    origin = preparation.origin(plan, places=places)
    corpus = None
    for progress in preparation.read_text(plan, places=places, origin=origin):
        yield progress
        corpus = progress.corpus
        if stop.is_set():
            return
    assert corpus is not None
    block_size = preparation.block_size(plan, corpus, origin=origin)
    with torch.random.fork_rng(devices=[]):  # the dice of this process are not ours alone
        model = preparation.network(plan, corpus.tokenizer, block_size=block_size, origin=origin).to(device)
        rows = StreamRows(corpus.train, block_size, seed=plan.training.seed)
        guess = preparation.expect(model, rows, options=plan.training, stop=stop)
    characters, documents = _counted(corpus, stop)
    if stop.is_set():
        return
    busy = holder(places.settings.home)
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
        estimate=guess,
        warnings=(
            *_about_text(corpus, characters),
            *_about_steps(plan, rows, guess, corpus, characters),
            *_about_model(plan, model.config, guess, corpus),
            *([f"the run {busy} trains just now, so that the time is estimated too long"] if busy else ()),
        ),
    )


def _counted(corpus: Corpus, stop: threading.Event) -> tuple[int, int]:
    """Characters and documents."""
    characters = documents = 0
    for file in corpus.files:
        for piece in pieces(file):
            characters += len(piece.text)
            documents += piece.last
            if stop.is_set():
                return 0, 0
    return characters, documents


def _reason(plan: RunPlan, corpus: Corpus) -> str:
    if plan.model.start:
        return f"that of {plan.model.start}, which goes on learning"
    size = sum(file.size for file in corpus.files)
    if plan.model.tokenizer == "auto" and size < LITTLE:
        return f"characters, since {size:,} bytes are too little to learn longer tokens from"
    if plan.model.tokenizer in ("auto", "bpe"):
        return f"learnt from the text; {corpus.tokenizer.vocab_size:,} tokens suit {size:,} bytes"
    return "as chosen"


def _first_rows(plan: RunPlan, corpus: Corpus, rows: StreamRows) -> tuple[tuple[str, ...], ...]:
    """Rows of the first step as the network reads them."""
    count = min(ROWS, plan.training.batch_size)
    batch = Loader(rows, seed=plan.training.seed).batch(0, count)
    return tuple(tuple(_tokens(row, corpus.tokenizer)) for row in batch[:, :-1].tolist())


def _tokens(ids: list[int], tokenizer: Tokenizer) -> Iterator[str]:
    """The text of each token; those that end within a character come together with those that complete it."""
    decoder = tokenizer.stream()
    for token in ids:
        if text := decoder.push(token):
            yield text
    if rest := decoder.flush():
        yield rest


def _about_text(corpus: Corpus, characters: int) -> Iterator[str]:
    yield from corpus.remarks()
    held_out = len(corpus.validation)
    if held_out < 2:
        yield "no text is held out, so nothing shows when the model only learns by heart; the last weights are kept"
    elif held_out < ROUGH:
        yield f"only {held_out:,} tokens are held out, so the validation loss is rough"


def _about_steps(plan: RunPlan, rows: StreamRows, guess: Estimate, corpus: Corpus, characters: int) -> Iterator[str]:
    batch = plan.training.batch_size
    passes = BY_HEART / len(corpus.train) ** 0.25
    if guess.epochs > passes:
        yield (
            f"your text is small ({characters:,} characters) and will be read {guess.epochs:,.0f} times: expect the "
            f"model to learn it by heart after about step {passes * rows.count / batch:,.0f}; more text, fewer "
            "steps or dropout help"
        )
    elif guess.epochs < 0.5:
        yield f"only {guess.epochs:.0%} of the text will be read; more steps or minutes would use the rest"
    if guess.steps < plan.training.steps:
        yield f"the budget leaves {guess.steps:,} of {plan.training.steps:,} steps"
    usual = PRESETS[plan.model.preset].block_size
    if not plan.model.start and not plan.model.block_size and rows.width - 1 < usual:
        yield f"the model will see {rows.width - 1} tokens at once instead of {usual}, since the text is short"


def _about_model(plan: RunPlan, config: GPTConfig, guess: Estimate, corpus: Corpus) -> Iterator[str]:
    weights = config.parameters()
    if not plan.model.start and guess.tokens < weights:
        yield (
            f"the model has {weights:,} weights and will learn from {guess.tokens:,} tokens: a smaller preset gets "
            "further in the same time"
        )
    chosen = not plan.model.start and plan.model.tokenizer not in ("auto", "bpe", "chars")
    if chosen and len(corpus.train) < RARE * config.vocab_size:
        yield (
            f"{config.vocab_size:,} tokens are many for a text of {len(corpus.train):,}: most are too rare to be "
            "learnt; a smaller BPE or characters suit it better"
        )
