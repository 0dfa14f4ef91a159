"""float32 precision: the weights as trained.

Matrix kernels add in another order for another number of rows. So the last bits of a sequence would change with the
size of its batch, and now and then a sampled token with them. While tokens come one at a time, the same number of rows
is therefore multiplied at a time: one, or two where a pair takes about as long as a single row.
"""

import torch
from torch import Tensor
from torch.nn import functional as F

from models.precision.matrix import Encoding, Kernel, Parts, Product

PAIR = 2  # rows


def _plain(parts: Parts, bias: Tensor | None) -> Product:
    # the weight (N, K) as stored, not copied
    weight = parts["weight"]
    return lambda x: F.linear(x, weight, bias)


def _transposed(parts: Parts, bias: Tensor | None) -> Product:
    # (K, N), copied, so that no product needs to transpose
    weight = parts["weight"].t().contiguous()
    # (M, K) @ (K, N) + (N,)
    if bias is None:
        return lambda x: torch.mm(x, weight)
    return lambda x: torch.addmm(bias, x, weight)


def _packed(parts: Parts, bias: Tensor | None) -> Product:
    # (N, K) in the blocks that oneDNN multiplies by
    weight = torch.ops.mkldnn._reorder_linear_weight(parts["weight"], None)
    multiply = torch.ops.mkldnn._linear_pointwise
    return lambda x: multiply(x, weight, bias, "none", [], "")


def has_onednn(N: int, K: int) -> str | None:
    """Return the reason why matrices cannot be packed for oneDNN here, None if they can."""
    # the operators are private to torch, and a build may lack them
    usable = torch.backends.mkldnn.is_available() and hasattr(torch.ops.mkldnn, "_linear_pointwise")
    return None if usable else "this build of torch has no oneDNN"


PLAIN = Kernel("F.linear", _plain, lambda N, K: None, rows=PAIR, bytes_per_weight=4)
TRANSPOSED = Kernel("addmm", _transposed, lambda N, K: None, rows=1, bytes_per_weight=4)
PACKED = Kernel("oneDNN packed", _packed, has_onednn, rows=PAIR, bytes_per_weight=4)

FLOAT32 = Encoding(
    "float32",
    stored=lambda N, K: {"weight": ((N, K), torch.float32)},
    encode=lambda weight: {"weight": weight.float()},
    decode=lambda parts: parts["weight"],
    look_up=lambda parts, ids: F.embedding(ids, parts["weight"]),
    # the first is preferred, unless another one is clearly faster: see tuner.py
    kernels=(TRANSPOSED, PLAIN, PACKED),
    device_kernel=PLAIN,
)
