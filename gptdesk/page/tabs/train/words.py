"""State, stats, diagnostics and options of a run as text."""

from collections.abc import Iterable, Iterator, Mapping

from gptdesk.formatting import clock
from gptdesk.markup import markdown_text
from gptdesk.page.tabs.train.boxes import option_label
from gptdesk.page.tabs.train.panels import DASH, chosen, counted, number
from gptdesk.training import control
from gptdesk.training.control import RunInfo
from gptdesk.training.diagnostics import Diagnostic
from gptdesk.training.estimate import outlook
from gptdesk.training.metrics import Metrics
from gptdesk.training.plan import RunPlan
from gptdesk.training.run_directory import Order, Resolved, RunDirectory
from gptdesk.training.states import ACTIVE, IN_WORDS

PENDING = {
    "pause": ", and will pause after a checkpoint",
    "stop": ", and will stop after a checkpoint",
}


def state(info: RunInfo, order: Order, *, place: int = 0, before: str = "") -> str:
    """Return a sentence as Markdown: the state of a run whose last order was `order`.

    A queued one has its `place` in the queue, and the run `before` it.
    """
    status = info.status
    sentence = f"**{markdown_text(info.name)}** {IN_WORDS[info.state]}"
    if info.state == "queued":
        after = markdown_text(before) if before else "the run before it"
        sentence += f", place {place}, and starts when {after} has ended"
    elif order == "stop" and info.state == "preparing":
        sentence += ", and will stop"
    elif info.state == "preparing" and status.message:
        sentence += f": {markdown_text(status.message)}" + (f" ({status.progress:.0%})" if status.progress else "")
    elif (order == "pause" and info.state == "training") or (order == "stop" and info.state in ACTIVE):
        sentence += PENDING[order]
    elif message := info.problem or status.message:
        sentence += f": {markdown_text(message)}"
    return sentence if sentence.endswith((".", "!", "?")) else f"{sentence}."


def models_since(made: Iterable[str], *, now: Mapping[str, str | None]) -> str:
    """Return sentences as Markdown on those models a run has `made` that are gone or renamed; empty if none is.

    `now` has the name of each of them now, None for one that is gone.
    """
    sentences = []
    for name in made:
        if (new := now[name]) is None:
            sentences.append(f"The model {markdown_text(name)} has been removed since.")
        elif new != name:
            sentences.append(f"The model {markdown_text(name)} is called {markdown_text(new)} now.")
    return " ".join(sentences)


def diagnostics_text(findings: Iterable[Diagnostic], *, shown: str, more: str = "") -> str:
    """Return diagnostics as Markdown, but for the one that is `shown` already, after the sentence `more`."""
    others = [finding for finding in findings if finding.text != shown]
    marks = {finding: "" if finding.level == "note" else "⚠ " for finding in others}
    sentences = [f"{marks[one]}{markdown_text(one.text[:1].upper() + one.text[1:])}." for one in others]
    return "\n\n".join([markdown_text(more), *sentences] if more else sentences)


def budget(info: RunInfo, run: RunDirectory) -> str:
    """Return the sentence on what the minutes of a run are enough for; empty if they are for all of its steps."""
    plan, resolved = run.plan(), run.resolved()
    if resolved is None or info.state not in ("training", "finished"):
        return ""
    per_step = plan.training.batch_size * resolved.block_size / resolved.tokens_per_second
    sentence = outlook(
        plan.training, base=plan.model.start, steps=info.status.steps or resolved.steps, seconds=per_step
    )
    if not sentence:
        return ""
    again = " Train as long again goes on from here." if info.state == "finished" else ""
    return f"{sentence}.{again}"


def stats(info: RunInfo, metrics: Metrics, *, memory: int | None) -> Iterator[tuple[str, str, str]]:
    """Yield name, value and remark of each figure of a run; `memory` in bytes."""
    status, last, left = info.status, info.last, control.seconds_left(info)
    seconds = last.get("seconds")
    so_far = f"{clock(seconds)} so far" if isinstance(seconds, int | float) else ""
    losses = metrics.series("val_loss")
    step, lowest = min(losses, key=lambda point: point[1], default=(status.best_step, status.best_loss))
    best = "" if lowest is None else f"best {lowest:.4f} at step {step:,.0f}"
    validation = losses[-1][1] if losses else None
    yield "Step", f"{step_of(info):,}", f"of {status.steps:,}" if status.steps else ""
    yield "Time left", DASH if left is None else clock(left), so_far
    yield "Training loss", number(last.get("train_loss")), "nats per token"
    yield "Validation loss", number(validation), best
    yield "Tokens per second", counted(last.get("tokens_per_second")), ""
    yield "Tokens seen", counted(last.get("tokens")), f"{number(last.get('epoch'), '.2f')} epochs"
    yield "Learning rate", number(last.get("learning_rate"), ".2e"), ""
    yield "Gradient norm", number(last.get("grad_norm"), ".3f"), "before clipping"
    used = DASH if memory is None else f"{memory / 1e9:.2f} GB"
    yield "Memory", used, f"checkpoint at step {status.saved_step:,}" if status.saved_step else "no checkpoint yet"


def step_of(info: RunInfo) -> int:
    """Return the step that a run has reached, as far as is known."""
    step = info.last.get("step")
    return step if isinstance(step, int) else info.status.step


def levels(resolved: Resolved | None) -> list[tuple[str, float]]:
    """Return name and loss of the baselines."""
    if resolved is None or resolved.unigram is None or resolved.bigram is None:
        return []
    return [("unigram baseline", resolved.unigram), ("bigram baseline", resolved.bigram)]


def choices(plan: RunPlan, resolved: Resolved | None) -> list[list[str]]:
    """Return rows of a table: what was measured before the start, and the options."""
    rows = [
        [option_label(name), "no limit" if name in ("max_minutes", "max_tokens") and not value else chosen(value)]
        for name, value in plan.options().items()
    ]
    if resolved is None:
        return rows
    measured = {
        "Parameters": f"{resolved.parameters:,}",
        "Training tokens": f"{resolved.tokens:,}",
        "Validation tokens": f"{resolved.validation_tokens:,}",
        "Context": f"{resolved.block_size:,} tokens",
        "Computes in": "bfloat16" if resolved.bfloat16 else "float32",
    }
    return [["Measured before the start"], *map(list, measured.items()), ["Options"], *rows]
