"""How a run stands, in words and figures."""

from collections.abc import Iterable, Iterator

from gptdesk.formatting import clock
from gptdesk.markup import markdown_text
from gptdesk.page.option_widgets import label
from gptdesk.page.tabs.train.panels import DASH, Metrics, chosen, counted, number
from gptdesk.training import control
from gptdesk.training.control import RunInfo
from gptdesk.training.curves import options_of
from gptdesk.training.diagnostics import Alarm
from gptdesk.training.run_directory import Order, Resolved, RunPlan

STATES = {
    "new": "has not begun",
    "preparing": "is being prepared",
    "training": "trains",
    "paused": "is paused",
    "stopped": "was stopped",
    "finished": "is finished",
    "failed": "has failed",
    "interrupted": "was interrupted",
    "broken": "cannot be read",
}
ORDERED = {"pause": ", but is to pause: it saves first", "stop": ", but is to stop: it saves first"}


def state(info: RunInfo, order: Order) -> str:
    """A sentence as Markdown: how a run stands that was last told `order`."""
    status = info.status
    said = f"**{markdown_text(info.name)}** {STATES.get(info.state, info.state)}"
    if order == "stop" and info.state == "preparing":
        said += ", but is to stop"
    elif info.state == "preparing" and status.message:
        said += f": {markdown_text(status.message)} ({status.progress:.0%})"
    elif (order == "pause" and info.state == "training") or (order == "stop" and info.state in control.BUSY):
        said += ORDERED[order]
    elif message := info.problem or status.message:
        said += f": {markdown_text(message)}"
    return said if said.endswith((".", "!", "?")) else f"{said}."


def warnings(found: Iterable[Alarm], *, said: str) -> str:
    """Alarms as Markdown, but for the one that is `said` already."""
    others = [alarm for alarm in found if alarm.text != said]
    marks = {alarm: "" if alarm.level == "note" else "⚠ " for alarm in others}
    return "\n\n".join(f"{marks[alarm]}{markdown_text(alarm.text[:1].upper() + alarm.text[1:])}." for alarm in others)


def figures(info: RunInfo, metrics: Metrics, *, memory: int | None) -> Iterator[tuple[str, str, str]]:
    """The figures of a run with their names and a remark; `memory` in bytes."""
    status, last, left = info.status, info.last, control.seconds_left(info)
    seconds = last.get("seconds")
    so_far = f"{clock(seconds)} so far" if isinstance(seconds, int | float) else ""
    best = "" if status.best_loss is None else f"best {status.best_loss:.4f} at step {status.best_step:,}"
    validation = next((loss for line in reversed(metrics) if (loss := line.get("val_loss")) is not None), None)
    yield "Step", f"{step_of(info):,}", f"of {status.steps:,}" if status.steps else ""
    yield "Time left", DASH if left is None else clock(left), so_far
    yield "Training loss", number(last.get("train_loss")), "nats per token"
    yield "Validation loss", number(validation), best
    yield "Tokens per second", counted(last.get("tokens_per_second")), ""
    yield "Tokens seen", counted(last.get("tokens")), f"{number(last.get('epoch'), '.2f')} times the text"
    yield "Learning rate", number(last.get("learning_rate"), ".2e"), ""
    yield "Gradient norm", number(last.get("grad_norm"), ".3f"), "before clipping"
    taken = DASH if memory is None else f"{memory / 1e9:.2f} GB"
    yield "Memory", taken, f"saved at step {status.saved_step:,}" if status.saved_step else "nothing saved yet"


def step_of(info: RunInfo) -> int:
    """The step that a run has reached, as far as is known."""
    step = info.last.get("step")
    return step if isinstance(step, int) else info.status.step


def levels(resolved: Resolved | None) -> list[tuple[str, float]]:
    """What simple guessers would lose on the held-out text, with what to call them."""
    if resolved is None or resolved.unigram is None or resolved.bigram is None:
        return []
    single, pairs = "a guesser who knows how frequent each token is", "a guesser who knows pairs of tokens"
    return [(single, resolved.unigram), (pairs, resolved.bigram)]


def choices(plan: RunPlan, resolved: Resolved | None) -> list[list[str]]:
    """Rows of a table: what was chosen, and what was found out before the start."""
    rows = [[label(name), chosen(value)] for name, value in options_of(plan).items()]
    if resolved is None:
        return rows
    found = {
        "Weights": f"{resolved.parameters:,}",
        "Tokens to train on": f"{resolved.tokens:,}",
        "Tokens held out": f"{resolved.validation_tokens:,}",
        "Context": f"{resolved.block_size:,} tokens",
        "Computes in": "bfloat16" if resolved.bfloat16 else "float32",
    }
    return [["Found out before the start"], *map(list, found.items()), ["Chosen"], *rows]
