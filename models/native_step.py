"""Step of the network by compiled code: the weights as `models.native` reads them, and what is done with its logits."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from models.cache import KVCache
from models.gpt import ACTIVATIONS
from models.native.compiled import Code
from models.native.network import NativeLayer, NativeMatrix, NativeNetwork, Rows, Shape
from models.network_weights import CPU, NetworkWeights
from models.precision import HEAD, WTE


class NativeDraw:
    """Draw of tokens from logits by compiled code, for one chain: the `steps` of it and the number of each."""

    def __init__(self, code: Code, steps: Sequence[tuple[str, float]]) -> None:
        self._draw = code.draw
        self._steps = np.array([code.draw_steps[name] for name, _ in steps], np.int64)
        self._numbers = np.array([number for _, number in steps], np.float64)

    def __call__(self, logits: Tensor, keys: Tensor) -> Tensor | None:
        """Return the ids (B,) that `samplers` draws from logits (B, V) with keys (B,); None if it has to do so."""
        drawn = np.empty(keys.shape[0], np.int64)
        self._draw(logits.contiguous().numpy(), self._steps, self._numbers, keys.contiguous().numpy(), drawn)
        return None if min(drawn.tolist()) < 0 else torch.from_numpy(drawn)


class NativeStep:
    """Weights for the compiled step, named by `kernels`; `memory_bytes` is what they take."""

    def __init__(self, weights: NetworkWeights, code: Code, *, threads: int) -> None:
        """Read all weights; ValueError as `NetworkWeights`."""
        config = self.config = weights.config
        self._code = code
        shape = Shape(
            *(config.n_layer, config.n_embd, config.inner, config.n_head, config.vocab_size, config.block_size),
            activation=list(ACTIVATIONS).index(config.activation),
            epsilon=config.layer_norm_epsilon,
        )
        self._network = NativeNetwork(
            code,
            shape,
            table=_matrix(weights, WTE),
            positions=weights.positions(),
            layers=[_layer(weights, f"h.{i}") for i in range(config.n_layer)],
            ln_f=_norm(weights, "ln_f"),
            head=_matrix(weights, HEAD) if HEAD in weights.shapes else None,
            threads=threads,
        )
        self.memory_bytes = self._network.nbytes
        self.kernels = f"compiled {weights.precision.name}"

    def draw(self, steps: Sequence[tuple[str, float]]) -> NativeDraw | None:
        """Return the draw for a chain, by the name and the number of each sampler; None if there is none for it."""
        known = all(name in self._code.draw_steps for name, _ in steps)
        return NativeDraw(self._code, steps) if known else None

    def log_normalizers(self, logits: Tensor) -> Tensor:
        """Return log(sum(exp(x))) of each row x of logits (R, V): (R,) float64."""
        found = np.empty(len(logits))
        self._code.log_normalizers(logits.contiguous().numpy(), found)
        return torch.from_numpy(found)

    def __call__(self, parts: Sequence[tuple[Tensor, KVCache]], *, last_only: bool) -> list[Tensor]:
        """Return the logits (B, T, V) after each of the tokens (B, T) of each part, or (B, 1, V) after the last.

        The tokens are appended to the cache of their part; they must fit. The weights are read once for all parts, and
        each part has the bits that it has alone. Raises IndexError for a token outside the vocabulary.
        """
        logits = self._network([_rows(*part) for part in parts], last_only=last_only)  # (rows wanted, V)
        for tokens, cache in parts:
            cache.advance(tokens.shape[1])
        if len(parts) == 1:
            return [logits.view(len(parts[0][0]), -1, self.config.vocab_size)]
        counts = [len(tokens) if last_only else tokens.numel() for tokens, _ in parts]
        split = zip(logits.split(counts), parts, strict=True)
        return [rows.view(len(tokens), -1, self.config.vocab_size) for rows, (tokens, _) in split]


def _rows(tokens: Tensor, cache: KVCache) -> Rows:
    """Return tokens (B, T) and the cache that they continue."""
    return Rows(tokens.to(CPU, torch.int64), cache.length, cache.store)


def _layer(weights: NetworkWeights, name: str) -> NativeLayer:
    """Return the layer of this name, "h.0"."""
    return NativeLayer(
        _matrix(weights, f"{name}.attn.c_attn"),
        _matrix(weights, f"{name}.attn.c_proj"),
        _matrix(weights, f"{name}.mlp.c_fc"),
        _matrix(weights, f"{name}.mlp.c_proj"),
        _norm(weights, f"{name}.ln_1"),
        _norm(weights, f"{name}.ln_2"),
    )


def _matrix(weights: NetworkWeights, name: str) -> NativeMatrix:
    """Return the matrix of this name, with its bias."""
    return NativeMatrix.of(weights.parts(name), weights.matrix_bias(name))


def _norm(weights: NetworkWeights, name: str) -> tuple[Tensor, Tensor]:
    """Return the weight (C,) of a layer norm, and its bias (C,), zeros for a network without."""
    weight, bias = weights.norm(name)
    bias = torch.zeros_like(weight) if bias is None else bias
    return weight.contiguous(), bias.contiguous()
