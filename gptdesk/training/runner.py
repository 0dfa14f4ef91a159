"""A run from its folder to its model: text, network, probe, steps, saves; what `gptdesk train` does, as a stream."""

import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch

from gptdesk.training import preparation, saves
from gptdesk.training.baselines import ladder
from gptdesk.training.context import RunContext
from gptdesk.training.corpus import Corpus, CorpusProgress
from gptdesk.training.distributed import World
from gptdesk.training.estimate import Estimate, estimate
from gptdesk.training.loader import StreamRows, held_out_rows
from gptdesk.training.lock import training_lock
from gptdesk.training.loop import Loop, Note
from gptdesk.training.run_directory import ACCEPT_CHANGES, Resolved, RunDirectory, RunPlan, Teller
from gptdesk.training.trainer import Trainer, TrainingStep
from models.checkpoint import Checkpoint
from models.gpt import GPT

LACK_OF_MEMORY = re.compile("allocate memory|not enough memory")
Event = CorpusProgress | Estimate | TrainingStep | Note


class TextChanged(ValueError):
    """The text is no longer the one that the run began with; whether to go on is for the user to say."""


def carry_on(
    run: RunDirectory,
    *,
    places: RunContext,
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
    with nullcontext() if world.rank else training_lock(places.settings.home, run.name):
        if not world.rank:
            saves.remove_leftovers(run.path)
            run.write_order("run")
            teller.tell("preparing", message="", progress=0.0, asks="")
        try:
            with _lack_of_memory_told():
                yield from _Session(run, places, device, stop, world, teller).events(accept_changes)
        except (ValueError, OSError) as error:
            teller.tell("failed", message=str(error), asks=ACCEPT_CHANGES if isinstance(error, TextChanged) else "")
            raise


@contextmanager
def _lack_of_memory_told() -> Iterator[None]:
    """ValueError, with what helps, where the memory ends; torch and each system say it in their own words."""
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        if not isinstance(error, MemoryError | torch.OutOfMemoryError) and not LACK_OF_MEMORY.search(str(error)):
            raise
        raise ValueError(
            "the memory is too small for a step; resume with a larger accumulation (--accumulation), which computes "
            "each batch in more parts"
        ) from error


class _Session:
    """One process's part in a run, from the text to the model."""

    def __init__(
        self,
        run: RunDirectory,
        places: RunContext,
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
        if self.leads:
            save = saves.newest(self.run.path)
        else:
            self.world.wait()  # the first process verifies the saves and fills the cache
            save = next(reversed(saves.folders(self.run.path)), None)
        origin = preparation.origin(self.plan, places=self.places, save=save)
        taught = Checkpoint.open(save / saves.MODEL) if save else origin  # its tokens are what the weights have learnt
        for progress in preparation.read_text(self.plan, places=self.places, origin=taught):
            corpus = progress.corpus
            done = progress.done / max(progress.total, 1)
            self.teller.tell_now_and_then("preparing", message=progress.stage, progress=done)
            yield progress
            if self._is_stopped():
                since = f"it went on from step {saves.step_of(save)}" if save else "the first step"
                self.teller.tell("stopped", message=f"stopped before {since}")
                return
        assert corpus is not None
        if self.leads:
            self.world.wait()
            yield from map(Note, corpus.remarks())
        yield from self._train(corpus, origin, save, accept_changes)

    def _train(
        self, corpus: Corpus, origin: Checkpoint | None, save: Path | None, accept_changes: bool
    ) -> Iterator[Event]:
        known = self.run.resolved()
        begun = self.world.add_up(self.leads and known is not None)[0]
        known = known if begun else None  # another process may have written it just now
        changed = known is not None and known.digest != corpus.digest
        if changed and not accept_changes:
            raise TextChanged(
                f"the text of the run {self.run.name} has changed since it began; restore it, or accept the changes "
                "(--accept-changes) to go on with the text as it is now"
            )
        block_size = known.block_size if known else preparation.block_size(self.plan, corpus, origin=origin)
        model = preparation.network(self.plan, corpus.tokenizer, block_size=block_size, origin=origin).to(self.device)
        if known and known.parameters != model.config.parameters():
            raise ValueError(f"{self.plan.model.start}, from which the run {self.run.name} began, is another model now")
        rows = StreamRows(corpus.train, block_size, seed=self.plan.training.seed)
        if known is None:
            known = self._resolve(corpus, model, rows)
        elif changed:
            known = self._write_down(replace(known, **self._of_text(corpus)), corpus)
        options = self.plan.training.ending_after(known.steps)
        guess = estimate(
            options, rows, speed=known.tokens_per_second, memory=known.memory_bytes, bfloat16=known.bfloat16
        )
        if not self.stop.is_set():  # a trial that was stopped has measured nothing
            yield guess
        validation = held_out_rows(corpus.validation, block_size, most=options.evaluation_tokens)
        trainer = Trainer(
            model, rows, options=options, validation=validation, world=self.world, bfloat16=known.bfloat16
        )
        if save:
            yield from self._restore(trainer, save, changed=changed)
        if self.leads:
            self.run.forget_after(trainer.step)
        self.teller.tell("training", message="", step=trainer.step, steps=options.steps, saved_step=trainer.step)
        loop = Loop(self.run, trainer, corpus, teller=self.teller, places=self.places)
        self._is_stopped()
        yield from loop.events(self.stop)

    def _is_stopped(self) -> bool:
        """Whether the run is to stop, by a signal or, if it is one process, by an order."""
        if self.world.size == 1 and self.run.order() == "stop":
            self.stop.set()
        return self.stop.is_set()

    def _resolve(self, corpus: Corpus, model: GPT, rows: StreamRows) -> Resolved:
        """Find out what the run needs and how fast it is."""
        guess = preparation.expect(model, rows, options=self.plan.training, stop=self.stop, world=self.world)
        resolved = Resolved(
            tokenizer=corpus.tokenizer.kind,
            parameters=model.config.parameters(),
            block_size=rows.width - 1,
            bfloat16=guess.bfloat16,
            steps=guess.steps,
            tokens_per_second=guess.tokens_per_second,
            memory_bytes=guess.memory_bytes,
            **self._of_text(corpus),
        )
        return self._write_down(resolved, corpus)

    def _of_text(self, corpus: Corpus) -> dict[str, Any]:
        """What is resolved by the text alone."""
        scale = ladder(corpus.train, corpus.validation, vocab_size=corpus.tokenizer.vocab_size) if self.leads else None
        return {
            "digest": corpus.digest,
            "split": corpus.split,
            "tokens": len(corpus.train),
            "validation_tokens": len(corpus.validation),
            **(asdict(scale) if scale else {}),
        }

    def _write_down(self, resolved: Resolved, corpus: Corpus) -> Resolved:
        """The same, on disk, unless the run is to stop: what a stopped probe has measured must not last."""
        if self.leads and not self.stop.is_set():
            self.run.write_held_out(corpus.held_out_text())
            self.run.write_resolved(resolved)
        return resolved

    def _restore(self, trainer: Trainer, save: Path, *, changed: bool) -> Iterator[Note]:
        """What was the best on a text that has changed since does not count any more."""
        state, facts = saves.load(save)
        if changed:
            state = replace(state, best_step=0, best_loss=None)
        trainer.restore(state)
        here = saves.Facts.here(trainer)
        if (facts := replace(facts, cpu=facts.cpu or here.cpu)) != here:
            differing = [name for name in vars(facts) if getattr(facts, name) != getattr(here, name)]
            yield Note(f"{', '.join(differing)} differ from before: the run goes on, but not to the same last digit")
