"""Next token of a prompt: its distribution under the model, and after every sampler of a chain."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor

from models.cache import KVCache
from models.manager import LoadedModel
from models.prefix import Prefix
from models.tokenizer import Tokenizer
from samplers import Chain
from samplers.ranking import best

MOST_LISTED = 100  # tokens
MOST_FOUND = 10  # tokens that a search lists
LONGEST_ID = 20  # digits of a token id in a search; Python reads at most 4,300


@dataclass(frozen=True)
class NextToken:
    """Candidate for the next token."""

    token: int
    logprob: float  # under the raw model, nats
    probabilities: tuple[float, ...]  # under the model, then after every sampler; 0: cut by it or before

    @property
    def cut_by(self) -> int | None:
        """Index of the link that cut the token; None if it is kept, or has probability 0 under the model itself."""
        zeros = [i for i, share in enumerate(self.probabilities) if share == 0]
        return zeros[0] if zeros and zeros[0] > 0 else None


@dataclass(frozen=True)
class NextTokens:
    """Distribution of the next token."""

    links: tuple[str, ...]  # "model", then the samplers in their order
    entropy: tuple[float, ...]  # after each link, nats
    kept: tuple[int, ...]  # tokens with a probability above 0 after each link
    tokens: tuple[NextToken, ...]  # the most probable under the model, the best first


@dataclass(frozen=True)
class NextTokenTable:
    """Distribution of the next token, with the probability that each link removes and with tokens that were asked for.

    `removed` has one share for each link: of the distribution before it, what the tokens held that it cuts.
    """

    distribution: NextTokens
    removed: tuple[float, ...]
    asked: tuple[NextToken, ...]


def next_tokens(loaded: LoadedModel, tokens: Sequence[int], chain: Chain, *, top: int) -> NextTokens:
    """Return the `top` most probable tokens after these, and what each sampler makes of them.

    Raises ValueError if the tokens do not fit the context, or for unusable logits.
    """
    return table(logits_after(loaded, tokens), tokens, chain, top=top).distribution


def logits_after(loaded: LoadedModel, tokens: Sequence[int]) -> Tensor:
    """Return the logits (1, V) float32 of the token after these, bit-exact as a generation computes them.

    What the prefix cache knows of them is not read again. Raises ValueError if they do not fit the context, or for
    logits that are not finite.
    """
    logits, _ = read_tokens(loaded, torch.tensor(tokens, dtype=torch.int64), capacity=len(tokens))
    return logits


@torch.inference_mode()
def read_tokens(loaded: LoadedModel, tokens: Tensor, *, capacity: int) -> tuple[Tensor, KVCache]:
    """Return the logits (1, V) of `logits_after` for tokens (T,), and their KV cache with room for `capacity` in all.

    Raises ValueError as `logits_after`.
    """
    engine, context = loaded.model, loaded.config.block_size
    if not 0 < len(tokens) <= capacity <= context:
        raise ValueError(f"{capacity:,} tokens do not fit the context of {context:,}; shorten the prompt")
    known = loaded.prefixes.find(tokens, chunk=engine.chunk, capacity=capacity)
    known = known or Prefix(KVCache(loaded.config, capacity=capacity, device=engine.device), None)
    logits = known.logits
    if logits is None:
        for chunk in tokens[None, known.cache.length :].split(engine.chunk, dim=1):
            # (1, t) -> (1, V)
            logits = engine(chunk, known.cache, last_only=True)[:, -1]
        assert logits is not None
        loaded.prefixes.keep(tokens, known.cache, logits)
    logits = logits.float().cpu()
    if not logits.isfinite().all():
        raise ValueError("the model gives no usable prediction: some of its logits are not finite")
    return logits, known.cache


@torch.inference_mode()
def table(
    logits: Tensor, tokens: Sequence[int], chain: Chain, *, top: int, asked: Iterable[int] = ()
) -> NextTokenTable:
    """Return the distribution that logits (1, V) give after `tokens`, and what each sampler makes of it.

    It lists the `top` most probable tokens, and those `asked` for by id. No forward pass of the model is needed.
    Raises ValueError for an id outside the vocabulary, and as `Chain.explain`.
    """
    size = logits.shape[1]
    ids = list(dict.fromkeys(asked))
    if any(not 0 <= token < size for token in ids):
        raise ValueError(f"the model knows token ids from 0 to {size - 1:,}; choose one of them")
    links = chain.explain(logits, torch.tensor(tokens, dtype=torch.int64)[None])
    distributions = [link.probabilities[0] for link in links]  # (V,) each
    logprobs = logits[0].log_softmax(0)  # (V,)

    def listed(ids: Sequence[int]) -> tuple[NextToken, ...]:
        # (links, ids) -> the columns of each id
        columns = torch.stack([one[list(ids)] for one in distributions]).T.tolist() if ids else []
        return tuple(
            NextToken(token, float(logprobs[token]), tuple(column)) for token, column in zip(ids, columns, strict=True)
        )

    distribution = NextTokens(
        links=tuple(link.name for link in links),
        entropy=tuple(float(torch.special.entr(one).sum()) for one in distributions),
        kept=tuple(int((one > 0).sum()) for one in distributions),
        tokens=listed(best(logits, min(top, size)).ids[0].tolist()),
    )
    # what was cut had a share of the distribution before
    removed = [float((before * (after == 0)).sum()) for before, after in pairwise(distributions)]
    return NextTokenTable(distribution, (0.0, *removed), listed(ids))


def find_tokens(tokenizer: Tokenizer, query: str) -> list[int]:
    """Return ids by an id or by text: exact matches first, then texts that begin with it or contain it.

    At most MOST_FOUND; outer spaces of the query count unless nothing matches with them.
    """
    digits = query.strip()
    if digits.isdecimal() and len(digits) <= LONGEST_ID and int(digits) < tokenizer.vocab_size:
        return [int(digits)]
    found: list[int] = []
    for wanted in dict.fromkeys((query.encode(), query.strip().encode())):
        if not wanted or found:
            continue
        texts = {token: tokenizer.token_bytes(token) for token in range(tokenizer.vocab_size)}
        having = [token for token, text in texts.items() if wanted in text]
        # the nearest to the query: itself, with a space before it, its beginnings, then the rest by length
        having.sort(
            key=lambda token: (
                texts[token] != wanted,
                texts[token].strip() != wanted,
                not texts[token].startswith(wanted),
                len(texts[token]),
                token,
            )
        )
        found = having[:MOST_FOUND]
    return found
