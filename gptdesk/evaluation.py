"""Evaluation of models on a text: perplexity of one; KL divergence, agreement and more of two.

Windows of a text are read once, and only a few numbers per token are kept of each. Sums and logarithms
are in float64: in float32 the log of a probability is off by about 1e-6, more than a good quantized copy differs by.
Values that llama.cpp's perplexity tool also has mean the same, except that it scores the second half of a window only.
"""

import math
import threading
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from models.cache import KVCache
from models.engine import Engine
from models.tokenizer import Tokenizer
from samplers.ranking import best

Model = Callable[[Tensor], Tensor]  # tokens (1, T) -> logits (1, T, V) of the token after each

ROWS = 16  # positions compared at once: (ROWS, V) in float64 is small enough to stay in the processor's cache
LEAST = 2  # scored tokens: fewer have no standard error
TOP = 5


@dataclass(frozen=True)
class Scores:
    """Scores of one window by one model: nats (T,) float64 is -ln of the probability of each of tokens (T,).

    The tokens are those scored; the window's first is not among them.
    """

    tokens: Tensor
    nats: Tensor


@dataclass(frozen=True)
class PairedScores:
    """Scores of one window by two models; every tensor has the shape (T,)."""

    reference: Scores
    candidate: Scores
    kl: Tensor  # KL(reference || candidate) in nats, float64
    same_top1: Tensor  # whether their most likely token is the same; of equal ones the lowest id counts
    top5_shared: Tensor  # share of the reference's five most likely tokens that the candidate has among its five


@dataclass(frozen=True)
class Evaluation:
    """Quality of one model on a text. The values per character and byte are None if its tokenizer was not given.

    Standard errors, here and below, assume independent tokens, which is not quite true.
    """

    tokens: int  # scored
    nats_per_token: float
    nats_per_token_se: float
    perplexity: float  # e to the nats per token
    nats_per_character: float | None
    bits_per_character: float | None
    bits_per_byte: float | None  # of the text in UTF-8


@dataclass(frozen=True)
class Closeness:
    """Closeness of a candidate to a reference on a text. KL is KL(reference || candidate) of a token, in nats.

    The standard error of the perplexity ratio is that of paired values (the mean of each token's difference in nats,
    times the ratio): far smaller than the two perplexities' own. "True" is the next token of the text.
    """

    reference: Evaluation
    candidate: Evaluation
    perplexity_ratio: float  # candidate / reference: 1.01 is one percent worse
    perplexity_ratio_se: float
    kl_mean: float
    kl_mean_se: float
    kl_median: float
    kl_p99: float  # 99 % of the tokens have no more; between two tokens' values, interpolated
    kl_max: float
    same_top1: float  # share of tokens
    same_top1_se: float  # binomial
    top5_overlap: float  # mean share
    probability_change_mean: float  # of the true token, candidate - reference
    probability_change_rms: float


def score(model: Model, rows: Iterable[Tensor], *, stop: threading.Event | None = None) -> Iterator[Scores]:
    """Yield the scores of each window (T + 1,); end early, between two of them, once `stop` is set.

    Raises ValueError if a logit is not finite.
    """
    for row in rows:
        if (logits := _read(model, row, "model", stop)) is None:
            return
        # (T, V), (T,) -> parts of (ROWS, V), (ROWS,): float64 copies of all logits would leave the processor's cache.
        parts = zip(logits.split(ROWS), row[1:].split(ROWS), strict=True)
        nats = [_nats(_log_probabilities(part), tokens) for part, tokens in parts]
        yield Scores(row[1:], torch.cat(nats))


