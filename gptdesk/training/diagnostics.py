"""Diagnostics of a run from its curves: overfitting, spikes, plateaus, clipping and others, as sentences."""

import statistics
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from gptdesk.training.curves import Point, smooth
from gptdesk.training.metrics import Metrics
from gptdesk.training.options import ResolvedTraining
from gptdesk.training.run_directory import Resolved, RunStatus

RISES = 3  # evaluations in a row after which a rise counts
FLAT, HARDLY, WORSE = 5, 0.003, 0.01  # evaluations, and shares of the loss: no improvement, a worse one
SPIKE, LATELY = 1.25, 20  # times the usual loss; logged steps that count as recent
CLIPPED, ENOUGH = 0.95, 30  # share of recent steps, of so many logged ones
EARLY = 50  # steps in which no loss says much
GAP = 0.25  # share by which the held-out text is harder than the other
READ = 10  # times the text has been read
SLOW = 0.6  # share of the speed of the probe

Level = Literal["error", "warning", "note"]


@dataclass(frozen=True)
class Diagnostic:
    """Finding about a run, with how grave it is."""

    level: Level
    text: str


def diagnostics(
    metrics: Metrics,
    *,
    options: ResolvedTraining,
    resolved: Resolved | None,
    status: RunStatus,
    state: str = "",
) -> list[Diagnostic]:
    """Return the findings about a run from its metrics, the gravest first.

    `state` is that of its RunInfo, which can be "interrupted"; without it, that of the status counts.
    """
    state = state or status.state
    losses, validation = metrics.series("train_loss"), metrics.series("val_loss")
    found = list(_state(status, state))
    overfits = list(_overfitting(validation, status))
    found += [
        Diagnostic("warning", text) for text in (*overfits, *_spike(losses), *_no_better(validation, options, resolved))
    ]
    notes = [*_clipping(metrics, options)]
    if not overfits:
        notes += [*_gap(losses, validation), *_plateau(validation, options, state)]
    notes += [
        *_often_read(metrics, validation, resolved),
        *(_slowness(metrics, resolved) if state == "training" else ()),
    ]
    return found + [Diagnostic("note", text) for text in notes]


def _state(status: RunStatus, state: str) -> Iterator[Diagnostic]:
    """Find an interruption, a failure, or a message of a run that trains."""
    if state == "interrupted":
        saved = f"the checkpoint of step {status.saved_step:,}" if status.saved_step else "the beginning"
        yield Diagnostic("warning", f"the run was interrupted after about step {status.step:,}; resume it from {saved}")
    elif state == "failed":
        yield Diagnostic("error", status.message)
    elif state == "training" and status.message:
        yield Diagnostic("warning", status.message)


def _overfitting(validation: Sequence[Point], status: RunStatus) -> Iterator[str]:
    """Find a validation loss that rises, or has not been better for long."""
    if not validation:
        return
    values = [value for _, value in validation]
    step, best = min(validation, key=lambda point: point[1])
    best_was = f"the best was step {step:,.0f}" + (", saved" if status.saved_step >= status.best_step == step else "")
    rises = 0
    while rises + 1 < len(values) and values[-1 - rises] > values[-2 - rises]:
        rises += 1
    since = len(values) - 1 - values.index(best)
    if rises >= RISES:
        yield f"validation has risen for {rises} evaluations: overfitting; {best_was}"
    elif since >= FLAT and values[-1] > (1 + WORSE) * best:
        yield f"validation has not been better for {since} evaluations ({values[-1]:.2f}): overfitting; {best_was}"


def _spike(losses: Sequence[Point]) -> Iterator[str]:
    """Find a recent loss far above those before it."""
    recent, before = losses[-LATELY:], losses[-2 * LATELY : -LATELY]
    if len(before) < LATELY:
        return
    usual = statistics.median(value for _, value in before)
    step, highest = max(recent, key=lambda point: point[1])
    if highest <= SPIKE * max(value for _, value in before) + 0.1:
        return
    jumped = f"the loss jumped from {usual:.2f} to {highest:.2f} at step {step:,.0f}"
    recovered = statistics.median(value for _, value in recent[-3:]) <= 1.1 * usual
    yield f"{jumped}, and has recovered" if recovered else f"{jumped}; if it stays there, lower the learning rate"


def _no_better(validation: Sequence[Point], options: ResolvedTraining, resolved: Resolved | None) -> Iterator[str]:
    """Find a loss, after the warmup, that a baseline reaches."""
    if resolved is None or resolved.unigram is None or resolved.chance is None or not validation:
        return
    value = min(value for _, value in validation)
    if validation[-1][0] <= max(2 * options.warmup_steps, options.steps / 10, EARLY) or len(validation) < RISES:
        return
    if value >= resolved.chance:
        yield (
            f"the validation loss of {value:.2f} is no better than random guessing ({resolved.chance:.2f}): "
            "lower the learning rate"
        )
    elif value >= resolved.unigram:
        yield (
            f"the validation loss of {value:.2f} is no better than the unigram baseline ({resolved.unigram:.2f}): "
            "try another learning rate"
        )


def _plateau(validation: Sequence[Point], options: ResolvedTraining, state: str) -> Iterator[str]:
    """Find a validation loss that hardly improves before the end of the schedule."""
    if len(validation) <= FLAT + 1 or state != "training" or validation[-1][0] > 0.9 * options.steps:
        return
    before, after = (min(value for _, value in part) for part in (validation[:-FLAT], validation[-FLAT:]))
    if after > before * (1 - HARDLY):
        yield f"the validation loss has hardly improved for {FLAT} evaluations ({before:.3f} before, {after:.3f} since)"


def _clipping(metrics: Metrics, options: ResolvedTraining) -> Iterator[str]:
    """Find a gradient norm above the clipping threshold at nearly every step."""
    norms = [value for step, value in metrics.series("grad_norm") if step > options.warmup_steps][-2 * ENOUGH :]
    if len(norms) >= ENOUGH and sum(norm > options.clip for norm in norms) >= CLIPPED * len(norms):
        yield (
            f"the gradient is clipped at nearly every step (gradient norm {statistics.median(norms):.1f}, clipping "
            f"threshold {options.clip:g}): a lower learning rate may do better"
        )


def _gap(losses: Sequence[Point], validation: Sequence[Point]) -> Iterator[str]:
    """Find a validation loss far above the training loss."""
    if len(losses) < LATELY or not validation:
        return
    now, held_out = smooth([value for _, value in losses], 0.9)[-1], validation[-1][1]
    if held_out > (1 + GAP) * now:
        yield (f"the training loss ({now:.2f}) is far below the validation loss ({held_out:.2f}): the model overfits")


def _often_read(metrics: Metrics, validation: Sequence[Point], resolved: Resolved | None) -> Iterator[str]:
    """Find a text that was read many times while the validation loss no longer improves."""
    epochs = metrics.tail(1).series("epoch")
    values = [value for _, value in validation]
    stale = min(values[-2:]) > min(values) if values else resolved is not None and resolved.validation_tokens < 2
    if epochs and epochs[-1][1] > READ and stale:
        yield f"the text has been read {epochs[-1][1]:,.0f} times; more text or dropout would help"


def _slowness(metrics: Metrics, resolved: Resolved | None) -> Iterator[str]:
    """Find a speed far below that of the probe."""
    speeds = [value for _, value in metrics.tail(2 * FLAT).series("tokens_per_second")]
    if resolved is None or len(speeds) < FLAT:
        return
    share = statistics.median(speeds) / resolved.tokens_per_second
    if share < SLOW:
        yield f"it runs at {share:.0%} of the planned speed: other programs may be using the computer"
