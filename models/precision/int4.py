"""int4 precision: sixteen steps, and a scale for each group of 32 weights of a row, as in llama.cpp's Q4_0.

Of several scales, the one with the least squared error is chosen.
"""

import torch
from torch import Tensor
from torch.nn import functional as F

from models.precision import int8
from models.precision.float32 import PAIR, PLAIN
from models.precision.matrix import Encoding, Kernel, Parts, Product

# weights that share a scale
GROUP = 32
LOWEST, HIGHEST = -8, 7
# scales tried, as shares of the one that cuts nothing off
TRIED = tuple(0.80 + 0.02 * i for i in range(14))


def encode(weight: Tensor) -> Parts:
    """Round to sixteen steps of each group's scale: (N, K) -> uint8 (N, K / 2) and float16 scales (N, K / GROUP).

    A byte has two weights, the first in its low half. The scale is negative where the largest weight of the group is
    positive, since there is one more step below zero.
    """
    groups = weight.float().unflatten(1, (-1, GROUP))  # (N, G, GROUP)
    largest = groups.gather(2, groups.abs().argmax(dim=2, keepdim=True))  # (N, G, 1)
    best_error = torch.full_like(largest, torch.inf)
    best_scale = torch.zeros_like(largest)
    for share in TRIED:
        # a smaller scale cuts off the largest weights and rounds all others better
        scale = _representable(largest / LOWEST * share)
        # (N, G, 1), of all weights of a group together
        error = (_steps(groups, scale) * scale - groups).square().sum(dim=2, keepdim=True)
        better = error < best_error
        best_error, best_scale = torch.where(better, error, best_error), torch.where(better, scale, best_scale)
    whole = (_steps(groups, best_scale) - LOWEST).to(torch.uint8).flatten(1)  # (N, K), 0 to 15
    # neighbours share a byte: (N, K) -> (N, K / 2)
    return {"weight": whole[:, ::2] | whole[:, 1::2] << 4, "scale": best_scale[..., 0].half()}


def _representable(scale: Tensor) -> Tensor:
    """Return the nearest float16 numbers, none of them zero or infinite, as float32."""
    limits = torch.finfo(torch.float16)
    # what will be stored, so that steps are chosen for the very scale they are multiplied by
    half = scale.clamp(-limits.max, limits.max).half().float()
    return torch.where(half == 0, limits.smallest_normal, half)


def _steps(groups: Tensor, scale: Tensor) -> Tensor:
    # (N, G, GROUP), (N, G, 1) -> (N, G, GROUP), whole numbers
    return (groups / scale).round_().clamp_(LOWEST, HIGHEST)


def _whole(parts: Parts) -> Tensor:
    """Return the steps (N, K), 0 to 15."""
    # (N, K / 2) -> (N, K / 2, 2) -> (N, K)
    packed = parts["weight"]
    return torch.stack([packed & 15, packed >> 4], dim=2).flatten(1)


def decode(parts: Parts) -> Tensor:
    """Return the matrix (N, K) in float32."""
    # (N, K) -> (N, G, GROUP), to be multiplied by scales (N, G, 1)
    groups = (_whole(parts).float() + LOWEST).unflatten(1, (-1, GROUP))
    return (groups * parts["scale"].float()[..., None]).flatten(1)


def _int4pack(parts: Parts, bias: Tensor | None) -> Product:
    whole, scale = _whole(parts).int(), parts["scale"].t()  # (N, K), (G, N)
    N = len(whole)
    # the kernel wants N a multiple of 16; the rows added are cut off its product
    whole = F.pad(whole, (0, 0, 0, -N % 16))
    weight = torch.ops.aten._convert_weight_to_int4pack_for_cpu(whole, 1)
    # (G, N, 2): scale and zero point, which is 0: the kernel itself takes 8 from each step
    scales = F.pad(torch.stack([scale, torch.zeros_like(scale)], dim=2), (0, 0, 0, -N % 16)).bfloat16()
    multiply = torch.ops.aten._weight_int4pack_mm_for_cpu

    def product(x: Tensor) -> Tensor:
        y = multiply(x.bfloat16().contiguous(), weight, GROUP, scales)[:, :N]
        return y.float() if bias is None else torch.add(y, bias)

    return product


def _widened(parts: Parts, bias: Tensor | None) -> Product:
    # (N, K) in float32: the same numbers, without the gain
    return PLAIN.pack({"weight": decode(parts)}, bias)


def _as_int8(kernel: Kernel) -> Kernel:
    """Return an int8 kernel with the weights rounded to int8 once more, which adds little to the error of four bits."""

    def pack(parts: Parts, bias: Tensor | None) -> Product:
        return kernel.pack(int8.encode(decode(parts)), bias)

    return Kernel(f"{kernel.name} (widened)", pack, kernel.missing, kernel.rows, kernel.bytes_per_weight)


def _no_int4(N: int, K: int) -> str | None:
    fast = torch.backends.cpu.get_cpu_capability() in ("AVX2", "AVX512")
    return None if fast else "this processor has no instructions for the int4 kernel"


INT4 = Encoding(
    "int4",
    stored=lambda N, K: {"weight": ((N, K // 2), torch.uint8), "scale": ((N, K // GROUP), torch.float16)},
    encode=encode,
    decode=decode,
    look_up=lambda parts, ids: decode({name: part.index_select(0, ids) for name, part in parts.items()}),
    kernels=(
        Kernel("int4pack", _int4pack, _no_int4, rows=1, bytes_per_weight=0.5 + 4 / GROUP),
        *(_as_int8(kernel) for kernel in int8.KERNELS[:-1]),
        Kernel("F.linear (widened)", _widened, lambda N, K: None, rows=PAIR, bytes_per_weight=4, fallback=True),
    ),
)
