"""What happens around the steps of a run: curves, samples, saves, orders, and at the end the model."""

import errno
import itertools
import logging
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from gptdesk.system.terminal import readable
from gptdesk.training import saves
from gptdesk.training.context import RunContext
from gptdesk.training.corpus import Corpus
from gptdesk.training.run_directory import RunDirectory, Sample, Teller
from gptdesk.training.sampling import sample
from gptdesk.training.trainer import Trainer, TrainingDiverged, TrainingStep
from models import storage
from models.checkpoint import About, Checkpoint, save_checkpoint
from models.gpt import GPT
from models.names import same_as

log = logging.getLogger(__name__)

POLL = 0.2  # seconds between two looks at what the run is asked to do
LATELY = 200_000  # bytes of metrics in which a model looks for its losses
RECENT = 10  # logged steps whose mean is the training loss that a model is said to have
JUDGED_BY = 50_000  # tokens of held-out text that a model takes along
SAVE_AT_LEAST = 300.0  # seconds of training that a crash may cost, however slow the steps are
PROMPTS, PROMPT, SAMPLED = 3, 12, 60  # texts at each evaluation, tokens they begin with, and tokens they go on for
REASONS = {
    "steps": "all steps are done",
    "patience": "the validation loss has not improved for {patience} evaluations",
    "time": "the time is up",
    "stopped": "stopped as asked",
}


@dataclass(frozen=True)
class Note:
    """Something the user should read, in a sentence."""

    text: str


