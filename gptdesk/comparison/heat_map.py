"""Token heat map: KL divergence of two models at each token of a text, and the most likely tokens of both."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from gptdesk.comparison.divergence import same_vocabulary, token_text
from gptdesk.comparison.quality import OTHER_TOKENS, not_by_token
from gptdesk.evaluation import ROWS, TOP
from gptdesk.text_windows import text_windows
from models.manager import ModelKey, ModelManager
from models.tokenizer import Tokenizer
from samplers.ranking import best

Expected = tuple[tuple[str, float], ...]  # the most likely tokens, as text, with their probabilities


@dataclass(frozen=True)
class HeatMapToken:
    """A token of the text, with both models' predictions of it; `kl` is KL(reference || candidate) in nats."""

    text: str
    kl: float
    reference: float  # probability of this very token
    candidate: float
    reference_top: Expected
    candidate_top: Expected


@dataclass(frozen=True)
class HeatMap:
    """Heat map of window `number` (from 0) `of` the text; `first` is its first token, which has no prediction."""

    number: int
    of: int
    first: str
    tokens: tuple[HeatMapToken, ...]


def heat_map(
    manager: ModelManager, keys: tuple[ModelKey, ModelKey], text: str, *, number: int = 0, longest: int = 256
) -> HeatMap:
    """Return the heat map of window `number` of `text` for a reference and a candidate, at most `longest` tokens.

    Raises ValueError if there is no such window, if the models cannot be compared by tokens, and as `lend`.
    """
    ours, theirs = (manager.library.tokenizer(key.name) for key in keys)
    if not same_vocabulary(ours, theirs):
        raise ValueError(OTHER_TOKENS)
    if note := not_by_token(manager, keys):
        raise ValueError(f"the models are not compared token by token: {note}")
    context = min(longest, *(manager.library.info(key.name).context for key in keys))
    rows = text_windows(text, ours, context=context)
    if not 0 <= number < len(rows):
        raise ValueError(f"the text has the parts 1 to {len(rows)}, not {number + 1}")
    row = rows[number]
    with manager.lend(keys[0]) as reference, manager.lend(keys[1]) as candidate, torch.inference_mode():
        logits = [loaded.model(row[None, :-1])[0].cpu() for loaded in (reference, candidate)]  # (T, V) each
    tokens = [
        token
        for p, q, ids in zip(*(part.split(ROWS) for part in (*logits, row[1:])), strict=True)
        for token in _rows(p, q, ids, ours)
    ]
    return HeatMap(number, len(rows), token_text(int(row[0]), ours), tuple(tokens))


def _rows(p: Tensor, q: Tensor, ids: Tensor, tokenizer: Tokenizer) -> list[HeatMapToken]:
    """Return the tokens `ids` (R,), predicted by two models' logits (R, V)."""
    log_p, log_q = p.double().log_softmax(1), q.double().log_softmax(1)
    kl = (log_p.exp() * (log_p - log_q)).sum(1).clamp(min=0)
    tops = [_most_likely(log, tokenizer) for log in (log_p, log_q)]
    own = [log.gather(1, ids[:, None])[:, 0].exp().tolist() for log in (log_p, log_q)]
    columns = zip(ids.tolist(), kl.tolist(), *own, *tops, strict=True)
    return [HeatMapToken(token_text(token, tokenizer), *rest) for token, *rest in columns]


def _most_likely(log_probabilities: Tensor, tokenizer: Tokenizer) -> Sequence[Expected]:
    """Return the TOP most likely tokens of each row (R, V)."""
    top = best(log_probabilities, TOP).ids  # (R, 5)
    likely = log_probabilities.gather(1, top).exp()
    return [
        tuple((token_text(token, tokenizer), p) for token, p in zip(*row, strict=True))
        for row in zip(top.tolist(), likely.tolist(), strict=True)
    ]