def compare(
    reference: Model, candidate: Model, rows: Iterable[Tensor], *, stop: threading.Event | None = None
) -> Iterator[PairedScores]:
    """Yield the scores of each window (T + 1,) by both models; end early, between two of them, once `stop` is set.

    Raises ValueError if the models do not have the same vocabulary, or a logit is not finite.
    """
    for row in rows:
        ours = _read(reference, row, "reference", stop)
        theirs = _read(candidate, row, "candidate", stop)
        if ours is None or theirs is None:
            return
        if ours.shape != theirs.shape:
            raise ValueError(
                "the models cannot be compared token by token: "
                f"the reference knows {ours.shape[1]} tokens, the candidate {theirs.shape[1]}"
            )
        tokens = row[1:]  # (T,), predicted at positions 0 to T - 1
        parts = zip(ours.split(ROWS), theirs.split(ROWS), tokens.split(ROWS), strict=True)
        # Five columns of parts (ROWS,) -> five tensors (T,).
        p, q, kl, same, shared = (
            torch.cat(column) for column in zip(*(_compare_rows(*part) for part in parts), strict=True)
        )
        yield PairedScores(Scores(tokens, p), Scores(tokens, q), kl, same, shared)


def in_pieces(engine: Engine, *, size: int) -> Model:
    """Return the engine as a model that reads through its KV cache, `size` tokens at a time; 1 as in generation."""

    def read(tokens: Tensor) -> Tensor:
        cache = KVCache(engine.config, capacity=tokens.shape[1], device=engine.device)
        return torch.cat([engine(part, cache, last_only=size == 1) for part in tokens.split(size, dim=1)], dim=1)

    return read


def already_read(logits: Tensor) -> Model:
    """Return a model whose answer is `logits` (1, T, V), computed before: one window's, to compare it several times."""
    return lambda tokens: logits


def evaluation(scores: Iterable[Scores], tokenizer: Tokenizer | None = None) -> Evaluation:
    """Sum up the windows of one model. Raises ValueError for fewer than LEAST tokens."""
    windows_read = list(scores)
    nats = _joined(s.nats for s in windows_read)  # (N,)
    mean = nats.mean()
    per_character = per_byte = None
    if tokenizer is not None:
        # All nats over all characters, not a mean of quotients: tokens differ in length.
        characters, size = _extent(torch.cat([s.tokens for s in windows_read]), tokenizer)
        if characters:
            per_character, per_byte = float(nats.sum() / characters), float(nats.sum() / size)
    return Evaluation(
        tokens=len(nats),
        nats_per_token=float(mean),
        nats_per_token_se=_standard_error(nats),
        perplexity=float(mean.exp()),
        nats_per_character=per_character,
        bits_per_character=None if per_character is None else per_character / math.log(2),
        bits_per_byte=None if per_byte is None else per_byte / math.log(2),
    )


def closeness(scores: Iterable[PairedScores], tokenizer: Tokenizer | None = None) -> Closeness:
    """Sum up the windows of two models. Raises ValueError for fewer than LEAST tokens."""
    pairs = list(scores)
    kl = _joined(pair.kl for pair in pairs).sort().values  # (N,), ascending for the quantiles
    p = torch.cat([pair.reference.nats for pair in pairs])
    q = torch.cat([pair.candidate.nats for pair in pairs])
    # Of the true token's probability, from nats: (N,).
    change = (-q).exp() - (-p).exp()
    ratio, ratio_se = perplexity_ratio(p, q)
    same = float(torch.cat([pair.same_top1 for pair in pairs]).double().mean())
    return Closeness(
        reference=evaluation((pair.reference for pair in pairs), tokenizer),
        candidate=evaluation((pair.candidate for pair in pairs), tokenizer),
        perplexity_ratio=ratio,
        perplexity_ratio_se=ratio_se,
        kl_mean=float(kl.mean()),
        kl_mean_se=_standard_error(kl),
        kl_median=_quantile(kl, 0.5),
        kl_p99=_quantile(kl, 0.99),
        kl_max=float(kl[-1]),
        same_top1=same,
        same_top1_se=(same * (1 - same) / len(kl)) ** 0.5,
        top5_overlap=float(torch.cat([pair.top5_shared for pair in pairs]).mean()),
        probability_change_mean=float(change.mean()),
        probability_change_rms=float(change.square().mean().sqrt()),
    )


