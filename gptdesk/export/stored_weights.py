"""Weights of a checkpoint at a quantized precision, for the formats that hold them so."""

from collections.abc import Iterator

from torch import Tensor

from models import layout
from models.checkpoint import Checkpoint
from models.precision import Precision
from models.weights import encoded_tensors, read_weight


def weights_at(checkpoint: Checkpoint, precision: Precision) -> Iterator[tuple[str, Tensor]]:
    """Yield our name and the value of every tensor at `precision`, encoded now unless it is stored so.

    Raises ValueError if the checkpoint is damaged or the precision cannot hold it.
    """
    weights = checkpoint.open_weights()
    stored = layout.stored_tensors(checkpoint.config, precision)
    if checkpoint.quantized:
        for tensor in stored:
            yield tensor.name, read_weight(weights, tensor.name, tensor.shape)
        return
    encoded = encoded_tensors(checkpoint.config, weights, precision)
    for tensor in stored:
        yield tensor.name, encoded[tensor.stored_name]
