"""Log-probabilities of tokens under the raw model, before any sampler: of one drawn, and of a text that is given."""

import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from models.cache import KVCache
from models.engine import Engine
from models.manager import LoadedModel
from samplers.ranking import best

Alternatives = tuple[tuple[int, float], ...]  # the most probable tokens and their log-probabilities, the best first


@dataclass(frozen=True)
class TokenLogprob:
    """A token of a given text, in nats given those before it; the first has no logprob and no alternatives."""

    token: int
    logprob: float | None
    top: Alternatives = ()


def log_probabilities(
    engine: Engine, logits: Tensor, tokens: Tensor, *, top: int = 0
) -> list[tuple[float, Alternatives]]:
    """Return the log-probability of one of `tokens` (B,) under each row of logits (B, V), and the `top` most probable.

    In nats; the logits are float32 on the CPU. Of tokens that are equally probable the lowest ids come first.
    """
    normalizers = engine.log_normalizers(logits).tolist()
    values = logits.gather(1, tokens[:, None])[:, 0].tolist()
    found: list[tuple[float, Alternatives]] = []
    for row, value, normalizer in zip(logits, values, normalizers, strict=True):
        alternatives: Alternatives = ()
        if top:
            most = best(row[None], top)  # ids and values (1, top)
            ranked = zip(most.ids[0].tolist(), most.values[0].tolist(), strict=True)
            alternatives = tuple((token, logit - normalizer) for token, logit in ranked)
        found.append((value - normalizer, alternatives))
    return found


@torch.inference_mode()
def score_tokens(
    loaded: LoadedModel, tokens: Sequence[int], *, top: int = 0, stop: threading.Event | None = None
) -> Iterator[TokenLogprob]:
    """Yield each of `tokens`, with its log-probability given those before it and the `top` alternatives there.

    `stop` is checked before every chunk. Raises ValueError if they do not fit the context, or for unusable logits.
    """
    engine = loaded.model
    if len(tokens) > loaded.config.block_size:
        raise ValueError(f"{len(tokens):,} tokens do not fit the context of {loaded.config.block_size:,}")
    yield TokenLogprob(tokens[0], None)
    read = torch.tensor(tokens[:-1], dtype=torch.int64)[None]  # (1, T - 1): nothing follows the last
    cache = KVCache(loaded.config, capacity=len(tokens), device=engine.device)
    for chunk in read.split(engine.chunk, dim=1) if len(tokens) > 1 else ():
        if stop is not None and stop.is_set():
            return
        following = tokens[cache.length + 1 :][: chunk.shape[1]]  # (t,)
        logits = engine(chunk, cache)[0].float().cpu()  # (1, t) -> (t, V)
        if not logits.isfinite().all():
            raise ValueError("the model gives no usable prediction: some of its logits are not finite")
        found = log_probabilities(engine, logits, torch.tensor(following), top=top)
        for token, figures in zip(following, found, strict=True):
            yield TokenLogprob(token, *figures)
