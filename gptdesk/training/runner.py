"""Runner: a run from its folder to its model, as `gptdesk train` executes it; yields text, estimate, steps, notes."""

import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch

from gptdesk.training import checkpoints, preparation
from gptdesk.training.baselines import measure_baselines
from gptdesk.training.context import RunContext
from gptdesk.training.corpus import Corpus, CorpusProgress
from gptdesk.training.distributed import ProcessGroup
from gptdesk.training.estimate import Estimate, estimate
from gptdesk.training.loader import StreamRows, held_out_rows
from gptdesk.training.lock import training_lock
from gptdesk.training.loop import Loop, Note
from gptdesk.training.options import TrainingOptions
from gptdesk.training.run_directory import ACCEPT_CHANGES, Resolved, RunDirectory
from gptdesk.training.status_writer import StatusWriter
from gptdesk.training.steps import TrainingStep
from gptdesk.training.time_budget import Replan, replans_of
from gptdesk.training.trainer import Trainer
from models.checkpoint import Checkpoint
from models.gpt import GPT

OUT_OF_MEMORY = re.compile("allocate memory|not enough memory")
Event = CorpusProgress | Estimate | TrainingStep | Note


class TextChanged(ValueError):
    """Text that is no longer the one that the run began with; the user decides whether it is resumed with it."""


def resume(
    run: RunDirectory,
    *,
    context: RunContext,
    device: torch.device,
    stop: threading.Event,
    processes: ProcessGroup | None = None,
    accept_changes: bool = False,
) -> Iterator[Event]:
    """Resume a run from its newest checkpoint, or start a new one, until it ends or `stop` is set; then save its model.

    Yields after each step. Raises ValueError in a sentence for a run that cannot be trained, a text that has changed
    since (unless `accept_changes`), another training in this home, a step that diverged or a disk that is full at the
    end.
    """
    processes = processes or ProcessGroup()
    status = StatusWriter(run, silent=processes.rank > 0)
    with nullcontext() if processes.rank else training_lock(context.settings.home, run.name):
        if not processes.rank:
            checkpoints.remove_leftovers(run.path)
            run.write_order("resume")
            run.remove_queued()
            status.write("preparing", message="", progress=0.0, asks="")
        try:
            with _memory_errors_as_sentences():
                runner = _Runner(run, context, device, stop, processes, status, accept_changes=accept_changes)
                yield from runner.events()
        except (ValueError, OSError) as error:
            question = ACCEPT_CHANGES if isinstance(error, TextChanged) else ""
            status.write("failed", message=str(error), asks=question)
            raise


@contextmanager
def _memory_errors_as_sentences() -> Iterator[None]:
    """Raise ValueError, with what helps, when memory runs out; torch and each system report that in other words."""
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        if not isinstance(error, MemoryError | torch.OutOfMemoryError) and not OUT_OF_MEMORY.search(str(error)):
            raise
        raise ValueError(
            "the memory is too small for a step; resume with a larger accumulation (--accumulation), which computes "
            "each batch in more parts"
        ) from error


