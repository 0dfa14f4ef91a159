"""Step of the network by torch's operators, with the kernel of each matrix that the tuner has found to be the fastest.

B sequences, T new tokens, S tokens with those in the cache, M = B * T rows, C channels, H heads, D = C / H head width,
V vocabulary.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from models.cache import KVCache
from models.gpt import ACTIVATIONS
from models.network_weights import CPU, NetworkWeights
from models.precision import HEAD, WTE
from models.precision.matrix import Encoding, Kernel, Matrix, Parts
from models.precision.tuner import KernelTuner


@dataclass(frozen=True, slots=True)
class Layer:
    """One transformer layer: two layer norms as (weight, bias), four matrices."""

    ln_1: tuple[Tensor, Tensor | None]  # (C,) each
    c_attn: Matrix  # C -> 3C
    attn_proj: Matrix  # C -> C
    ln_2: tuple[Tensor, Tensor | None]  # (C,) each
    c_fc: Matrix  # C -> 4C
    mlp_proj: Matrix  # 4C -> C


class TorchStep:
    """Weights packed for torch's kernels, whose names are `kernels`; `memory_bytes` is what they take."""

    def __init__(self, weights: NetworkWeights, tuner: KernelTuner) -> None:
        """Read and pack all weights; ValueError if this computer has no kernel for one, and as `NetworkWeights`."""
        config = self.config = weights.config
        self.device = weights.device
        self._activation = ACTIVATIONS[config.activation]
        self._tuner = tuner
        self._matrices: list[Matrix] = []
        # the token table stays encoded and is decoded row by row; the positions are few enough to be kept as floats
        self._table = weights.precision.encoding(WTE, config), weights.parts(WTE)
        self._positions = weights.positions()  # (block_size, C)
        self._layers = [self._layer(weights, f"h.{i}") for i in range(config.n_layer)]
        self._ln_f = weights.norm("ln_f")
        self._head = self._make_head(weights)
        # rows that every kernel of the model can multiply at a time while tokens come one by one
        self._block = max(1, *(matrix.kernel.rows for matrix in self._matrices))
        # a tied head is packed beside the table, which stays to be looked up
        table = sum(part.nbytes for part in self._table[1].values())
        self.memory_bytes = table + self._positions.nbytes + sum(matrix.nbytes for matrix in self._matrices)
        self.kernels = ", ".join(dict.fromkeys(matrix.kernel.name for matrix in self._matrices))

    def __call__(self, parts: Sequence[tuple[Tensor, KVCache]], *, last_only: bool) -> list[Tensor]:
        """Return the logits (B, T, V) after each of the tokens (B, T) of each part, or (B, 1, V) after the last.

        The tokens are appended to the cache of their part; they must fit.
        """
        return [self._forward(tokens, cache, last_only=last_only) for tokens, cache in parts]

    def _forward(self, tokens: Tensor, cache: KVCache, *, last_only: bool) -> Tensor:
        """Return the logits of one part."""
        B, T = tokens.shape
        C = self.config.n_embd
        # tokens in the cache come first, so the new ones stand at the positions past to past + T
        past = cache.length
        tokens = tokens.to(self.device)
        encoding, table = self._table
        # (M,) ids -> (B, T, C), plus positions (T, C), -> (M, C): layers know rows only
        x = encoding.look_up(table, tokens.flatten()).view(B, T, C) + self._positions[past : past + T]
        x = x.view(B * T, C)
        if T == 1 and B % self._block:
            # rows of zeros are multiplied along, so that every kernel always multiplies whole blocks
            x = F.pad(x, (0, 0, 0, -B % self._block))
        mask = None
        if past and T > 1:
            # (T, S), for is_causal would align the triangle with the first key, not with the last
            mask = torch.ones(T, past + T, dtype=torch.bool, device=self.device).tril(past)
        for layer, slots in zip(self._layers, cache.slots(T), strict=True):
            x = self._run(layer, x, slots, mask)
        # only now, so that an interrupted pass leaves the cache as it was
        cache.advance(T)
        if last_only and T > 1:
            # the head is the largest matrix: of a prompt, only the last position is multiplied by it
            x = x.view(B, T, C)[:, -1]  # (B, C)
            T = 1
            if B % self._block:
                x = F.pad(x, (0, 0, 0, -B % self._block))
        # (M, C) -> (M, V), padding included -> (B, T, V)
        x = torch.layer_norm(x, (C,), *self._ln_f, self.config.layer_norm_epsilon)
        # one token at a time as always the same number of rows, so that no row's bits depend on the others
        logits = (self._head.each if T == 1 else self._head.all)(x)
        return logits[: B * T].view(B, T, -1)

    def _run(self, layer: Layer, x: Tensor, slots: tuple[Tensor, Tensor, Tensor], mask: Tensor | None) -> Tensor:
        """Return the output (M, C) of one layer for `x` (M, C); write new keys and values into `slots` of the cache."""
        # new (2, B, H, T, D) is a view of the last T positions of keys and values, (B, H, S, D) each
        new, keys, values = slots
        _, B, H, T, D = new.shape
        C, epsilon = H * D, self.config.layer_norm_epsilon
        # one token at a time, or a prompt: `each` keeps the bits of a row, `all` is faster
        single = T == 1
        # attention: (M, C) -> (M, C), added to the residual stream
        h = torch.layer_norm(x, (C,), *layer.ln_1, epsilon)
        # (M, C) -> (M, 3C): queries, keys and values side by side
        qkv = layer.c_attn.each(h) if single else layer.c_attn.all(h)
        # the rows of padding have no place in the cache
        qkv = qkv[: B * T] if len(x) != B * T else qkv
        qkv = qkv.view(B, T, 3, H, D).permute(2, 0, 3, 1, 4)  # (3, B, H, T, D)
        # now `keys` and `values` have all S positions
        new.copy_(qkv[1:])
        # one new token may look at everything; (B, H, T, D) queries on (B, H, S, D) -> (B, H, T, D)
        causal = mask is None and not single
        y = F.scaled_dot_product_attention(qkv[0], keys, values, attn_mask=mask, is_causal=causal)
        y = y.transpose(1, 2).reshape(B * T, C)  # (B, H, T, D) -> (M, C), the heads side by side again
        if len(x) != B * T:
            # the rows of padding again, as zeros
            y = F.pad(y, (0, 0, 0, len(x) - B * T))
        x = x + (layer.attn_proj.each(y) if single else layer.attn_proj.all(y))
        # MLP: (M, C) -> (M, 4C) -> (M, C), added likewise
        h = torch.layer_norm(x, (C,), *layer.ln_2, epsilon)
        h = self._activate(layer.c_fc.each(h) if single else layer.c_fc.all(h), apart=single)
        return x + (layer.mlp_proj.each(h) if single else layer.mlp_proj.all(h))

    def _activate(self, x: Tensor, *, apart: bool) -> Tensor:
        """Return the activation of `x` (M, 4C), of each row `apart` where its bits must not depend on the others."""
        if apart and len(x) > 1:
            # vectorised code rounds the last few elements of an array in another way
            return torch.cat([self._activation(row) for row in x.split(1)])
        return self._activation(x)

    def _layer(self, weights: NetworkWeights, name: str) -> Layer:
        """Return the layer of this name, "h.0"."""
        return Layer(
            weights.norm(f"{name}.ln_1"),
            self._matrix(weights, f"{name}.attn.c_attn"),
            self._matrix(weights, f"{name}.attn.c_proj"),
            weights.norm(f"{name}.ln_2"),
            self._matrix(weights, f"{name}.mlp.c_fc"),
            self._matrix(weights, f"{name}.mlp.c_proj"),
        )

    def _matrix(self, weights: NetworkWeights, name: str) -> Matrix:
        """Return the packed matrix of this name, with its bias."""
        encoding = weights.precision.encoding(name, self.config)
        return self._packed(encoding, weights.parts(name), weights.matrix_bias(name), weights.shapes[name])

    def _make_head(self, weights: NetworkWeights) -> Matrix:
        """Return the head's own matrix (V, C) or, tied, the token table packed to multiply."""
        if HEAD in weights.shapes:
            return self._matrix(weights, HEAD)
        return self._packed(*self._table, None, weights.shapes[WTE])

    def _packed(self, encoding: Encoding, parts: Parts, bias: Tensor | None, shape: tuple[int, int]) -> Matrix:
        """Return a matrix (N, K) packed for the kernel that suits it, and count it."""
        matrix = Matrix(self._kernel(encoding, shape), parts, bias, shape=shape)
        self._matrices.append(matrix)
        return matrix

    def _kernel(self, encoding: Encoding, shape: tuple[int, int]) -> Kernel:
        """Return the kernel for a matrix (N, K) on this device."""
        if self.device != CPU:
            assert encoding.device_kernel is not None, "callers choose the device by Precision.device"
            return encoding.device_kernel
        return self._tuner.kernel_for(encoding, shape, width=self.config.n_embd)
