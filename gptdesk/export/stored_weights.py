"""Weights of a checkpoint at a quantized precision, for the formats that hold them so."""

from collections.abc import Iterator

from torch import Tensor

from models import layout
from models.checkpoint import Checkpoint
from models.gpt import GELU
from models.precision import Precision
from models.tensors_to_save import encoded_tensors
from models.weights import read_weight


def weights_at(checkpoint: Checkpoint, precision: Precision) -> Iterator[tuple[str, Tensor]]:
    """Yield our name and the value of every tensor at `precision`, encoded now unless it is stored so.

    Raises ValueError if the checkpoint is damaged or the precision cannot hold it.
    """
    weights = checkpoint.open_weights()
    stored = layout.stored_tensors(checkpoint.config, checkpoint.quantized or precision)
    if checkpoint.quantized:
        for tensor in stored:
            yield tensor.name, read_weight(weights, tensor.name, tensor.shape)
        return
    encoded = encoded_tensors(checkpoint.config, weights, precision)
    for tensor in stored:
        yield tensor.name, encoded[tensor.stored_name]


def check_network(checkpoint: Checkpoint, name: str) -> None:
    """Raise ValueError for a network whose MLPs differ from GPT-2's, which only `transformers` and the desk run."""
    config = checkpoint.config
    if config.activation not in GELU or config.inner != 4 * config.n_embd:
        raise ValueError(
            f"{name} has MLPs with {config.inner:,} channels and the activation {config.activation}, which this format "
            "does not know; export it as huggingface"
        )