class _Runner:
    """Runner of one process: the text first, then the trainer, then the training loop."""

    def __init__(
        self,
        run: RunDirectory,
        context: RunContext,
        device: torch.device,
        stop: threading.Event,
        processes: ProcessGroup,
        status: StatusWriter,
        *,
        accept_changes: bool,
    ) -> None:
        self.run, self.context, self.device, self.stop = run, context, device, stop
        self.processes, self.status, self.accept_changes = processes, status, accept_changes
        self.plan = run.plan()
        self.options = self.plan.resolve_training()
        self.leads = processes.rank == 0

    def events(self) -> Iterator[Event]:
        """Yield what happens from the text to the model."""
        if self.leads:
            newest = checkpoints.newest(self.run.path)
        else:
            self.processes.wait()  # the first process verifies the checkpoints and fills the cache
            newest = next(reversed(checkpoints.folders(self.run.path)), None)
        base = preparation.base_model(self.plan, context=self.context, newest=newest)
        corpus: Corpus | None = None
        for progress in self._read_text(newest, base):
            yield progress
            corpus = progress.corpus
            if self._is_stopped():
                since = f"it was resumed from step {checkpoints.step_of(newest)}" if newest else "the first step"
                self.status.write("stopped", message=f"stopped before {since}")
                return
        assert corpus is not None
        if self.leads:
            self.status.write("preparing", message="measuring the speed", progress=0.0)
            self.processes.wait()
            yield from map(Note, corpus.remarks())
        yield from self._train(corpus, base, newest)

    def _read_text(self, newest: Path | None, base: Checkpoint | None) -> Iterator[CorpusProgress]:
        """Tokenize the text; yields progress, which the status has, too."""
        # a resumed run keeps the tokens that its weights have learnt, even if the text has changed
        trained = Checkpoint.open(newest / checkpoints.MODEL) if newest else base
        for progress in preparation.read_text(self.plan, context=self.context, trained=trained):
            done = progress.done / max(progress.total, 1)
            self.status.write_if_due("preparing", message=progress.stage, progress=done)
            yield progress

    def _train(self, corpus: Corpus, base: Checkpoint | None, newest: Path | None) -> Iterator[Event]:
        """Train on a corpus, from the `newest` checkpoint on if there is one."""
        known = self._known_facts()
        changed = known is not None and known.digest != corpus.digest
        if changed and not self.accept_changes:
            raise TextChanged(
                f"the text of the run {self.run.name} has changed since it began; restore it, or accept the changes "
                "(--accept-changes) to resume with the text as it is now"
            )
        model, rows = self._network(corpus, base, known)
        if known is None:
            known = self._measure(corpus, model, rows)
        elif changed:
            known = self._write_down(replace(known, **self._facts_of(corpus)), corpus)
        trainer = self._trainer(corpus, model, rows, known)
        if not self.stop.is_set():  # a probe that was stopped has measured nothing
            yield self._estimate(trainer, known)
        if newest:
            yield from self._restore(trainer, newest, changed=changed)
        if self.leads:
            self.run.remove_lines_after(trainer.step)
        step, steps = trainer.step, trainer.end
        self.status.write("training", message="", step=step, steps=steps, saved_step=step)
        loop = Loop(self.run, trainer, corpus, status=self.status, context=self.context)
        self._is_stopped()
        yield from loop.events(self.stop)

    def _known_facts(self) -> Resolved | None:
        """Return what an earlier start measured: in every process if the first one has it, else in none."""
        known = self.run.resolved()
        is_known = self.processes.sum(self.leads and known is not None)[0]
        return known if is_known else None  # the first process may have written it just now

    def _network(self, corpus: Corpus, base: Checkpoint | None, known: Resolved | None) -> tuple[GPT, StreamRows]:
        """Return the network before its first step and the rows that it is trained on."""
        block_size = known.block_size if known else preparation.block_size(self.plan, corpus, base=base)
        model = preparation.network(self.plan, corpus.tokenizer, block_size=block_size, base=base).to(self.device)
        if known and known.parameters != model.config.parameters():
            raise ValueError(f"{self.plan.model.start}, from which the run {self.run.name} began, is another model now")
        return model, StreamRows(corpus.train, block_size, seed=self.options.seed)

    def _trainer(self, corpus: Corpus, model: GPT, rows: StreamRows, known: Resolved) -> Trainer:
        """Return the trainer before its first step."""
        options = self.options.ending_after(known.steps)
        validation = held_out_rows(corpus.validation, rows.width - 1, most=options.evaluation_tokens)
        return Trainer(
            model, rows, options=options, validation=validation, processes=self.processes, bfloat16=known.bfloat16
        )

    def _estimate(self, trainer: Trainer, known: Resolved) -> Estimate:
        speed, memory, bfloat16 = known.tokens_per_second, known.memory_bytes, known.bfloat16
        return estimate(trainer.options, trainer.rows, speed=speed, memory=memory, bfloat16=bfloat16)

    def _is_stopped(self) -> bool:
        """Return whether the run is to stop, by a signal or, if it has one process, by an order."""
        if self.processes.size == 1 and self.run.order() == "stop":
            self.stop.set()
        return self.stop.is_set()

    def _measure(self, corpus: Corpus, model: GPT, rows: StreamRows) -> Resolved:
        """Measure what the run needs and how fast it is."""
        options, processes = self.options, self.processes
        measured = preparation.estimate_run(model, rows, options=options, stop=self.stop, processes=processes)
        resolved = Resolved(
            tokenizer=corpus.tokenizer.kind,
            parameters=model.config.parameters(),
            block_size=rows.width - 1,
            bfloat16=measured.bfloat16,
            steps=measured.steps,
            tokens_per_second=measured.tokens_per_second,
            memory_bytes=measured.memory_bytes,
            **self._facts_of(corpus),
        )
        return self._write_down(resolved, corpus)

    def _facts_of(self, corpus: Corpus) -> dict[str, Any]:
        """Return those fields of Resolved that the text alone determines."""
        size = corpus.tokenizer.vocab_size
        baselines = measure_baselines(corpus.train, corpus.validation, vocab_size=size) if self.leads else None
        return {
            "digest": corpus.digest,
            "split": corpus.split,
            "tokens": len(corpus.train),
            "validation_tokens": len(corpus.validation),
            **(asdict(baselines) if baselines else {}),
        }

    def _write_down(self, resolved: Resolved, corpus: Corpus) -> Resolved:
        """Write the facts to disk and return them; a stopped run writes none, for its probe measured nothing."""
        if self.leads and not self.stop.is_set():
            self.run.write_held_out(corpus.held_out_text())
            self.run.write_resolved(resolved)
        return resolved

    def _recorded_replans(self, step: int, options: TrainingOptions) -> list[Replan]:
        """Return the decisions on the schedule that a process which was killed recorded after `step`."""
        if not options.max_minutes or not self.leads:
            return []  # those of the first process count
        return [replan for replan in replans_of(self.run.metrics(), options.steps) if replan.after > step]

    def _restore(self, trainer: Trainer, checkpoint: Path, *, changed: bool) -> Iterator[Note]:
        """Restore the state of a checkpoint; the best of a text that has changed since does not count any more."""
        state, facts = checkpoints.load(checkpoint)
        if changed:
            state = replace(state, best_step=0, best_loss=None)
        trainer.restore(state, recorded=self._recorded_replans(state.step, trainer.options))
        here = checkpoints.Facts.here(trainer)
        if (facts := replace(facts, cpu=facts.cpu or here.cpu)) != here:
            differing = [name for name in vars(facts) if getattr(facts, name) != getattr(here, name)]
            yield Note(f"{', '.join(differing)} differ from before: the run is resumed, but not bit-exact")
