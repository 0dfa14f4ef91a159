"""Content of the checkpoint folder that a foreign file becomes: tensors and documents."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Protocol

import torch
from torch import Tensor

from models import layout
from models.formats.container import Source
from models.formats.network import Network, NetworkSource
from models.special_ids import SpecialIds
from models.tokenizer import Tokenizer
from models.weights import read_weight


@dataclass(frozen=True)
class OutputTensor:
    """One tensor of model.safetensors, read when it is written."""

    shape: tuple[int, ...]
    dtype: torch.dtype
    read: Callable[[], Tensor]
    nbytes: int  # in the foreign file


@dataclass(frozen=True)
class Conversion:
    """Content of the checkpoint folder that a foreign file becomes."""

    kind: str  # of the file, for people
    config: dict[str, object]  # of config.json
    tensors: Mapping[str, OutputTensor]
    tokenizer: Tokenizer | str | None  # `companions.GPT2` for GPT-2's own, None if it is not known
    files: Mapping[str, bytes] = field(default_factory=dict)  # more files, by name; with the tokenizer's among them
    missing: tuple[str, ...] = ()  # options that are guesses: "n_head", "activation", "tokenizer"
    remarks: tuple[str, ...] = ()


class Format(Protocol):
    """One foreign format: a module with these two functions."""

    def recognises(self, source: Source) -> bool:
        """Return whether a file is of this format."""
        ...

    def read(self, source: Source) -> Network | Conversion:
        """Return the network in a file, or all of the folder it becomes; ValueError if it cannot be used."""
        ...


def of_network(network: Network, *, tokenizer: Tokenizer | str | None) -> Conversion:
    """Return the folder that a network becomes: float32, or int8-dynamic if its layers are quantized so already.

    Raises ValueError if it is no GPT-2 that this project can run.
    """
    config = network.config()
    weights = NetworkSource(network, config)
    ids = tokenizer.special_ids if isinstance(tokenizer, Tokenizer) else SpecialIds.of(50256 if tokenizer else None)
    data = layout.config_to_json(config, special_ids=ids)
    remarks = list(network.remarks)
    if weights.precision:
        data |= layout.quantization_to_json(weights.precision)
    elif weights.was_quantized:
        remarks.append("its quantized weights became float32")
    tensors = {}
    for stored in layout.stored_tensors(config, weights.precision):
        shape = stored.shape[::-1] if stored.transposed else stored.shape
        dtype = torch.int8 if stored.kinds == ("I8",) else torch.float32

        def read(name: str = stored.name, shape: tuple[int, ...] = shape, turn: bool = stored.transposed) -> Tensor:
            value = read_weight(weights, name, shape)
            return value.t() if turn else value

        tensors[stored.stored_name] = OutputTensor(stored.shape, dtype, read, weights.nbytes_of(stored.name))
    missing = (*network.missing(), *(() if tokenizer else ("tokenizer",)))
    return Conversion(network.kind, data, tensors, tokenizer, missing=missing, remarks=tuple(remarks))
