"""First token of a generated text that other samplers draw otherwise with the same seed."""

import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from gptdesk.draws import start_draws
from gptdesk.inspection.next_token import read_tokens
from models.cache import KVCache
from models.manager import LoadedModel
from samplers import Chain


@dataclass(frozen=True)
class Redrawn:
    """The first token that is drawn otherwise: which of the draws it is, from 0, and the new token."""

    step: int
    token: int


@torch.inference_mode()
def first_redrawn(
    loaded: LoadedModel,
    given: Sequence[int],
    drawn: Sequence[int],
    chain: Chain,
    *,
    seed: int,
    row: int = 0,
    stop: threading.Event | None = None,
) -> Redrawn | None:
    """Return where sequence `row` of this seed leaves the tokens `drawn` after `given` if `chain` draws; None: nowhere.

    The draws are those of a generation, so the text up to there, and that token, are what it would write. `stop` is
    checked before every chunk; then None. Raises ValueError if the tokens do not fit the context, for logits that are
    not finite, and as a sampler.
    """
    text = torch.tensor([*given, *drawn], dtype=torch.int64)[None]  # (1, T)
    sampling = start_draws(chain, loaded.model, seed=seed, first=row)
    logits, cache = read_tokens(loaded, text[0, : len(given)], capacity=max(1, text.shape[1] - 1))
    rows = _logits(loaded, text[:, len(given) : -1], logits, cache, stop)
    for step, (token, one) in enumerate(zip(drawn, rows, strict=False)):
        new = int(sampling(one, text[:, : len(given) + step]))
        if new != token:
            return Redrawn(step, new)
    return None


def _logits(
    loaded: LoadedModel, drawn: Tensor, first: Tensor, cache: KVCache, stop: threading.Event | None
) -> Iterator[Tensor]:
    """Yield logits (1, V): the first, then those after each of the tokens (1, t) that continue the cache."""
    engine = loaded.model
    yield first
    # token by token, as a generation reads them, where a chunk would have other bits
    for chunk in drawn.split(engine.chunk if engine.rows_are_independent else 1, dim=1) if drawn.shape[1] else ():
        if stop is not None and stop.is_set():
            return
        yield from engine(chunk, cache)[0].float().cpu().split(1)  # (1, t) -> t times (1, V)
