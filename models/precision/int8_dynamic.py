"""int8-dynamic precision: every nn.Linear as `torch.ao.quantization.quantize_dynamic` makes it, as in the tutorials.

One scale for a whole matrix (files quantized by channel have one for each row), inputs quantized over a whole prompt or
batch at once, and a table of embeddings in float32 beside an output head of its own: larger and coarser than `int8`,
here to be compared with it.
"""

import torch
from torch import Tensor

from models.precision import int8
from models.precision.int8 import fbgemm, no_fbgemm
from models.precision.matrix import Encoding, Kernel, Parts, Product


def encode(weight: Tensor) -> Parts:
    """Round to whole multiples of one scale: (N, K) -> int8 (N, K) and float32 (1,)."""
    # as torch's default observer does: the largest magnitude becomes 127.5 steps
    scale = (weight.abs().amax() / 127.5).clamp_(min=torch.finfo(torch.float32).eps).reshape(1)
    whole = (weight * scale.reciprocal()).round_().clamp_(-128, 127)
    return {"weight": whole.to(torch.int8), "scale": scale}


def decode(parts: Parts) -> Tensor:
    """Return the matrix (N, K) in float32."""
    # scales (1,) or (N,)
    return parts["weight"] * parts["scale"][:, None]


def quantized_tensor(parts: Parts) -> Tensor:
    """Return the matrix (N, K) as the tensor that torch quantizes to, with its scale (1,) or scales (N,)."""
    weight, scale = parts["weight"], parts["scale"]
    if scale.shape == (1,):
        return torch._make_per_tensor_quantized_tensor(weight, scale.item(), 0)
    return torch._make_per_channel_quantized_tensor(weight, scale.double(), torch.zeros(len(scale)).long(), 0)


def _dynamic(parts: Parts, bias: Tensor | None) -> Product:
    # the bias (N,) is packed along and added in float32
    with fbgemm():
        packed = torch.ops.quantized.linear_prepack(quantized_tensor(parts), bias)
    # (M, K) -> (M, N)
    multiply = torch.ops.quantized.linear_dynamic
    N = len(parts["weight"])

    def product(x: Tensor) -> Tensor:
        try:
            # (M, K) -> (M, N), the range of inputs found over all rows; True: 7 bits, which cannot overflow
            return multiply(x, packed, True)
        except RuntimeError:
            if torch.isfinite(x).all():
                raise
            # it finds no range in NaN, where every other kernel gives NaN again
            return x.new_full((len(x), N), torch.nan)

    return product


# one at a time while a text is generated: the rows of a batch would share one range of inputs
KERNELS = (Kernel("FBGEMM dynamic int8", _dynamic, no_fbgemm, rows=1, bytes_per_weight=1),)

INT8_DYNAMIC = Encoding(
    "int8-dynamic",
    stored=lambda N, K: {"weight": ((N, K), torch.int8), "scale": ((1,), torch.float32)},
    encode=encode,
    decode=decode,
    look_up=lambda parts, ids: parts["weight"].index_select(0, ids) * parts["scale"],
    kernels=KERNELS,
)
# of imported files alone
INT8_DYNAMIC_ROWS = Encoding(
    "int8-dynamic by row",
    stored=lambda N, K: {"weight": ((N, K), torch.int8), "scale": ((N,), torch.float32)},
    encode=int8.encode,
    decode=decode,
    look_up=int8.INT8.look_up,
    kernels=KERNELS,
)
