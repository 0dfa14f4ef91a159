"""Attention of every head, and the logit lens: what each layer would have predicted at each position."""

from dataclasses import dataclass

import torch
from torch import Tensor

from gptdesk.anatomy.network import GivenTokens, LentNetwork
from gptdesk.anatomy.passes import layer_outputs, logits_of


@dataclass(frozen=True)
class Prediction:
    """The likeliest next token after a layer, and its probability."""

    token: int
    probability: float


@dataclass(frozen=True, eq=False)
class InsideView:
    """A text as the layers of a network see it."""

    tokens: tuple[int, ...]  # T
    attention: Tensor  # (L, H, T, T) float32, rows sum to 1
    lens: tuple[tuple[Prediction, ...], ...]  # of the embedding and of each layer, L + 1 times T


@torch.inference_mode()
def look_inside(lent: LentNetwork, given: GivenTokens) -> InsideView:
    """Return the attention and the predictions of every layer for these tokens.

    The logit lens (nostalgebraist 2020) puts the residual stream of each layer through the last layer norm and the
    head. Raises ValueError where the network's numbers are not finite.
    """
    network = lent.network
    attention, lens = [], []
    for output in layer_outputs(network, given.tensor):
        # (T, C) -> (T, V) -> two of (T,)
        best = logits_of(network, output.stream[0]).softmax(dim=1).max(dim=1)
        if not best.values.isfinite().all():
            raise ValueError("the model gives no usable prediction: some of its logits are not finite")
        lens.append(tuple(map(Prediction, best.indices.tolist(), best.values.tolist())))
        if output.attention is not None:
            attention.append(output.attention[0])
    return InsideView(given.ids, torch.stack(attention).clone(), tuple(lens))
