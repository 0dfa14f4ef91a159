"""int8 precision: whole numbers from -127 to 127, and a scale for each output row.

Symmetric, as llama.cpp's Q8_0. While multiplying, the inputs become 8-bit numbers too. Each row of them is first
divided by its own largest magnitude, and its outputs are multiplied by it after, so that a token's result depends
neither on its neighbours nor on a whole prompt.
"""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

from models.precision.float32 import PAIR, PLAIN
from models.precision.matrix import Encoding, Kernel, Parts, Product

# the largest whole number; -128 is not used, so that the steps are symmetric
MOST = 127
# in place of 0 as the largest magnitude of a row of zeros
SMALLEST = 1e-30


def encode(weight: Tensor) -> Parts:
    """Round to whole multiples of each row's scale: (N, K) -> int8 (N, K) and float32 scales (N,)."""
    # the largest magnitude of each row becomes 127 steps
    scale = (weight.abs().amax(dim=1) / MOST).clamp_(min=SMALLEST)
    return {"weight": (weight / scale[:, None]).round_().to(torch.int8), "scale": scale}


def decode(parts: Parts) -> Tensor:
    """Return the matrix (N, K) in float32."""
    return parts["weight"] * parts["scale"][:, None]


def _peaks(x: Tensor) -> Tensor:
    """Return the largest magnitude of each row: (M, K) -> (M, 1)."""
    return x.abs().amax(1, True).clamp_(min=SMALLEST)


def _scaled(y: Tensor, peaks: Tensor, bias: Tensor | None) -> Tensor:
    """Return `y` (M, N) times `peaks` (M, 1), plus the bias (N,)."""
    # two steps, each rounded: where code fuses them depends on the place of an element in its row
    y = y * peaks
    return y if bias is None else y.add_(bias)


@contextmanager
def fbgemm() -> Iterator[None]:
    """Let torch pack for FBGEMM within the block, without its warning that quantized tensors will change one day."""
    before = torch.backends.quantized.engine
    # read while packing only
    torch.backends.quantized.engine = "fbgemm"
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", r"torch\.quantize_per_tensor")
            yield
    finally:
        torch.backends.quantized.engine = before


def _fbgemm(parts: Parts, bias: Tensor | None) -> Product:
    weight, scale = parts["weight"], parts["scale"]
    with fbgemm():
        # int8 (N, K) with a scale and a zero point for each row
        zeros = torch.zeros(len(weight), dtype=torch.int64)
        matrix = torch._make_per_channel_quantized_tensor(weight, scale.double(), zeros, 0)
        packed = torch.ops.quantized.linear_prepack(matrix, None)
    multiply = torch.ops.quantized.linear_with_input_q_dq_qweight_dq_output_fp32
    # without VNNI, FBGEMM adds two products in 16 bits: inputs of 7 bits cannot overflow them
    steps, zero = (127, 128) if torch.cpu._is_vnni_supported() else (63, 64)

    def product(x: Tensor) -> Tensor:
        # each row within -1 to 1, so that one input scale suits all rows
        peaks = _peaks(x)
        return _scaled(multiply(x / peaks, 1 / steps, zero, packed), peaks, bias)

    return product


def _onednn(parts: Parts, bias: Tensor | None) -> Product:
    # (N, K) in the blocks that oneDNN multiplies by
    weight = torch.ops.onednn.qlinear_prepack(parts["weight"], None)
    # (N,): of a row's steps, and of the 127 steps of an input
    scale = parts["scale"] / MOST
    ones, zeros = torch.ones(len(scale)), torch.zeros(len(scale), dtype=torch.int32)
    multiply = torch.ops.onednn.qlinear_pointwise

    def product(x: Tensor) -> Tensor:
        peaks = _peaks(x)
        # 1 to 255 with 128 for zero; adding a half before the cut rounds to the nearest
        whole = (x * (MOST / peaks)).add_(128.5).to(torch.uint8)
        # unscaled: oneDNN scales in other steps for another number of rows
        y = multiply(whole, 1.0, 128, weight, ones, zeros, None, 1.0, 0, torch.float32, "none", [], "")
        return _scaled(y.mul_(scale), peaks, bias)

    return product


def _int8pack(parts: Parts, bias: Tensor | None) -> Product:
    # the kernel needs both operands aligned, and a copy is
    weight, scale = parts["weight"].clone(), parts["scale"]

    def product(x: Tensor) -> Tensor:
        # (M, K) -> (M, N), summed in float: one row at a time keeps its bits
        aligned = x.contiguous() if x.data_ptr() % 64 == 0 else x.clone(memory_format=torch.contiguous_format)
        y = torch.ops.aten._weight_int8pack_mm(aligned, weight, scale)
        return y if bias is None else y + bias

    return product


def _widened(parts: Parts, bias: Tensor | None) -> Product:
    # (N, K) in float32: the same numbers, without the gain
    return PLAIN.pack({"weight": decode(parts)}, bias)


def no_fbgemm(N: int, K: int) -> str | None:
    """Return the reason why FBGEMM's int8 kernel cannot be used, None if it can."""
    engine = "fbgemm" in torch.backends.quantized.supported_engines
    op = hasattr(torch.ops.quantized, "linear_with_input_q_dq_qweight_dq_output_fp32")
    return None if engine and op else "this build of torch has no FBGEMM"


def _no_vnni(N: int, K: int) -> str | None:
    if not hasattr(torch.ops.onednn, "qlinear_pointwise") or not torch.backends.mkldnn.is_available():
        return "this build of torch has no oneDNN"
    return None if torch.cpu._is_vnni_supported() else "this processor has no VNNI instructions"


def _no_arm(N: int, K: int) -> str | None:
    if torch.backends.cpu.get_cpu_capability() in ("AVX2", "AVX512", "DEFAULT"):
        return "this kernel is for Arm"
    return None if K % 16 == 0 else "this kernel needs rows of a multiple of 16"


# where whole numbers are added, the order does not matter: rows=0
KERNELS = (
    Kernel("FBGEMM int8", _fbgemm, no_fbgemm, rows=0, bytes_per_weight=1),
    Kernel("oneDNN int8", _onednn, _no_vnni, rows=0, bytes_per_weight=1),
    Kernel("int8pack", _int8pack, _no_arm, rows=1, bytes_per_weight=1),
    Kernel("F.linear (widened)", _widened, lambda N, K: None, rows=PAIR, bytes_per_weight=4, fallback=True),
)

INT8 = Encoding(
    "int8",
    stored=lambda N, K: {"weight": ((N, K), torch.int8), "scale": ((N,), torch.float32)},
    encode=encode,
    decode=decode,
    look_up=lambda parts, ids: parts["weight"].index_select(0, ids) * parts["scale"][ids, None],
    kernels=KERNELS,
)