def check_enough(tokens: int) -> None:
    """Raise ValueError for fewer than LEAST scored tokens."""
    if tokens < LEAST:
        raise ValueError(
            f"the text is too short (tokens scored: {tokens}, at least {LEAST} are needed); give a longer one"
        )


def perplexity_ratio(reference: Tensor, candidate: Tensor) -> tuple[float, float]:
    """Return candidate's perplexity over the reference's and its standard error, from nats (N,) of the same tokens."""
    # The mean of paired differences: what makes a token difficult for both models cancels.
    ratio = float((candidate - reference).mean().exp())
    return ratio, ratio * _standard_error(candidate - reference)


@torch.inference_mode()
def _read(model: Model, row: Tensor, role: str, stop: threading.Event | None) -> Tensor | None:
    """Return the logits (T, V) after each of the first T tokens of a window (T + 1,), or None once `stop` is set."""
    if stop is not None and stop.is_set():
        return None
    logits = model(row[None, :-1])[0].cpu()  # (1, T) -> (T, V)
    if not logits.isfinite().all():
        raise ValueError(f"the {role} gives no usable prediction: some of its logits are not finite")
    return logits


def _compare_rows(ours: Tensor, theirs: Tensor, tokens: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Return both nats, KL, same top 1 and shared top 5: (R, V), (R, V), (R,) -> (R,) each."""
    log_p, log_q = _log_probabilities(ours), _log_probabilities(theirs)
    # KL(p || q), at least 0; rounding can bring 0 to -1e-17.
    kl = (log_p.exp() * (log_p - log_q)).sum(1).clamp(min=0)  # (R, V) -> (R,)
    top_p, top_q = best(ours.float(), TOP).ids, best(theirs.float(), TOP).ids  # (R, 5), fewer in a tiny vocabulary
    # (R, 5, 1) == (R, 1, 5): pairs of equal ids; ids of one side differ, so each counts once.
    shared = (top_p[:, :, None] == top_q[:, None, :]).sum((1, 2)).double() / top_p.shape[1]
    return _nats(log_p, tokens), _nats(log_q, tokens), kl, top_p[:, 0] == top_q[:, 0], shared


def _log_probabilities(logits: Tensor) -> Tensor:
    return logits.double().log_softmax(1)


def _nats(log_probabilities: Tensor, tokens: Tensor) -> Tensor:
    """Return -ln of the probability of each token: (R, V), (R,) -> (R,)."""
    return -log_probabilities.gather(1, tokens[:, None])[:, 0]


def _joined(parts: Iterable[Tensor]) -> Tensor:
    values = torch.cat([torch.empty(0, dtype=torch.float64), *parts])
    check_enough(len(values))
    return values


def _standard_error(values: Tensor) -> float:
    """Return the standard error of the mean of independent values."""
    return float(values.std() / len(values) ** 0.5)


def _quantile(ordered: Tensor, share: float) -> float:
    """Return an interpolated quantile of ascending values (N,); torch.quantile refuses more than 16 million."""
    at = share * (len(ordered) - 1)
    low = int(at)
    return float(ordered[low].lerp(ordered[min(low + 1, len(ordered) - 1)], at - low))


def _extent(tokens: Tensor, tokenizer: Tokenizer) -> tuple[int, int]:
    """Return the number of characters and UTF-8 bytes of the tokens (N,); the end of text has none."""
    characters = size = 0
    for token, count in enumerate(tokens.bincount().tolist()):
        if count and token not in tokenizer.special_ids.bounds:
            data = tokenizer.token_bytes(token)
            # Every character has one byte that is no UTF-8 continuation byte (10xxxxxx).
            characters += count * sum(byte & 0xC0 != 0x80 for byte in data)
            size += count * len(data)
    return characters, size
