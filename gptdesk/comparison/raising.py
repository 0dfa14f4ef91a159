"""Raising: what matrices at a higher precision buy, by paired perplexity and KL divergence."""

import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import torch

from gptdesk.comparison import Stage
from gptdesk.comparison.quality import check_size
from gptdesk.evaluation import (
    Closeness,
    PairedScores,
    already_read,
    check_enough,
    closeness,
    compare,
    perplexity_ratio,
)
from gptdesk.formatting import percent
from gptdesk.text_windows import text_windows
from models.manager import ModelKey, ModelManager


@dataclass(frozen=True)
class Raising:
    """Result of `measure_raising`, its last event: a quantized model before and after matrices were raised.

    Closeness is that to the float model. The ratio is the perplexity after over that before, from paired values; bytes
    are those of the weights in memory, of the float model, before and after.
    """

    precision: str
    raised: dict[str, str]
    before: Closeness
    after: Closeness
    perplexity_ratio: float
    perplexity_ratio_se: float
    memory_bytes: tuple[int, int, int]


def measure_raising(
    manager: ModelManager,
    key: ModelKey,
    raised: Mapping[str, str],
    text: str,
    *,
    stop: threading.Event | None = None,
) -> Iterator[Stage | Raising]:
    """Read a text with a float model, with it at the precision of `key`, and with matrices `raised` above that.

    Each computes by its own kernels. Ends without a result once `stop` is set. Raises ValueError if nothing is raised,
    for a text as `text_windows`, and as `ModelManager.lend` and `lend_mixed`.
    """
    if not raised:
        raise ValueError("no matrix is raised; choose at least one of the map")
    check_size(text)
    context = manager.library.info(key.name).context
    rows = text_windows(text, manager.library.tokenizer(key.name), context=context)
    check_enough(sum(len(row) - 1 for row in rows))
    yield Stage("loading the model at three precisions", 0.0)
    before: list[PairedScores] = []
    after: list[PairedScores] = []
    with (
        manager.lend(ModelKey(key.name)) as exact,
        manager.lend(key) as plain,
        manager.lend_mixed(key, raised) as better,
    ):
        for done, row in enumerate(rows):
            yield Stage("reading the text at three precisions", done / len(rows))
            reference = already_read(exact.model(row[None, :-1]))
            for engine, scores in ((plain.model, before), (better, after)):
                scores += compare(reference, engine, [row], stop=stop)
            if stop is not None and stop.is_set():
                return
        memory = exact.memory_bytes, plain.memory_bytes, better.memory_bytes
    nats = (torch.cat([pair.candidate.nats for pair in pairs]) for pairs in (before, after))
    ratio, error = perplexity_ratio(*nats)
    yield Raising(key.precision, dict(raised), closeness(before), closeness(after), ratio, error, memory)


def raising_sentences(raising: Raising) -> list[str]:
    """Return what the raised matrices bought and what they cost, as sentences."""
    before, after, count = raising.before, raising.after, len(raising.raised)
    matrices = "1 matrix" if count == 1 else f"{count} matrices"
    change, error = raising.perplexity_ratio - 1, 2 * raising.perplexity_ratio_se
    meaning = "no clear difference on this text" if abs(change) <= error else "better" if change < 0 else "worse"
    megabytes = [f"{value / 1e6:,.2f}" for value in raising.memory_bytes]
    return [
        f"{matrices} raised: perplexity x {raising.perplexity_ratio:.5f} of {raising.precision} "
        f"({_interval(raising.perplexity_ratio, error)}, 95 %): {meaning}",
        f"Beside float32: perplexity x {after.perplexity_ratio:.5f} instead of x {before.perplexity_ratio:.5f}, KL "
        f"divergence {after.kl_mean:.2g} instead of {before.kl_mean:.2g} nats, same next word "
        f"{percent(after.same_top1, 1)} instead of {percent(before.same_top1, 1)} of the time",
        f"Memory of the weights: {megabytes[2]} MB instead of {megabytes[1]} MB; float32 takes {megabytes[0]} MB",
        f"Tokens scored: {after.reference.tokens:,}",
    ]


def _interval(value: float, error: float) -> str:
    return f"{value - error:.5f} to {value + error:.5f}"
