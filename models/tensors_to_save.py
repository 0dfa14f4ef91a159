"""Tensors that model.safetensors stores, made of the weights of a source: float ones, or encoded at a precision."""

import torch
from torch import Tensor

from models import layout
from models.gpt import GPTConfig
from models.precision import HEAD, WTE, Precision
from models.weights import WeightSource, read_weight


def float_tensors(config: GPTConfig, source: WeightSource, dtype: torch.dtype) -> dict[str, Tensor]:
    """Return the tensors of a float checkpoint by their stored names: matrices as `dtype`, all else as float32.

    Biases of a network without them are zeros. Raises ValueError for a value too large for `dtype`.
    """
    tensors = {}
    for tensor in layout.stored_tensors(config):
        if not config.bias and tensor.name.endswith(".bias"):
            tensors[tensor.stored_name] = torch.zeros(tensor.shape)
            continue
        shape = tensor.shape[::-1] if tensor.transposed else tensor.shape
        value = read_weight(source, tensor.name, shape)
        cast = value.to("cpu", dtype if value.ndim == 2 else torch.float32)
        if cast.dtype != value.dtype:
            _check_finite(tensor.name, cast)
        tensors[tensor.stored_name] = (cast.t() if tensor.transposed else cast).contiguous()
    return tensors


@torch.inference_mode()
def encoded_tensors(config: GPTConfig, source: WeightSource, precision: Precision) -> dict[str, Tensor]:
    """Return the tensors of a quantized checkpoint by their stored names, encoded from float weights one by one.

    Raises ValueError for a matrix that the encoding cannot hold.
    """
    stored = {tensor.name: tensor for tensor in layout.stored_tensors(config, precision)}
    tensors = {}
    for matrix, shape in precision.matrices(config).items():
        # the head that a tied network gets at this precision is encoded from the token table
        name = WTE if matrix == HEAD and config.tied else matrix
        weight = read_weight(source, f"{name}.weight", shape)
        for part, value in precision.encoding(matrix, config).encode(weight.float()).items():
            _check_finite(matrix, value)
            tensors[stored.pop(f"{matrix}.{part}").stored_name] = value.contiguous()
    for name, tensor in stored.items():  # layer norms and biases
        tensors[tensor.stored_name] = read_weight(source, name, tensor.shape).float()
    return tensors


def _check_finite(name: str, value: Tensor) -> None:
    if value.is_floating_point() and not torch.isfinite(value).all():
        raise ValueError(f"the weights {name} are too large for this precision")
