"""Token heat map of a text: probability, rank, entropy and alternatives of every token under one model."""

import math
import threading
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from gptdesk.token_logprobs import Alternatives
from models.cache import KVCache
from models.manager import LoadedModel
from samplers.ranking import best

TOP = 10  # alternatives of each token
ROWS = 64  # distributions looked at together: some ten megabytes at 50,000 tokens


@dataclass(frozen=True)
class TokenFigures:
    """Token of a text under the raw model, given those before it. The first has no prediction: None, and no `top`."""

    token: int
    logprob: float | None  # nats
    rank: int | None  # 1: the most probable
    entropy: float | None  # of the distribution that it came from, nats
    top: Alternatives = ()


@dataclass(frozen=True)
class TextFigures:
    """Figures of every token of a text, in its order."""

    tokens: tuple[TokenFigures, ...]

    @property
    def perplexity(self) -> float | None:
        """e to the mean of -logprob; None for a text without a predicted token."""
        mean = _mean([-one.logprob for one in self.tokens if one.logprob is not None])
        return None if mean is None else math.exp(mean)

    @property
    def entropy(self) -> float | None:
        """Mean entropy in nats; None for a text without a predicted token."""
        return _mean([one.entropy for one in self.tokens if one.entropy is not None])


@torch.inference_mode()
def text_figures(
    loaded: LoadedModel, tokens: Sequence[int], *, top: int = TOP, stop: threading.Event | None = None
) -> TextFigures:
    """Return the figures of `tokens` from one reading of the text, chunk by chunk.

    `stop` is checked before every chunk; the rest then has no figures. The text enters the prefix cache, so that a
    branch of it reads only what follows its last whole chunk. Raises ValueError if the text is empty or does not fit
    the context, or for logits that are not finite.
    """
    engine, context = loaded.model, loaded.config.block_size
    if not 0 < len(tokens) <= context + 1:
        raise ValueError(f"{len(tokens):,} tokens do not fit the context of {context:,}; shorten the text")
    figures = [TokenFigures(tokens[0], None, None, None)]
    read = torch.tensor(tokens[:-1], dtype=torch.int64)  # (T - 1,): nothing follows the last
    following = torch.tensor(tokens[1:], dtype=torch.int64)
    cache = KVCache(loaded.config, capacity=max(1, len(read)), device=engine.device)
    chunks = zip(read.split(engine.chunk), following.split(engine.chunk), strict=True)
    for chunk, after in chunks if len(tokens) > 1 else ():
        if stop is not None and stop.is_set():
            break
        # (1, t) -> (t, V)
        logits = engine(chunk[None], cache)[0]
        for rows, ids in zip(logits.split(ROWS), after.split(ROWS), strict=True):
            figures += _figures(rows.float().cpu(), ids, top=top)
    if len(tokens) > 1 and cache.length == len(read):
        # not the logits: computed with others, they may have other bits than those of a prompt
        loaded.prefixes.keep(read, cache, None)
    rest = tokens[len(figures) :]
    return TextFigures((*figures, *(TokenFigures(token, None, None, None) for token in rest)))


def differences(first: TextFigures, second: TextFigures) -> tuple[float | None, ...]:
    """Return by how many nats the second model gives each token of the same text a higher log-probability.

    Raises ValueError if the texts are not the same tokens.
    """
    if [one.token for one in first.tokens] != [one.token for one in second.tokens]:
        raise ValueError("the models cut the text into different tokens; compare models that share a tokenizer")
    return tuple(
        None if a.logprob is None or b.logprob is None else b.logprob - a.logprob
        for a, b in zip(first.tokens, second.tokens, strict=True)
    )


def _figures(logits: Tensor, ids: Tensor, *, top: int) -> list[TokenFigures]:
    """Return the figures of the tokens `ids` (R,), predicted by logits (R, V)."""
    # both are NaN if any is; ten times as fast as a look at every one
    if not torch.stack(logits.aminmax()).isfinite().all():
        raise ValueError("the model gives no usable prediction: some of its logits are not finite")
    logprobs = logits.log_softmax(1)  # (R, V)
    own = logprobs.gather(1, ids[:, None])  # (R, 1)
    # (R,); of equally probable tokens each has the best rank. Bytes are summed faster than bools.
    ranks = 1 + (logprobs > own).view(torch.uint8).sum(1, dtype=torch.int32)
    # -sum of p log p, without the 0 * inf that underflow would give: (R,)
    entropy = -(logprobs.exp() * logprobs).sum(1)
    alternatives = best(logits, min(top, logits.shape[1])).ids if top else ids.new_zeros(len(ids), 0)  # (R, top)
    chances = logprobs.gather(1, alternatives)
    return [
        TokenFigures(token, logprob, rank, entropy, tuple(zip(others, theirs, strict=True)))
        for token, logprob, rank, entropy, others, theirs in zip(
            ids.tolist(),
            own[:, 0].tolist(),
            ranks.tolist(),
            entropy.tolist(),
            alternatives.tolist(),
            chances.tolist(),
            strict=True,
        )
    ]


def _mean(values: Sequence[float]) -> float | None:
    return sum(values) / len(values) if values else None
