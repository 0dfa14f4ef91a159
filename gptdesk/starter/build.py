"""Build of the starter model: tokenizer, stories, resumable training, checkpoint."""

import logging
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch

from gptdesk.starter import SOURCE
from gptdesk.starter.losses import MANY, loss_on
from gptdesk.starter.rows import StoryRows
from gptdesk.starter.stories import generate_stories, stories
from gptdesk.starter.world.lexicon import lexicon
from gptdesk.training import Trainer, TrainingOptions, TrainingStep, checkpoints
from models import storage
from models.checkpoint import About, Checkpoint, save_checkpoint
from models.gpt import GPT, GPTConfig
from models.tokenizer import Tokenizer, train_bpe

log = logging.getLogger(__name__)

OPTIONS = "options.json"
RECENT = 100  # steps whose mean loss is the training loss of the About
EVERY = 100  # steps between lines of the log


@dataclass(frozen=True)
class Recipe:
    """Sizes of what is built; the defaults are those of the shipped model."""

    vocabulary: int = 4096
    context: int = 256
    layers: int = 4
    heads: int = 6
    channels: int = 192
    tokenizer_stories: int = 8000
    validation_stories: int = 128
    apart: float = 3.0  # factor of spread_name_embeddings


def build(
    run: Path,
    out: Path,
    *,
    options: TrainingOptions,
    recipe: Recipe,
    start: Checkpoint | None = None,
    stop: threading.Event | None = None,
) -> Iterator[TrainingStep]:
    """Train the starter model as `options` say, with saves in `run`, and at the end save it to `out`.

    One seed gives one model: a new one, or `start`, trained further on the stories after those it has read. A run with
    a save is resumed; when `stop` is set, it saves and ends. Raises ValueError if `run` was begun with other options.
    """
    known = start.about if start else About()
    _claim(run, {"options": options.resolve().model_dump(mode="json"), "recipe": vars(recipe), "known": known.tokens})
    model, tokenizer = (start.load_model(), start.load_tokenizer()) if start else _new(options, recipe)
    builder = _Builder(run, options, recipe, model, tokenizer, known)
    yield from builder.steps(stop)
    if builder.trainer.step == options.steps:
        about = builder.about(measured=builder.measured())
        saved = save_checkpoint(out, builder.trainer.model, tokenizer=builder.tokenizer, about=about)
        log.info("saved %s, %.1f MB", saved.path, saved.size_bytes / 1e6)
    else:
        log.info("stopped after step %d; the same command resumes the run", builder.trainer.step)


def _claim(run: Path, wanted: dict[str, object]) -> None:
    """Write the options of a new run, or require that a run has these. Raises ValueError if not."""
    if not (run / OPTIONS).exists():
        run.mkdir(parents=True, exist_ok=True)
        storage.write_file(run / OPTIONS, storage.json_bytes(wanted))
    elif storage.read_json(run / OPTIONS, limit=100_000) != wanted:
        raise ValueError(f"the run in {run} was begun with other options; give them again, or another --run")


def _new(options: TrainingOptions, recipe: Recipe) -> tuple[GPT, Tokenizer]:
    log.info("training a tokenizer on %d stories", recipe.tokenizer_stories)
    tokenizer = train_bpe(stories(options.seed, recipe.tokenizer_stories), recipe.vocabulary)
    config = GPTConfig(tokenizer.vocab_size, recipe.context, recipe.layers, recipe.heads, n_embd=recipe.channels)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(options.seed)
        model = GPT(config)
    spread_name_embeddings(model, tokenizer, times=recipe.apart)
    return model, tokenizer


@torch.no_grad()
def spread_name_embeddings(model: GPT, tokenizer: Tokenizer, *, times: float) -> None:
    """Multiply the differences of the embeddings of names from their mean by `times`.

    Names occur in the same contexts, so that at first only their random embeddings differ, by so little that models of
    this size take very long to learn that a name is repeated.
    """
    lists = lexicon().lists
    names = [name for kind in ("girls", "boys", "he_pets", "she_pets") for name in lists[kind]]
    encoded = [tokenizer.encode(text) for name in names for text in (name, f" {name}")]
    alone = sorted({ids[0] for ids in encoded if len(ids) == 1})
    if alone and times != 1:
        mean = model.wte.weight[alone].mean(dim=0)
        model.wte.weight[alone] = mean + times * (model.wte.weight[alone] - mean)


class _Builder:
    """Trainer with the losses of its model, for the checkpoint's About."""

    def __init__(
        self, run: Path, options: TrainingOptions, recipe: Recipe, model: GPT, tokenizer: Tokenizer, known: About
    ) -> None:
        self._run, self._options, self.tokenizer = run, options, tokenizer
        self._losses: list[float] = []
        self._validation_loss: float | None = None
        self._known_steps, self._known_tokens = known.steps or 0, known.tokens or 0
        self._context = context = model.config.block_size
        count, read = options.steps * options.batch_size, self._known_tokens // context
        rows = StoryRows(tokenizer, options.seed, count=count, block_size=context, first=read)
        unread = StoryRows(tokenizer, options.seed + 1, count=recipe.validation_stories, block_size=context)
        validation = unread.take(torch.arange(recipe.validation_stories), epoch=0)
        bfloat16 = options.precision == "bfloat16"
        self.trainer = Trainer(model, rows, options=options, validation=validation, bfloat16=bfloat16)
        log.info("training %d parameters on %d tokens", model.config.parameters(), count * context)

    def steps(self, stop: threading.Event | None) -> Iterator[TrainingStep]:
        """Train from the newest save to the end, saving now and then."""
        if newest := checkpoints.newest(self._run):
            self.trainer.restore(checkpoints.load(newest)[0])
            known = Checkpoint.open(newest / checkpoints.MODEL).about
            self._losses, self._validation_loss = [known.loss or 0.0], known.validation_loss
            log.info("resuming after step %d", self.trainer.step)
        for step in self.trainer.run(stop):
            self._losses = [*self._losses[1 - RECENT :], step.train_loss]
            self._validation_loss = step.validation_loss or self._validation_loss
            if step.step % EVERY == 0 or step.validation_loss is not None:
                log.info(_line(step))
            if step.step % self._options.save_every == 0:
                self._save()
            yield step
        self._save()

    def _save(self) -> None:
        checkpoints.save(self._run, self.trainer, tokenizer=self.tokenizer, about=self.about())

    def measured(self) -> str:
        """Return the loss of the finished model on whole new stories, beside the generator's entropy, for its About."""
        try:
            loss = loss_on(self.trainer.model, self.tokenizer, generate_stories(self._options.seed + 2, MANY))
        except ValueError:
            return ""  # no story fits so small a context
        log.info("new stories: %s", loss)
        return f"; new stories: {loss}"

    def about(self, *, measured: str = "") -> About:
        """Return the About of the checkpoint."""
        tokens = self._known_tokens + self.trainer.tokens
        rows = f"{tokens // self._context} rows of {self._context} tokens"
        return About(
            source=SOURCE,
            data=f"{rows}: stories of gptdesk.starter.world, seed {self._options.seed}{measured}",
            steps=self._known_steps + self.trainer.step,
            tokens=tokens,
            loss=sum(self._losses) / len(self._losses) if self._losses else None,
            validation_loss=self._validation_loss,
            licence="MIT",
        )


def _line(step: TrainingStep) -> str:
    validation = "" if step.validation_loss is None else f", validation {step.validation_loss:.4f}"
    return f"step {step.step}: loss {step.train_loss:.4f}{validation}, {step.tokens_per_second:.0f} tokens/s"
