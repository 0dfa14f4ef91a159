"""bfloat16 precision: weights with 8 instead of 24 significant bits, sums and everything else in float32.

Half the memory to read for every token. Attention and the KV cache stay in float32, which is faster on a CPU.
"""

import torch
from torch import Tensor
from torch.nn import functional as F

from models.precision.float32 import PAIR, has_onednn
from models.precision.matrix import Encoding, Kernel, Parts, Product

# rows that take as long as one where memory is the limit
EIGHT = 8


def _packed(parts: Parts, bias: Tensor | None) -> Product:
    # (N, K) in the blocks that oneDNN multiplies by
    weight = torch.ops.mkldnn._reorder_linear_weight(parts["weight"], None)
    multiply = torch.ops.mkldnn._linear_pointwise
    # the product comes rounded to bfloat16; the bias (N,) is added in float32
    if bias is None:
        return lambda x: multiply(x.bfloat16(), weight, None, "none", [], "").float()
    return lambda x: torch.add(multiply(x.bfloat16(), weight, None, "none", [], ""), bias)


def _half(parts: Parts, bias: Tensor | None) -> Product:
    """Return a product by weights in float16.

    It has more significant bits but less range than bfloat16, so each row is scaled by a power of two.
    """
    weight = parts["weight"].float()
    exponents = torch.frexp(weight.abs().amax(dim=1))[1]
    # (N,), above the largest of the row; 2 ** 128 would be infinite
    scale = torch.exp2(exponents.clamp(max=127).float())
    # (N, K) within -1 to 1
    packed = torch.ops.quantized.linear_prepack_fp16(weight / scale[:, None], None)
    multiply = torch.ops.quantized.linear_dynamic_fp16

    def product(x: Tensor) -> Tensor:
        y = multiply(x, packed) * scale  # (M, K) -> (M, N)
        return y if bias is None else y.add_(bias)

    return product


def _plain(parts: Parts, bias: Tensor | None) -> Product:
    # (N, K), for a device that multiplies bfloat16 itself
    weight = parts["weight"]
    if bias is None:
        return lambda x: F.linear(x.bfloat16(), weight).float()
    return lambda x: torch.add(F.linear(x.bfloat16(), weight), bias)


def _widened(parts: Parts, bias: Tensor | None) -> Product:
    # (N, K) in float32: the same numbers, without the gain
    weight = parts["weight"].float()
    return lambda x: F.linear(x, weight, bias)


def _no_bfloat16(N: int, K: int) -> str | None:
    fast = torch.ops.mkldnn._is_mkldnn_bf16_supported()
    return has_onednn(N, K) or (None if fast else "this processor has no instructions for bfloat16")


def _no_fbgemm(N: int, K: int) -> str | None:
    return None if "fbgemm" in torch.backends.quantized.supported_engines else "this build of torch has no FBGEMM"


BFLOAT16 = Encoding(
    "bfloat16",
    stored=lambda N, K: {"weight": ((N, K), torch.bfloat16)},
    encode=lambda weight: {"weight": weight.bfloat16()},
    decode=lambda parts: parts["weight"].float(),
    look_up=lambda parts, ids: F.embedding(ids, parts["weight"]).float(),
    kernels=(
        Kernel("oneDNN packed bfloat16", _packed, _no_bfloat16, rows=EIGHT, bytes_per_weight=2),
        Kernel("FBGEMM float16", _half, _no_fbgemm, rows=EIGHT, bytes_per_weight=2),
        Kernel("F.linear (widened)", _widened, lambda N, K: None, rows=PAIR, bytes_per_weight=4, fallback=True),
    ),
    device_kernel=Kernel("F.linear bfloat16", _plain, lambda N, K: None, rows=EIGHT, bytes_per_weight=2),
)
