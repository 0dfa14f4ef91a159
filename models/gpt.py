"""GPT-2 network to read and to train: configuration, presets and the model itself.

`models.engine` runs it. B batch, T tokens, L layers, C channels, H heads, D = C / H head width, V vocabulary. The names
of the modules are those of the published GPT-2 (Radford et al. 2019), so its weights map one to one.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from models.gelu import gelu
from models.loss import linear_cross_entropy

# our names -> torch's `approximate`
GELU = {"gelu_tanh": "tanh", "gelu_erf": "none"}
# all activations by our names; GPT-2's own are the first two
ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    **{name: partial(F.gelu, approximate=approximate) for name, approximate in GELU.items()},
    "gelu_quick": lambda x: x * torch.sigmoid(1.702 * x),
    "relu": F.relu,
    "silu": F.silu,
}
LIMITS = {"vocab_size": 1_000_000, "block_size": 131_072, "n_layer": 1_000, "n_head": 1_024, "n_embd": 65_536}
MOST_INNER = 4 * LIMITS["n_embd"]
# tokens, beyond which the logits of a batch are not in memory all at once
LARGE_VOCABULARY = 8_192


@dataclass(frozen=True)
class GPTConfig:
    """The shape of a network; raises ValueError for values no network can have."""

    vocab_size: int
    block_size: int
    n_layer: int
    n_head: int
    n_embd: int
    dropout: float = 0.0  # used while training only
    bias: bool = True  # in every linear layer and layer norm
    # "gelu_tanh" is what GPT-2 was trained with, "gelu_erf" the exact function
    activation: Literal["gelu_tanh", "gelu_erf", "gelu_quick", "relu", "silu"] = "gelu_tanh"
    tied: bool = True  # the output head is the token embedding
    layer_norm_epsilon: float = 1e-5
    n_inner: int | None = None  # channels inside an MLP; None: 4 * n_embd

    def __post_init__(self) -> None:
        for name, limit in LIMITS.items():
            value = getattr(self, name)
            if type(value) is not int or not 1 <= value <= limit:
                raise ValueError(f"{name} must be a whole number from 1 to {limit}, not {value!r}")
        if self.n_embd % self.n_head:
            raise ValueError(f"n_embd must be a multiple of n_head, but {self.n_embd} is not one of {self.n_head}")
        if not _is_number(self.dropout) or not 0 <= self.dropout < 1:
            raise ValueError(f"dropout must be at least 0 and less than 1, not {self.dropout!r}")
        if not _is_number(self.layer_norm_epsilon) or not 0 < self.layer_norm_epsilon < 1:
            raise ValueError(f"layer_norm_epsilon must lie between 0 and 1, not {self.layer_norm_epsilon!r}")
        if self.n_inner is not None and (type(self.n_inner) is not int or not 1 <= self.n_inner <= MOST_INNER):
            raise ValueError(f"n_inner must be a whole number from 1 to {MOST_INNER}, not {self.n_inner!r}")
        if self.activation not in ACTIVATIONS:
            raise ValueError(f"activation must be one of {', '.join(ACTIVATIONS)}, not {self.activation!r}")
        for name in ("bias", "tied"):
            if type(getattr(self, name)) is not bool:
                raise ValueError(f"{name} must be true or false, not {getattr(self, name)!r}")

    @property
    def inner(self) -> int:
        """Channels inside an MLP."""
        return self.n_inner or 4 * self.n_embd

    def parameters(self) -> int:
        """Return the number of parameters; a tied head counts once."""
        C, L, inner = self.n_embd, self.n_layer, self.inner
        embeddings = (self.vocab_size * (1 if self.tied else 2) + self.block_size) * C
        # of a block: matrices (3C, C), (C, C), (inner, C), (C, inner), their biases, and two layer norms
        block = (4 * C + 2 * inner) * C + (9 * C + inner if self.bias else 2 * C)
        # and the last layer norm
        return embeddings + L * block + (2 * C if self.bias else C)


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _laptop(n_layer: int, n_head: int, n_embd: int) -> GPTConfig:
    return GPTConfig(vocab_size=2048, block_size=256, n_layer=n_layer, n_head=n_head, n_embd=n_embd)


def _gpt2(n_layer: int, n_head: int, n_embd: int) -> GPTConfig:
    return GPTConfig(vocab_size=50257, block_size=1024, n_layer=n_layer, n_head=n_head, n_embd=n_embd)


PRESETS: dict[str, GPTConfig] = {
    "tiny": _laptop(2, 2, 64),  #               247,552 parameters: seconds to train, for tests and first steps
    "mini": _laptop(4, 4, 128),  #            1,088,256
    "small": _laptop(6, 6, 192),  #           3,111,936
    "base": _laptop(8, 8, 256),  #            6,908,416
    "gpt2": _gpt2(12, 12, 768),  #          124,439,808
    "gpt2-medium": _gpt2(24, 16, 1024),  #  354,823,168
    "gpt2-large": _gpt2(36, 20, 1280),  #   774,030,080
    "gpt2-xl": _gpt2(48, 25, 1600),  #    1,557,611,200
}


class Attention(nn.Module):
    """Causal multi-head self-attention (Vaswani et al. 2017)."""

    def __init__(self, config: GPTConfig) -> None:
        super().__init__()
        self.n_head = config.n_head
        self.c_attn = nn.Linear(config.n_embd, 3 * config.n_embd, bias=config.bias)
        self.c_proj = nn.Linear(config.n_embd, config.n_embd, bias=config.bias)
        self.dropout = config.dropout

    def forward(self, x: Tensor) -> Tensor:
        B, T, C = x.shape
        # queries, keys and values from one matrix: (B, T, C) -> (B, T, 3C) -> (B, T, C) each
        parts = self.c_attn(x).split(C, dim=2)
        # (B, T, C) -> (B, H, T, D) each
        q, k, v = (part.view(B, T, self.n_head, C // self.n_head).transpose(1, 2) for part in parts)
        # softmax(q k^T / sqrt(D)) v over the positions up to each one's own: (B, H, T, D)
        y = F.scaled_dot_product_attention(q, k, v, dropout_p=self.dropout if self.training else 0.0, is_causal=True)
        # the heads side by side again: (B, H, T, D) -> (B, T, C)
        y = self.c_proj(y.transpose(1, 2).reshape(B, T, C))
        return F.dropout(y, self.dropout, self.training)


class MLP(nn.Module):
    """Two linear layers with an activation between them, in GPT-2 a GELU (Hendrycks and Gimpel 2016), wider inside."""

    def __init__(self, config: GPTConfig) -> None:
        super().__init__()
        self.c_fc = nn.Linear(config.n_embd, config.inner, bias=config.bias)
        self.c_proj = nn.Linear(config.inner, config.n_embd, bias=config.bias)
        self.activation = config.activation
        self.dropout = config.dropout

    def forward(self, x: Tensor) -> Tensor:
        # (B, T, C) -> (B, T, 4C) -> (B, T, C)
        x = self.c_fc(x)
        x = gelu(x, GELU[self.activation]) if self.activation in GELU else ACTIVATIONS[self.activation](x)
        return F.dropout(self.c_proj(x), self.dropout, self.training)


class Block(nn.Module):
    """One transformer layer: attention mixes positions, the MLP mixes channels, both add to the residual stream."""

    def __init__(self, config: GPTConfig) -> None:
        super().__init__()
        self.ln_1 = nn.LayerNorm(config.n_embd, eps=config.layer_norm_epsilon, bias=config.bias)
        self.attn = Attention(config)
        self.ln_2 = nn.LayerNorm(config.n_embd, eps=config.layer_norm_epsilon, bias=config.bias)
        self.mlp = MLP(config)

    def forward(self, x: Tensor) -> Tensor:
        # (B, T, C) all along; the layer norms come before each part ("pre-norm"), as in GPT-2
        x = x + self.attn(self.ln_1(x))
        return x + self.mlp(self.ln_2(x))


class GPT(nn.Module):
    """Network from tokens (B, T) to the logits (B, T, V) of the token after each of them."""

    def __init__(self, config: GPTConfig) -> None:
        super().__init__()
        self.config = config
        self.wte = nn.Embedding(config.vocab_size, config.n_embd)
        self.wpe = nn.Embedding(config.block_size, config.n_embd)
        self.h = nn.ModuleList(Block(config) for _ in range(config.n_layer))
        self.ln_f = nn.LayerNorm(config.n_embd, eps=config.layer_norm_epsilon, bias=config.bias)
        # tied, the head is wte itself: there is no matrix of its own to train or to store
        self.lm_head: nn.Linear | None = None
        if not config.tied:
            self.lm_head = nn.Linear(config.n_embd, config.vocab_size, bias=False)
        self._initialise()

    def _initialise(self) -> None:
        """Set the weights as GPT-2 does: normal, with zero biases."""
        for name, parameter in self.named_parameters():
            # each block adds to the residual stream twice: smaller by sqrt(2 L), its variance does not grow with L
            if name.endswith("c_proj.weight"):
                nn.init.normal_(parameter, std=0.02 / math.sqrt(2 * self.config.n_layer))
            elif parameter.ndim == 2:
                nn.init.normal_(parameter, std=0.02)
            # the weights of layer norms are ones already
            elif name.endswith("bias"):
                nn.init.zeros_(parameter)

    def forward(self, tokens: Tensor) -> Tensor:
        """Return logits (B, T, V) of the token after each of `tokens` (B, T); ValueError beyond the context."""
        return self._logits(self._hidden(tokens))

    def loss(self, tokens: Tensor, targets: Tensor) -> Tensor:
        """Return the mean cross-entropy in nats of `targets` (B, T), each the token after one of `tokens` (B, T).

        A target of -100 is skipped.
        """
        # (B, T) -> (B, T, C) -> (B * T, C)
        x = self._hidden(tokens).flatten(0, 1)
        # (B * T, V) logits of 50,257 tokens would take most of the memory of a step
        if self.config.vocab_size > LARGE_VOCABULARY:
            head = self.wte if self.lm_head is None else self.lm_head
            return linear_cross_entropy(x, head.weight, targets.flatten())
        return F.cross_entropy(self._logits(x), targets.flatten())

    def _logits(self, x: Tensor) -> Tensor:
        """Return logits (..., V) of the last layer's output (..., C)."""
        return F.linear(x, self.wte.weight) if self.lm_head is None else self.lm_head(x)

    def _hidden(self, tokens: Tensor) -> Tensor:
        """Return the output (B, T, C) of the last layer norm for `tokens` (B, T)."""
        if tokens.ndim != 2 or not tokens.numel():
            raise ValueError(f"tokens must have the shape (B, T) with at least one token, not {tuple(tokens.shape)}")
        T = tokens.shape[1]
        if self.config.block_size < T:
            raise ValueError(f"{T} tokens do not fit the model's context of {self.config.block_size}")
        # (B, T, C) + (T, C)
        x = self.wte(tokens) + self.wpe.weight[:T]
        x = F.dropout(x, self.config.dropout, self.training)
        # (B, T, C) -> (B, T, C) through every block
        for block in self.h:
            x = block(x)
        normed: Tensor = self.ln_f(x)
        return normed
