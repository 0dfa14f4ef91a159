"""Steps of a chain in one generation: shortcuts of built-in samplers, calls of the others on whole rows, checks."""

import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from types import MappingProxyType
from typing import Any, TypeAlias

import torch
from torch import Tensor

from samplers.base import Sampler, Step
from samplers.greedy import Greedy
from samplers.min_p import MinP
from samplers.ranking import Candidates, Ranked, Rows, spread
from samplers.temperature import Temperature
from samplers.top_k import TopK
from samplers.top_p import TopP
from samplers.typical import Typical

MODEL = "model"

# (candidates, tokens (B, T), V) -> candidates: one sampler of a chain in one generation, called once per token.
ChainStep: TypeAlias = Callable[[Candidates, Tensor, int], Candidates]

Shortcut: TypeAlias = Callable[[Rows | Ranked], Candidates]  # one sampler in one generation, called once per token


def _temperature(sampler: Temperature) -> Shortcut:
    if sampler.temperature == 0:
        return lambda candidates: candidates.best(1)
    scaling = sampler.scaling()
    return lambda candidates: candidates.changed(scaling)


# Shortcuts of built-in samplers, which judge by the logits alone: the same result as their `__call__`, from the tokens
# that are left instead of whole rows. Every row keeps its best token, finite, so the results need no check.
SHORTCUTS: Mapping[type[Sampler], Callable[[Any], Shortcut]] = MappingProxyType(
    {
        Greedy: lambda sampler: lambda candidates: candidates.best(1),
        MinP: lambda sampler: lambda candidates: candidates.reaching(sampler.floor(candidates.top)),
        Temperature: _temperature,
        TopK: lambda sampler: lambda candidates: candidates.best(sampler.top_k),
        TopP: lambda sampler: lambda candidates: candidates.nucleus(sampler.top_p),
        Typical: lambda sampler: lambda candidates: candidates.heaviest(sampler.scores, sampler.typical_p),
    }
)


def started(samplers: Iterable[Sampler]) -> list[tuple[str, ChainStep | None]]:
    """Return every sampler's name and what to call once per token; None for one that would change nothing."""
    return [(sampler.name, None if sampler.is_neutral else _step(sampler)) for sampler in samplers]


def _step(sampler: Sampler) -> ChainStep:
    """Begin one generation of a sampler: by its shortcut if it has one, else on whole rows."""
    shortcut = SHORTCUTS.get(type(sampler))  # a derived class may do otherwise, so it has none
    if shortcut is None:
        return partial(_on_whole_rows, sampler.name, sampler.start())
    return partial(_on_candidates, shortcut(sampler))


def is_shortcut(step: ChainStep) -> bool:
    """Return whether a step judges by the logits alone."""
    return isinstance(step, partial) and step.func is _on_candidates


def apply(
    steps: Iterable[tuple[str, ChainStep | None]], logits: Tensor, tokens: Tensor
) -> Iterator[tuple[str, Candidates]]:
    """Yield the model's name and candidates, then those that every step leaves."""
    candidates: Candidates = require_drawable(Rows.of(logits.detach().to("cpu", torch.float32)), "the model")
    yield MODEL, candidates
    for name, step in steps:
        if step is not None:
            candidates = step(candidates, tokens, logits.shape[1])
        yield name, candidates


def _on_candidates(shortcut: Shortcut, candidates: Candidates, tokens: Tensor, vocabulary: int) -> Candidates:
    """Carry along only the tokens that are left."""
    if isinstance(candidates, Rows | Ranked):
        return shortcut(candidates)
    return candidates.narrowed(shortcut)


def _on_whole_rows(name: str, step: Step, candidates: Candidates, tokens: Tensor, vocabulary: int) -> Candidates:
    """Call a sampler as its interface says, (B, V), (B, T) -> (B, V), and check what it returns."""
    logits = spread(candidates, vocabulary)
    try:
        changed = step(logits, tokens.to("cpu"))
        if not isinstance(changed, Tensor) or changed.shape != logits.shape:
            shape = tuple(changed.shape) if isinstance(changed, Tensor) else type(changed).__name__
            raise TypeError(f"it returned {shape} for logits of shape {tuple(logits.shape)}")
        rows = Rows.of(changed.to(logits))
    except Exception as error:  # whatever a plugin does, the message says whose fault it is
        reason = " ".join(str(error).split())[:300]
        raise ValueError(f"the sampler {name} failed with {type(error).__name__}: {reason}") from error
    return require_drawable(rows, f"the sampler {name}")


def require_drawable(rows: Rows, source: str) -> Rows:
    """Return rows without NaN or +inf that have something finite each, or raise ValueError that names their source."""
    top = rows.top  # (B, 1), NaN if the row has one
    if all(-math.inf < best < math.inf for (best,) in top.tolist()):
        return rows
    if top.isnan().any():
        raise ValueError(f"{source} gave NaN (not a number) for the next token, so nothing can be drawn")
    if (top == -math.inf).any():
        raise ValueError(f"{source} left no token that can be drawn: every logit in a row is -inf")
    # The limit of logits that grow: those at +inf share everything.
    logits = rows.whole()
    certain = torch.where(logits == math.inf, 0.0, -math.inf)
    return Rows.of(torch.where(top == math.inf, certain, logits))
