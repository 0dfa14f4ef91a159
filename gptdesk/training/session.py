"""A run from its folder to its model: text, network, probe, steps, saves; what `gptdesk train` does, as a stream."""

import threading
from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from gptdesk.training import saves
from gptdesk.training.corpus import Corpus, CorpusProgress, prepare
from gptdesk.training.distributed import World
from gptdesk.training.estimate import Estimate, check_memory, estimate, probe
from gptdesk.training.loader import StreamRows, held_out_rows
from gptdesk.training.lock import training_lock
from gptdesk.training.loop import Loop, Note
from gptdesk.training.options import ModelOptions, TrainingOptions
from gptdesk.training.run_directory import Resolved, RunDirectory, RunPlan, Teller
from gptdesk.training.trainer import Trainer, TrainingStep
from models.checkpoint import Checkpoint
from models.gpt import GPT, PRESETS, GPTConfig
from models.listing import NAME, NAME_RULE
from models.tokenizer import Tokenizer


@dataclass(frozen=True)
class Places:
    """Where a run finds and puts things."""

    home: Path
    models: Path
    vocabularies: Path
    bundled: tuple[Path, ...] = ()  # checkpoints that come with the desk

    @property
    def runs(self) -> Path:
        return self.home / "runs"

    @property
    def cache(self) -> Path:
        return self.home / "cache"

    def model(self, name: str) -> Path:
        """The folder of a model by its name; ValueError if there is none."""
        if not NAME.fullmatch(name):
            raise ValueError(f"{name[:100]!r} cannot be a model: {NAME_RULE}")
        for folder in (self.models / name, *(path for path in self.bundled if name == "starter")):
            if folder.is_dir():
                return folder
        raise ValueError(f"there is no model {name!r} to go on from")


Event = CorpusProgress | Estimate | TrainingStep | Note


def carry_on(
    run: RunDirectory,
    *,
    places: Places,
    device: torch.device,
    stop: threading.Event,
    world: World | None = None,
    accept_changes: bool = False,
) -> Iterator[Event]:
    """Begin a run, or go on where its newest save is, until it ends or `stop` is set; then the model is saved.

    Yields after each step. Raises ValueError in a sentence for what cannot be trained, a text that has changed since
    (unless `accept_changes`), another training in this home, a step that diverged or a disk that is full at the end.
    """
    world = world or World()
    teller = Teller(run, silent=world.rank > 0)
    with nullcontext() if world.rank else training_lock(places.home, run.name):
        if not world.rank:
            teller.tell("preparing", message="", progress=0.0)
            run.write_order("run")
        try:
            yield from _Session(run, places, device, stop, world, teller).events(accept_changes)
        except (ValueError, OSError, MemoryError) as error:
            teller.tell("failed", message=str(error))
            raise


