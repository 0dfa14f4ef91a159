"""Pass through a network layer by layer: attention weights, the residual stream, and parts that are faded."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from models.gpt import GPT, Attention, Block


@dataclass(frozen=True)
class Fade:
    """A part of a network whose output is multiplied by a factor; raises ValueError for a factor outside 0 to 1."""

    layer: int  # from 0
    head: int | None  # from 0; None: the whole layer, its MLP included
    factor: float  # 1: as it is, 0: without it

    def __post_init__(self) -> None:
        if not 0 <= self.factor <= 1:
            raise ValueError(f"the factor must be from 0 to 1, not {self.factor}")

    def check(self, network: GPT) -> None:
        """Raise ValueError if the network has no such layer or head."""
        config = network.config
        if not 0 <= self.layer < config.n_layer:
            raise ValueError(f"the layer must be from 1 to {config.n_layer}, not {self.layer + 1}")
        if self.head is not None and not 0 <= self.head < config.n_head:
            raise ValueError(f"the head must be from 1 to {config.n_head}, not {self.head + 1}")


@dataclass(frozen=True, eq=False)
class LayerOutput:
    """Residual stream after a layer, and the attention in it; the first one is the embedding, without attention."""

    stream: Tensor  # (B, T, C)
    attention: Tensor | None  # (B, H, T, T + tokens before), rows sum to 1


@dataclass
class Past:
    """Keys and values of the tokens read before, of each layer: (B, H, T, D) each."""

    keys: list[Tensor] = field(default_factory=list)
    values: list[Tensor] = field(default_factory=list)

    @property
    def length(self) -> int:
        """Tokens read before."""
        return self.keys[0].shape[2] if self.keys else 0

    def extend(self, layer: int, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        """Append the keys and values of new tokens to those of a layer, and return all of them."""
        if layer == len(self.keys):
            self.keys.append(k)
            self.values.append(v)
        else:
            self.keys[layer] = torch.cat((self.keys[layer], k), dim=2)
            self.values[layer] = torch.cat((self.values[layer], v), dim=2)
        return self.keys[layer], self.values[layer]


def layer_outputs(
    network: GPT, tokens: Tensor, *, past: Past | None = None, fades: Sequence[Fade | None] = ()
) -> Iterator[LayerOutput]:
    """Yield the embedding of tokens (B, T), then the output of each layer.

    `past` is read, and extended by these tokens. `fades` are those of each row; without any, nothing is faded.
    Raises ValueError beyond the context.
    """
    past = past or Past()
    begin, T = past.length, tokens.shape[1]
    if begin + T > network.config.block_size:
        raise ValueError(f"{begin + T} tokens do not fit the model's context of {network.config.block_size}")
    # (B, T, C) + (T, C)
    x = network.wte(tokens) + network.wpe.weight[begin : begin + T]
    yield LayerOutput(x, None)
    for layer, block in enumerate(network.h):
        assert isinstance(block, Block)
        part, weights = _attend(block.attn, block.ln_1(x), layer, past, _head_factors(network, fades, layer))
        # (B, 1, 1): both parts of a faded layer
        factor = _layer_factors(fades, layer)
        x = x + factor * part
        x = x + factor * block.mlp(block.ln_2(x))
        yield LayerOutput(x, weights)


def logits_of(network: GPT, stream: Tensor) -> Tensor:
    """Return the logits (..., V) that the residual stream (..., C) of any layer gives by the last norm and the head."""
    head = network.wte if network.lm_head is None else network.lm_head
    return torch.nn.functional.linear(network.ln_f(stream), head.weight)


def last_stream(network: GPT, tokens: Tensor, *, past: Past | None = None, fades: Sequence[Fade | None] = ()) -> Tensor:
    """Return the residual stream (B, T, C) after the last layer, as `layer_outputs`."""
    *_, last = layer_outputs(network, tokens, past=past, fades=fades)
    return last.stream


def _attend(attention: Attention, x: Tensor, layer: int, past: Past, factors: Tensor) -> tuple[Tensor, Tensor]:
    """Return what the heads add (B, T, C), each times its factor (B, H, 1, 1), and their weights (B, H, T, S)."""
    B, T, C = x.shape
    D = C // attention.n_head
    # (B, T, 3C) -> (B, H, T, D) each
    q, k, v = (part.view(B, T, attention.n_head, D).transpose(1, 2) for part in attention.c_attn(x).split(C, dim=2))
    # with those before: (B, H, S, D)
    k, v = past.extend(layer, k, v)
    S = k.shape[2]
    # (B, H, T, D) x (B, H, D, S) -> (B, H, T, S)
    scores = q @ k.transpose(2, 3) / math.sqrt(D)
    # a token sees itself and those before it
    later = torch.ones(T, S, dtype=torch.bool).triu(diagonal=S - T + 1)
    weights = scores.masked_fill(later, -math.inf).softmax(dim=3)
    # (B, H, T, S) x (B, H, S, D) -> (B, T, C), the heads side by side
    heads = (factors * (weights @ v)).transpose(1, 2).reshape(B, T, C)
    return attention.c_proj(heads), weights


def _head_factors(network: GPT, fades: Sequence[Fade | None], layer: int) -> Tensor:
    """Return the factor of each head of a layer: (B, H, 1, 1), or (1, H, 1, 1) where nothing is faded."""
    factors = torch.ones(max(1, len(fades)), network.config.n_head, 1, 1)
    for row, fade in enumerate(fades):
        if fade and fade.layer == layer and fade.head is not None:
            factors[row, fade.head] = fade.factor
    return factors


def _layer_factors(fades: Sequence[Fade | None], layer: int) -> Tensor:
    """Return the factor of a whole layer: (B, 1, 1), or (1, 1, 1) where nothing is faded."""
    faded = [fade.factor if fade and fade.layer == layer and fade.head is None else 1.0 for fade in fades]
    return torch.tensor(faded or [1.0])[:, None, None]
