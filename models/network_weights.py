"""Weights of a network for one precision: each read or encoded when asked for, and not kept."""

from dataclasses import dataclass, field

import torch
from torch import Tensor

from models.gpt import GPTConfig
from models.precision import HEAD, WPE, WTE, Precision
from models.precision.matrix import Parts
from models.weights import WeightSource, read_weight

CPU = torch.device("cpu")


@dataclass(frozen=True)
class NetworkWeights:
    """Weights of `source` on a device: plain float ones or, `encoded`, the parts that `precision` stores.

    Nothing read is kept here, so that no second copy of a model is ever in memory. All methods raise ValueError as
    `read_weight`.
    """

    config: GPTConfig
    precision: Precision
    source: WeightSource
    encoded: bool = False
    device: torch.device = CPU
    shapes: dict[str, tuple[int, int]] = field(init=False)  # (N, K) of each matrix

    def __post_init__(self) -> None:
        object.__setattr__(self, "shapes", self.precision.matrices(self.config))

    def parts(self, name: str) -> Parts:
        """Return the parts of a matrix (N, K), as stored or encoded from its float weights."""
        encoding, shape = self.precision.encoding(name, self.config), self.shapes[name]
        if self.encoded:
            stored = {part: shape for part, (shape, _) in encoding.stored(*shape).items()}
            parts = {part: read_weight(self.source, f"{name}.{part}", shape) for part, shape in stored.items()}
        else:
            # at a precision with a head of its own, that of a tied network is encoded from the token table
            stored_as = WTE if name == HEAD and self.config.tied else name
            weight = read_weight(self.source, f"{stored_as}.weight", shape)
            if encoding.stored(*shape) == {"weight": (shape, weight.dtype)}:
                parts = {"weight": weight}  # float weights of this very type
            else:
                parts = encoding.encode(weight.to(self.device, torch.float32))
        return {part: value.to(self.device) for part, value in parts.items()}

    def positions(self) -> Tensor:
        """Return the position embeddings (block_size, C) in float32."""
        return self.precision.encoding(WPE, self.config).decode(self.parts(WPE))

    def matrix_bias(self, name: str) -> Tensor | None:
        """Return the bias (N,) of a matrix; None for the token table, the head and a network without."""
        return None if name in (WTE, HEAD) else self._bias(name, self.shapes[name][0])

    def norm(self, name: str) -> tuple[Tensor, Tensor | None]:
        """Return the weight (C,) and bias (C,) of a layer norm; no bias for a network without."""
        C = self.config.n_embd
        return self._vector(f"{name}.weight", C), self._bias(name, C)

    def _bias(self, name: str, size: int) -> Tensor | None:
        """Return the bias (size,) of a layer, None for a network without."""
        return self._vector(f"{name}.bias", size) if self.config.bias else None

    def _vector(self, name: str, size: int) -> Tensor:
        """Return a weight (size,) as float32 on the device."""
        return read_weight(self.source, name, (size,)).to(self.device, torch.float32)
