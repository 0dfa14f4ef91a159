"""Training loop of a run: metrics, samples, checkpoints and orders around the steps; at the end the model."""

import errno
import itertools
import logging
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from gptdesk.system.terminal import readable
from gptdesk.training import checkpoints
from gptdesk.training.context import RunContext
from gptdesk.training.corpus import Corpus
from gptdesk.training.run_directory import Order, RunDirectory, Sample
from gptdesk.training.run_recipe import RunRecipe
from gptdesk.training.sampling import sample
from gptdesk.training.status_writer import StatusWriter
from gptdesk.training.steps import TrainingDiverged, TrainingStep
from gptdesk.training.trainer import Trainer
from models import storage
from models.checkpoint import About, Checkpoint, save_checkpoint
from models.gpt import GPT
from models.names import same_as
from models.own_models import LONG_PATIENCE

log = logging.getLogger(__name__)

POLL = 0.2  # seconds between two reads of the order to the run
RECENT_BYTES = 200_000  # of metrics, in which the losses of a model are looked up
RECENT_STEPS = 10  # logged steps whose mean is the training loss of a model
EVALUATED_ON = 50_000  # tokens of the validation split that are saved with a model
SAVE_AT_LEAST = 300.0  # seconds of training that a crash may cost, however slow the steps are
PROMPTS, PROMPT, SAMPLED = 3, 12, 60  # samples at each evaluation, their tokens before and after the model begins
REASONS = {
    "steps": "all steps are done",
    "patience": "the validation loss has not improved for {patience} evaluations",
    "time": "the time is up",
    "stopped": "stopped as asked",
}


@dataclass(frozen=True)
class Note:
    """Sentence that the user should read."""

    text: str


