"""Effect of a faded head or layer: the KL divergence at each position, and two texts drawn with the same noise."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from gptdesk.anatomy.network import GivenTokens, LentNetwork
from gptdesk.anatomy.passes import Fade, Past, last_stream, logits_of
from samplers import Chain

MOST_NEW = 60  # tokens of the texts


@dataclass(frozen=True)
class FadedText:
    """Texts so far: the tokens after those given, unfaded and faded."""

    divergence: tuple[float, ...]  # KL from the unfaded distribution after each given token to the faded one, nats
    plain: tuple[int, ...]
    faded: tuple[int, ...]

    @property
    def parting(self) -> int | None:
        """Index of the first token that differs; None if none does so far."""
        pairs = zip(self.plain, self.faded, strict=False)
        return next((i for i, (one, other) in enumerate(pairs) if one != other), None)


@dataclass(frozen=True)
class CoupledTexts:
    """Texts so far, drawn with the same noise: the tokens after those given, for each fade."""

    rows: tuple[tuple[int, ...], ...]
    divergence: tuple[tuple[float, ...], ...]  # KL from the first row's distribution after each given token, nats


def fade_texts(
    lent: LentNetwork, given: GivenTokens, fade: Fade, *, chain: Chain, seed: int, new_tokens: int = MOST_NEW
) -> Iterator[FadedText]:
    """Yield the text without and with a fade, as `coupled_texts`, from the divergence alone on."""
    for texts in coupled_texts(lent, given, (None, fade), chain=chain, seed=seed, new_tokens=new_tokens):
        yield FadedText(texts.divergence[1], *texts.rows)


def coupled_texts(
    lent: LentNetwork,
    given: GivenTokens,
    fades: Sequence[Fade | None],
    *,
    chain: Chain,
    seed: int,
    new_tokens: int = MOST_NEW,
) -> Iterator[CoupledTexts]:
    """Yield texts as they grow, one for each fade; each ends with a token that ends a text.

    All are drawn with the noise that Generate has for this seed, so that they differ by the fades alone.
    Raises ValueError for a layer or head that is not there, and for unusable logits.
    """
    for fade in fades:
        if fade:
            fade.check(lent.network)
    yield from _coupled_texts(lent, given, fades, chain=chain, seed=seed, new_tokens=new_tokens)


@torch.inference_mode()
def _coupled_texts(
    lent: LentNetwork, given: GivenTokens, fades: Sequence[Fade | None], *, chain: Chain, seed: int, new_tokens: int
) -> Iterator[CoupledTexts]:
    network, ends = lent.network, frozenset(lent.tokenizer.special_ids.eos)
    # a row for each fade: (B, T)
    text = given.tensor.repeat(len(fades), 1)
    past = Past()
    logits = logits_of(network, last_stream(network, text, past=past, fades=fades))
    if not logits.isfinite().all():
        raise ValueError("the model gives no usable prediction: some of its logits are not finite")
    divergence = tuple(tuple(divergences(logits[0], row).tolist()) for row in logits)
    written: list[list[int]] = [[] for _ in fades]
    yield CoupledTexts(tuple(map(tuple, written)), divergence)
    draws = [chain.start(seed=seed) for _ in fades]
    for _ in range(min(new_tokens, network.config.block_size - text.shape[1])):
        # each row has the noise of the first row of a generation: (1, V), (1, T) -> (1,)
        drawn = [draw(logits[i : i + 1, -1], text[i : i + 1]) for i, draw in enumerate(draws)]
        following = torch.stack(drawn)  # (B, 1)
        for tokens, token in zip(written, following[:, 0].tolist(), strict=True):
            if not tokens or tokens[-1] not in ends:
                tokens.append(token)
        yield CoupledTexts(tuple(map(tuple, written)), divergence)
        if all(tokens[-1] in ends for tokens in written):
            return
        text = torch.cat((text, following), dim=1)
        # (B, 1) -> (B, 1, V)
        logits = logits_of(network, last_stream(network, following, past=past, fades=fades))


def divergences(plain: Tensor, changed: Tensor) -> Tensor:
    """Return the KL divergence in nats from each row of logits (T, V) to that of changed ones, at least 0: (T,)."""
    before, after = plain.double().log_softmax(1), changed.double().log_softmax(1)
    return (before.exp() * (before - after)).sum(dim=1).clamp_min(0)