class Loop:
    """The steps of one process; the first of several is the one that writes."""

    def __init__(
        self, run: RunDirectory, trainer: Trainer, corpus: Corpus, *, teller: Teller, places: RunContext
    ) -> None:
        self.run, self.trainer, self.corpus, self.teller, self.places = run, trainer, corpus, teller, places
        self.models = places.settings.models
        self.leads = trainer.world.rank == 0
        self._source = f"gptdesk train, run {run.name}"
        self._saved_seconds = trainer.seconds
        self._logged = (trainer.tokens, trainer.seconds)
        self._looked = 0.0
        self._prompts = _prompts(corpus)

    def events(self, stop: threading.Event) -> Iterator[TrainingStep | Note]:
        """Train until the end, or until `stop` is set or ordered; then save, and make the model of it."""
        try:
            for step in self.trainer.run(stop):
                if self.leads:
                    yield from self._write(step)
                yield step
                if self.leads and self._order() == "pause":
                    yield from self._pause(stop)
                if self.leads and self._order() == "stop":
                    stop.set()
                self.trainer.meet()
        except TrainingDiverged as error:
            kept = next(reversed(saves.folders(self.run.path)), None)
            then = f"; the save of step {saves.step_of(kept)} is kept" if kept else ""
            raise TrainingDiverged(f"{error}{then}") from None
        if self.leads:
            yield self._finish()
        self.trainer.meet()

    def _write(self, step: TrainingStep) -> Iterator[Note]:
        options, last = self.trainer.options, step.step == self.trainer.options.steps
        if step.step % options.log_every == 0 or step.validation_loss is not None or step.step == 1 or last:
            yield from self._attempt(lambda: self.run.log_step(self._averaged(step)), "the curves")
        if step.validation_loss is not None:
            yield from self._attempt(self._write_samples, "the samples")
        slow = step.seconds - self._saved_seconds > SAVE_AT_LEAST
        if step.best or step.step % options.save_every == 0 or slow:
            yield from self._attempt(self._save, "the run")
        self.teller.tell_now_and_then("training", step=step.step, **self._best())

    def _averaged(self, step: TrainingStep) -> TrainingStep:
        """The step with the speed of all steps since the last one logged."""
        tokens, seconds = self._logged
        self._logged = step.tokens, step.seconds
        return replace(step, tokens_per_second=(step.tokens - tokens) / max(step.seconds - seconds, 1e-9))

    def _attempt(self, write: Callable[[], None], what: str) -> Iterator[Note]:
        """Write; if the disk refuses, say so and train on: the next save may find room."""
        try:
            write()
        except OSError as error:
            note = f"{what} could not be saved after step {self.trainer.step} ({reason(error)}); training goes on"
            self.teller.tell("training", message=note)
            yield Note(note)

    def _save(self) -> None:
        self._saved_seconds = self.trainer.seconds
        saves.save(self.run.path, self.trainer, tokenizer=self.corpus.tokenizer, about=self._about())
        step = self.trainer.step
        self.teller.tell("training", message="", step=step, saved_step=step, **self._best())

    def _best(self) -> dict[str, object]:
        step = self.trainer.best_step
        return {"best_step": step, "best_loss": self.trainer.best_loss if step else None}

    def _write_samples(self) -> None:
        if self._prompts is None:
            return
        width = self._prompts.shape[1]
        with self.trainer.kept() as model:
            tokens = sample(model, self._prompts, count=SAMPLED, seed=self.trainer.options.seed)
        decode = self.corpus.tokenizer.decode
        texts = [(decode(row[:width]), decode(row[width:])) for row in tokens.tolist()]
        self.run.log_samples([Sample(self.trainer.step, prompt, text) for prompt, text in texts])

    def _order(self) -> str:
        """What the run is asked to do, looked up now and then."""
        if time.monotonic() - self._looked < POLL:
            return "run"
        order = self.run.order()
        if order == "run":
            self._looked = time.monotonic()
        return order

    def _pause(self, stop: threading.Event) -> Iterator[Note]:
        yield from self._attempt(self._save, "the run")
        self.teller.tell("paused", message="")
        while self._order_now() == "pause" and not stop.wait(POLL):
            pass
        self.teller.tell("training")

    def _order_now(self) -> str:
        self._looked = 0.0
        return self._order()

    def _finish(self) -> Note:
        """Save what there is and make the model of it; ValueError if the disk refuses."""
        ended, step = self.trainer.ended, self.trainer.step
        why = REASONS[ended].format(patience=self.trainer.options.patience)
        if not step:
            self.teller.tell("stopped", message="stopped before the first step")
            return Note("stopped before the first step: there is nothing to save")
        try:
            self._save()
            model, made = self._publish()
        except OSError as error:
            raise ValueError(
                f"the run {self.run.name} could not be saved after step {step} ({reason(error)}); "
                "make room, then resume it"
            ) from error
        message = f"{why}, after step {step}; saved as {' and '.join(made)}"
        self.teller.tell("stopped" if ended == "stopped" else "finished", message=message, model=model)
        return Note(message)

    def _publish(self) -> tuple[str, list[str]]:
        """Make the best weights the model NAME, and those of the last step NAME-last if they are others.

        Returns the name of the first, and what to say of each. A name that something else has got is left alone.
        """
        wished, best = self.run.name, self.trainer.best_step
        name, last = self._free_name(wished), self._free_name(f"{wished[:75]}-last")
        if best in (0, self.trainer.step) or not saves.model_of(self.run.path, best).is_dir():
            with self.trainer.kept() as model:
                self._save_model(name, model, self._about())
            self._remove_model(last)
            why = "" if best in (0, self.trainer.step) else f"the last step: the best, step {best}, could not be saved"
            return name, [_made(name, wished, why)]
        found = Checkpoint.open(saves.model_of(self.run.path, best))
        self._save_model(name, found.load_model(), found.about)
        with self.trainer.kept() as model:
            self._save_model(last, model, self._about())
        return name, [_made(name, wished, f"step {best}, the best"), _made(last, f"{wished[:75]}-last", "")]

    def _free_name(self, wished: str) -> str:
        """Return the name for a model of this run, or the next one that is free if something else has got it."""
        taken = self.places.names()
        if taken.get(self.run.name) == "run":
            del taken[self.run.name]  # it is our own
        names = itertools.chain([wished], (f"{wished[:75]}-{i}" for i in itertools.count(2)))
        return next(name for name in names if same_as(name, taken) in (None, name) and self._may_have(name, taken))

    def _may_have(self, name: str, taken: Mapping[str, str]) -> bool:
        return name not in taken or (taken[name] == "model" and self._is_ours(self.models / name))

    def _is_ours(self, folder: Path) -> bool:
        try:
            return Checkpoint.open(folder).about.source == self._source
        except (ValueError, OSError):
            return False

    def _remove_model(self, name: str) -> None:
        """A model of this run that an earlier end of it has left, and that this end has no other for."""
        try:
            if (self.models / name).is_dir():
                storage.remove_folder(self.models / name)
        except OSError as error:
            log.warning("the old model %s could not be removed (%s)", name, error.strerror)

    def _save_model(self, name: str, model: GPT, about: About) -> None:
        """Into the folder of models, with what it can be judged by."""
        held_out = self.corpus.held_out_text(most=JUDGED_BY) or None
        tokenizer = self.corpus.tokenizer
        save_checkpoint(self.models / name, model, tokenizer=tokenizer, about=about, held_out=held_out)

    def _about(self) -> About:
        files = self.corpus.files
        lines = self.run.metrics(last_bytes=LATELY)
        losses = [loss for line in lines[-RECENT:] if isinstance(loss := line.get("train_loss"), float)]
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
        )


def _made(name: str, wished: str, why: str) -> str:
    """Return what to say of a model that was made: its name, `why` this one, and whether that is not the one wished."""
    remarks = [why] if why else []
    remarks += [] if name == wished else [f"{wished} is not of this run"]
    return f"{name} ({'; '.join(remarks)})" if remarks else name


def reason(error: OSError) -> str:
    """What the system says is wrong, in words for a user."""
    if error.errno in (errno.ENOSPC, errno.EFBIG, errno.EDQUOT):
        return "the disk is full"
    return error.strerror or str(error)


def _prompts(corpus: Corpus) -> Tensor | None:
    """Beginnings (B, T) for samples, from the held-out text or else from the text; None if that is too short."""
    tokens = corpus.validation if len(corpus.validation) >= PROMPTS * PROMPT else corpus.train
    starts = [len(tokens) * i // PROMPTS for i in range(PROMPTS)]
    rows = [np.asarray(tokens[start : start + PROMPT]).astype(np.int64) for start in starts]
    if len(tokens) < PROMPTS * PROMPT:
        return None
    return torch.from_numpy(np.stack(rows))