class Loop:
    """Training loop of one process; the first of several writes the run's files."""

    def __init__(
        self, run: RunDirectory, trainer: Trainer, corpus: Corpus, *, status: StatusWriter, context: RunContext
    ) -> None:
        self.run, self.trainer, self.corpus, self.status, self.context = run, trainer, corpus, status, context
        self.models = context.settings.models
        self.leads = trainer.processes.rank == 0
        self._source = f"gptdesk train, run {run.name}"
        self._saved_seconds = trainer.seconds
        self._logged = (trainer.tokens, trainer.seconds)
        self._end = trainer.end  # of the schedule, as logged last
        self._order_read = 0.0
        self._prompts = _prompts(corpus)

    def events(self, stop: threading.Event) -> Iterator[TrainingStep | Note]:
        """Train until the end, or until `stop` is set or ordered; then save a checkpoint and the model."""
        try:
            for step in self.trainer.run(stop):
                if self.leads:
                    yield from self._write(step)
                yield step
                if self.leads and self._order() == "pause":
                    yield from self._pause(stop)
                if self.leads and self._order() == "stop":
                    stop.set()
                self.trainer.serve()
        except TrainingDiverged as error:
            newest = next(reversed(checkpoints.folders(self.run.path)), None)
            then = f"; the checkpoint of step {checkpoints.step_of(newest)} is kept" if newest else ""
            raise TrainingDiverged(f"{error}{then}") from None
        if self.leads:
            yield self._finish()
        self.trainer.serve()

    def _write(self, step: TrainingStep) -> Iterator[Note]:
        """Write metrics, samples and checkpoint of a step, each if it is due."""
        options, end = self.trainer.options, self.trainer.end
        last, moved = step.step == end, end != self._end
        self._end = end
        if step.step % options.log_every == 0 or step.validation_loss is not None or step.step == 1 or last or moved:
            yield from self._attempt(lambda: self.run.log_step(self._averaged(step)), "the metrics")
        if step.validation_loss is not None:
            yield from self._attempt(self._write_samples, "the samples")
        slow = step.seconds - self._saved_seconds > SAVE_AT_LEAST
        if step.best or step.step % options.save_every == 0 or slow:
            yield from self._attempt(self._save, "the run")
        self.status.write_if_due("training", step=step.step, **self._progress())

    def _averaged(self, step: TrainingStep) -> TrainingStep:
        """Return the step with the mean speed of all steps since the last one logged."""
        tokens, seconds = self._logged
        self._logged = step.tokens, step.seconds
        return replace(step, tokens_per_second=(step.tokens - tokens) / max(step.seconds - seconds, 1e-9))

    def _attempt(self, write: Callable[[], None], name: str) -> Iterator[Note]:
        """Write what has this name; if the disk refuses, note that and train on: there may be room the next time."""
        try:
            write()
        except OSError as error:
            note = f"{name} could not be saved after step {self.trainer.step} ({reason(error)}); training continues"
            self.status.write("training", message=note)
            yield Note(note)

    def _save(self) -> None:
        self._saved_seconds = self.trainer.seconds
        checkpoints.save(self.run.path, self.trainer, tokenizer=self.corpus.tokenizer, about=self._about())
        step = self.trainer.step
        self.status.write("training", message="", step=step, saved_step=step, **self._progress())

    def _progress(self) -> dict[str, object]:
        step = self.trainer.best_step
        best = self.trainer.best_loss if step else None
        return {"steps": self.trainer.end, "best_step": step, "best_loss": best}

    def _write_samples(self) -> None:
        if self._prompts is None:
            return
        width = self._prompts.shape[1]
        with self.trainer.saved_weights() as model:
            tokens = sample(model, self._prompts, count=SAMPLED, seed=self.trainer.options.seed)
        decode = self.corpus.tokenizer.decode
        texts = [(decode(row[:width]), decode(row[width:])) for row in tokens.tolist()]
        self.run.log_samples([Sample(self.trainer.step, prompt, text) for prompt, text in texts])

    def _order(self) -> Order:
        """Return the order to the run, read at most once in POLL seconds while there is none."""
        if time.monotonic() - self._order_read < POLL:
            return "resume"
        order = self.run.order()
        if order == "resume":
            self._order_read = time.monotonic()
        return order

    def _pause(self, stop: threading.Event) -> Iterator[Note]:
        """Save a checkpoint and wait until the order changes or `stop` is set."""
        yield from self._attempt(self._save, "the run")
        self.status.write("paused", message="")
        while self._order_now() == "pause" and not stop.wait(POLL):
            pass
        self.status.write("training")

    def _order_now(self) -> Order:
        self._order_read = 0.0
        return self._order()

    def _finish(self) -> Note:
        """Save the last checkpoint and the model; ValueError if the disk refuses."""
        ended, step = self.trainer.ended, self.trainer.step
        why = REASONS[ended].format(patience=self.trainer.options.patience)
        if not step:
            self.status.write("stopped", message="stopped before the first step")
            return Note("stopped before the first step: there is nothing to save")
        try:
            self._save()
            model, closest, made = self._publish()
        except OSError as error:
            raise ValueError(
                f"the run {self.run.name} could not be saved after step {step} ({reason(error)}); "
                "make room, then resume it"
            ) from error
        message = f"{why}, after step {step}; saved as {' and '.join(made)}"
        self.status.write(
            "stopped" if ended == "stopped" else "finished", message=message, model=model, closest=closest
        )
        return Note(message)

    def _publish(self) -> tuple[str, str, list[str]]:
        """Save the best weights as the model NAME, and those of the last step as NAME-last if they are others.

        Return the name of the first, that of the second if the text is short, and a description of each. Names that
        others use by now are avoided. No other process adds, renames or removes a model meanwhile; ValueError if one
        holds the lock for minutes.
        """
        with ExitStack() as stack:
            try:
                stack.enter_context(self.context.library.own.locked(patience=LONG_PATIENCE))
            except ValueError as error:
                raise ValueError(
                    f"the run {self.run.name} is not saved as a model yet: {error}, by resuming it"
                ) from error
            return self._publish_alone()

    def _publish_alone(self) -> tuple[str, str, list[str]]:
        wished, best = self.run.name, self.trainer.best_step
        name, last = self._free_name(wished), self._free_name(f"{wished[:75]}-last")
        if best in (0, self.trainer.step) or not checkpoints.model_of(self.run.path, best).is_dir():
            with self.trainer.saved_weights() as model:
                self._save_model(name, model, self._about())
            self._remove_model(last)
            why = "" if best in (0, self.trainer.step) else f"the last step: the best, step {best}, could not be saved"
            return name, "", [_made(name, wished, why)]
        checkpoint = Checkpoint.open(checkpoints.model_of(self.run.path, best))
        self._save_model(name, checkpoint.load_model(), checkpoint.about)
        with self.trainer.saved_weights() as model:
            self._save_model(last, model, self._about())
        closest = last if self.corpus.is_short else ""
        made = [_made(name, wished, f"step {best}, the best"), _made(last, f"{wished[:75]}-last", "")]
        return name, closest, made

    def _free_name(self, wished: str) -> str:
        """Return the wished name, or the next one that is free if another model or run uses it."""
        used = self.context.names()
        if used.get(self.run.name) == "run":
            del used[self.run.name]  # it is our own
        names = itertools.chain([wished], (f"{wished[:75]}-{i}" for i in itertools.count(2)))
        return next(name for name in names if same_as(name, used) in (None, name) and self._may_use(name, used))

    def _may_use(self, name: str, used: Mapping[str, str]) -> bool:
        return name not in used or (used[name] == "model" and self._is_ours(self.models / name))

    def _is_ours(self, folder: Path) -> bool:
        try:
            return Checkpoint.open(folder).about.source == self._source
        except (ValueError, OSError):
            return False

    def _remove_model(self, name: str) -> None:
        """Remove a model of this run that was saved at an earlier end, and that this end does not replace."""
        try:
            if (self.models / name).is_dir():
                storage.remove_folder(self.models / name)
        except OSError as error:
            log.warning("the old model %s could not be removed (%s)", name, error.strerror)

    def _save_model(self, name: str, model: GPT, about: About) -> None:
        """Save a model into the folder of models, with text to evaluate it on."""
        held_out = self.corpus.held_out_text(most=EVALUATED_ON) or None
        tokenizer = self.corpus.tokenizer
        save_checkpoint(self.models / name, model, tokenizer=tokenizer, about=about, held_out=held_out)

    def _about(self) -> About:
        files = self.corpus.files
        lines = self.run.metrics(last_bytes=RECENT_BYTES)
        losses = [loss for line in lines[-RECENT_STEPS:] if isinstance(loss := line.get("train_loss"), float)]
        now = (line.get("val_loss") for line in lines if line.get("step") == self.trainer.step)
        names = ", ".join(readable(file.path.name) for file in files[:3]) + (
            f" and {len(files) - 3} more" if files[3:] else ""
        )
        return About(
            source=self._source,
            data=f"{names} ({len(self.corpus.train):,} tokens, {len(self.corpus.validation):,} held out)",
            steps=self.trainer.step,
            tokens=self.trainer.tokens,
            loss=sum(losses) / len(losses) if losses else None,
            validation_loss=next((loss for loss in now if isinstance(loss, float)), None),
            recipe=RunRecipe.of(self.run.plan(), self.corpus).model_dump(mode="json"),
        )


def _made(name: str, wished: str, why: str) -> str:
    """Return the description of a saved model: its name, `why` this one, and that it is not the wished one."""
    remarks = [why] if why else []
    remarks += [] if name == wished else [f"{wished} is not of this run"]
    return f"{name} ({'; '.join(remarks)})" if remarks else name


def reason(error: OSError) -> str:
    """Return the reason of an error of the disk in words for a user."""
    if error.errno in (errno.ENOSPC, errno.EFBIG, errno.EDQUOT):
        return "the disk is full"
    return error.strerror or str(error)


def _prompts(corpus: Corpus) -> Tensor | None:
    """Return prompts (B, T) for samples, from the validation split or else the training text; None if too short."""
    tokens = corpus.validation if len(corpus.validation) >= PROMPTS * PROMPT else corpus.train
    starts = [len(tokens) * i // PROMPTS for i in range(PROMPTS)]
    rows = [np.asarray(tokens[start : start + PROMPT]).astype(np.int64) for start in starts]
    if len(tokens) < PROMPTS * PROMPT:
        return None
    return torch.from_numpy(np.stack(rows))