class _Session:
    """One process's part in a run, from the text to the model."""

    def __init__(
        self,
        run: RunDirectory,
        places: Places,
        device: torch.device,
        stop: threading.Event,
        world: World,
        teller: Teller,
    ) -> None:
        self.run, self.places, self.device, self.stop, self.world = run, places, device, stop, world
        self.plan: RunPlan = run.plan()
        self.teller = teller
        self.leads = world.rank == 0

    def events(self, accept_changes: bool) -> Iterator[Event]:
        corpus: Corpus | None = None
        if not self.leads:
            self.world.wait()  # the first process fills the cache
        save = saves.newest(self.run.path) if self.leads else None
        for progress in self._prepare():
            corpus = progress.corpus
            done = progress.done / max(progress.total, 1)
            self.teller.tell_now_and_then("preparing", message=progress.stage, progress=done)
            if corpus is None:
                yield progress
            if self.stop.is_set():
                self.teller.tell("stopped", message="stopped before the first step")
                return
        assert corpus is not None
        if self.leads:
            self.world.wait()
        else:
            save = next(reversed(saves.folders(self.run.path)), None)
        yield from self._train(corpus, save, accept_changes)

    def _prepare(self) -> Iterator[CorpusProgress]:
        options = self.plan.model
        tokenizer: str | Tokenizer = options.tokenizer
        if options.start:
            checkpoint = Checkpoint.open(self.places.model(options.start))
            tokenizer = checkpoint.load_tokenizer(self.places.vocabularies)
        return prepare(
            [Path(place) for place in self.plan.data],
            tokenizer,
            options=self.plan.split,
            cache=self.places.cache,
            vocabularies=self.places.vocabularies,
        )

    def _train(self, corpus: Corpus, save: Path | None, accept_changes: bool) -> Iterator[Event]:
        known = self.run.resolved()
        begun = self.world.add_up(self.leads and known is not None)[0]
        known = known if begun else None  # another process may have written it just now
        if known and known.digest != corpus.digest and not accept_changes:
            raise ValueError(
                f"the text of the run {self.run.name} has changed since it began; restore it, or resume with "
                "--accept-changes to go on with the text as it is now"
            )
        block_size = known.block_size if known else self._block_size(corpus)
        model = self._model(corpus.tokenizer, block_size, known).to(self.device)
        rows = StreamRows(corpus.train, block_size, seed=self.plan.training.seed)
        if known is None:
            known = self._resolve(corpus, model, rows, block_size)
        options = self.plan.training.ending_after(known.steps)
        guess = estimate(
            options, rows, speed=known.tokens_per_second, memory=known.memory_bytes, bfloat16=known.bfloat16
        )
        yield guess
        validation = held_out_rows(corpus.validation, block_size, most=options.evaluation_tokens)
        trainer = Trainer(
            model, rows, options=options, validation=validation, world=self.world, bfloat16=known.bfloat16
        )
        if save:
            yield from self._restore(trainer, save)
        if self.leads:
            self.run.forget_after(trainer.step)
        self.teller.tell("training", message="", step=trainer.step, steps=options.steps, saved_step=trainer.step)
        loop = Loop(self.run, trainer, corpus, teller=self.teller, models=self.places.models)
        yield from loop.events(self.stop)

    def _block_size(self, corpus: Corpus) -> int:
        """As chosen; else as the preset or model says, or less if the text is so short that little would be left."""
        options = self.plan.model
        if options.block_size:
            return options.block_size
        usual = PRESETS[options.preset].block_size
        if options.start:
            usual = Checkpoint.open(self.places.model(options.start)).config.block_size
        held_out = len(corpus.validation) - 1
        return max(8, min(usual, len(corpus.train) // 8, held_out if held_out > 0 else usual))

    def _model(self, tokenizer: Tokenizer, block_size: int, known: Resolved | None) -> GPT:
        """The network before its first step."""
        options, training = self.plan.model, self.plan.training
        if not options.start:
            torch.manual_seed(training.seed)
            return GPT(new_config(options, tokenizer.vocab_size, block_size, dropout=training.dropout))
        old = Checkpoint.open(self.places.model(options.start)).load_model()
        if block_size > old.config.block_size:
            raise ValueError(
                f"block_size must be at most {old.config.block_size}, the context of {options.start}, not {block_size}"
            )
        if known and known.parameters != old.config.parameters():
            raise ValueError(f"{options.start}, from which the run {self.run.name} began, is another model now")
        model = GPT(replace(old.config, dropout=training.dropout))
        model.load_state_dict(old.state_dict())
        return model

    def _resolve(self, corpus: Corpus, model: GPT, rows: StreamRows, block_size: int) -> Resolved:
        """Find out what the run needs and how fast it is; the first process decides for all."""
        options = self.plan.training
        memory = check_memory(model.config, options, block_size=block_size, processes=self.world.size)
        if options.batch_size < self.world.size:
            raise ValueError(f"batch_size must be at least the {self.world.size} processes, not {options.batch_size}")
        share = TrainingOptions(**(dict(options) | {"batch_size": -(-options.batch_size // self.world.size)}))
        bfloat16, speed = probe(model, rows, options=share, stop=self.stop) if self.leads else (False, 0.0)
        bfloat16, speed = bool(self.world.add_up(bfloat16)[0]), self.world.add_up(speed)[0] * self.world.size
        guess = estimate(options, rows, speed=speed, memory=memory, bfloat16=bfloat16)
        resolved = Resolved(
            digest=corpus.digest,
            split=corpus.split,
            tokenizer=corpus.tokenizer.kind,
            parameters=model.config.parameters(),
            block_size=block_size,
            bfloat16=bfloat16,
            steps=guess.steps,
            tokens=len(corpus.train),
            validation_tokens=len(corpus.validation),
            tokens_per_second=speed,
            memory_bytes=memory,
        )
        if self.leads and not self.stop.is_set():  # what a stopped probe has measured must not last
            self.run.write_held_out(corpus.held_out_text())
            self.run.write_resolved(resolved)
        return resolved

    def _restore(self, trainer: Trainer, save: Path) -> Iterator[Note]:
        state, facts = saves.load(save)
        trainer.restore(state)
        if facts != (here := saves.Facts.here(trainer)):
            differing = [name for name in vars(facts) if getattr(facts, name) != getattr(here, name)]
            yield Note(f"{', '.join(differing)} differ from before: the run goes on, but not to the same last digit")


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
