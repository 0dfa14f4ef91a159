"""Network in a foreign file, by our names and orientation, with what the file does not say left open."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from models import layout
from models.formats.stored import Stored, zeros
from models.gpt import LIMITS, GPTConfig
from models.precision import INT8_DYNAMIC_BY_ROW, PRECISIONS, Precision
from models.tokenizer import Tokenizer

WTE, WPE, HEAD = "wte.weight", "wpe.weight", "lm_head.weight"
FIRST_MLP = "h.0.mlp.c_fc.weight"
TABLES = ("wte", "wpe")
DYNAMIC = PRECISIONS["int8-dynamic"]
# heads by width, as the published models and the tutorials have them; 64 channels for each head otherwise
USUAL_HEADS = {48: 3, 128: 4, 192: 6, 256: 8, 384: 6, 512: 8, 768: 12, 1024: 16, 1280: 20, 1600: 25}
ACTIVATIONS = {
    **dict.fromkeys(("gelu_new", "gelu_tanh", "gelu_pytorch_tanh", "newgelu", "gelu_approx", "tanh"), "gelu_tanh"),
    **dict.fromkeys(("gelu", "gelu_erf", "gelu_exact", "erf"), "gelu_erf"),
}
SYNONYMS = {
    "n_head": ("n_head", "n_heads", "num_heads", "num_attention_heads", "heads"),
    "activation": ("activation_function", "activation", "act"),
    "dropout": ("dropout", "drop_rate", "resid_pdrop"),
    "layer_norm_epsilon": ("layer_norm_epsilon", "layer_norm_eps", "norm_eps"),
}
CONTEXTS = ("block_size", "context_length", "n_positions", "n_ctx", "max_seq_len")
BLOCK = re.compile(r"\Ah\.\d+\.")
NESTED = ("model_args", "model_config", "config", "model", "args", "hparams")


@dataclass(frozen=True)
class Numbers:
    """Numbers that shapes do not tell; None for those that the file does not say either."""

    n_head: int | None = None
    activation: str | None = None
    dropout: float = 0.0
    layer_norm_epsilon: float = 1e-5

    def or_activation(self, activation: str) -> "Numbers":
        """Return them with the activation that a layout is known to have, if the file says none."""
        return self if self.activation else replace(self, activation=activation)


@dataclass(frozen=True)
class Network:
    """Weights by our names, matrices as (rows out, columns in), and the numbers known of the network."""

    kind: str
    weights: Mapping[str, Stored]
    numbers: Numbers = Numbers()
    tokenizer: Tokenizer | None = None  # if the file itself has one
    remarks: tuple[str, ...] = ()

    def config(self) -> GPTConfig:
        """Return the shape of the network, with guesses for what is not known; ValueError if there is none such."""
        (V, C), T = self._shape(WTE), self._shape(WPE)[0]
        depth = len({name.split(".")[1] for name in self.weights if name.startswith("h.")})
        n_head = self.numbers.n_head or usual_heads(C)
        activation = self.numbers.activation or "gelu_tanh"
        bias = any(name.endswith(".bias") for name in self.weights)
        return GPTConfig(
            *(V, T, depth, n_head, C),
            dropout=self.numbers.dropout,
            bias=bias,
            activation=activation,  # type: ignore[arg-type]
            tied=self._is_tied(),
            layer_norm_epsilon=self.numbers.layer_norm_epsilon,
            n_inner=self._inner(C),
        )

    def missing(self) -> tuple[str, ...]:
        """Return the names of the numbers that are guesses."""
        return tuple(name for name in ("n_head", "activation") if getattr(self.numbers, name) is None)

    def _shape(self, name: str) -> tuple[int, ...]:
        if name not in self.weights or len(self.weights[name].shape) != 2:
            raise ValueError(f"it has no matrix {name}, so it is no GPT-2")
        return self.weights[name].shape

    def _inner(self, width: int) -> int | None:
        """Return the channels inside an MLP, None if they are four times the network's as in GPT-2."""
        first = self.weights.get(FIRST_MLP)
        inner = first.shape[0] if first and len(first.shape) == 2 else 4 * width
        return None if inner == 4 * width else inner

    def _is_tied(self) -> bool:
        """Return whether the output head is the token table, up to the rounding of a quantized head."""
        head, table = self.weights.get(HEAD), self.weights[WTE]
        if head is None or head.identity == table.identity:
            return True
        if head.shape != table.shape:
            raise ValueError(f"its output head has the shape {head.shape}, its token table {table.shape}")
        difference = (head.load().float() - table.load().float()).abs_().max()
        step = head.quantizer.scale.max() / 2 * 1.001 if head.quantizer else torch.tensor(0.0)
        return bool(difference <= step)


class NetworkSource:
    """Weights of a network as a source to write a checkpoint from, checked against the shape of the network."""

    def __init__(self, network: Network, config: GPTConfig) -> None:
        """Raise ValueError if weights are missing, unknown or of another shape, or are several times the same."""
        weights = dict(network.weights)
        precision = _stored_precision(weights, config)
        if config.tied and precision is None:
            weights.pop(HEAD, None)
        shapes = layout.parameter_shapes(config)
        for name, shape in shapes.items():
            if name in weights and weights[name].shape != shape:
                raise ValueError(f"its {name} has the shape {weights[name].shape}, and only {shape} is supported")
        # a kind of bias that no block has is zero
        kinds = {_kind(name) for name in weights}
        absent = [name for name in shapes if name not in weights]
        if missing := [name for name in absent if not name.endswith(".bias") or _kind(name) in kinds]:
            raise ValueError(f"it lacks {len(missing)} weights of a GPT-2, {missing[0]} first")
        if unknown := sorted(weights.keys() - shapes.keys() - {HEAD}):
            raise ValueError(f"it has {len(unknown)} tensors that no GPT-2 has, {unknown[0][:100]} first")
        # a folder of floats has zeros for biases that the network does not have
        for name, shape in layout.parameter_shapes(replace(config, bias=True)).items():
            weights.setdefault(name, zeros(*shape))
        self._weights = weights
        self.precision = precision

    @property
    def was_quantized(self) -> bool:
        """True if quantized weights become floats."""
        return self.precision is None and any(weight.quantizer for weight in self._weights.values())

    def nbytes_of(self, name: str) -> int:
        """Return the bytes that a weight takes in the foreign file; 0 for the scale of a matrix."""
        return self._weights[name].nbytes if name in self._weights else 0

    def names(self) -> Iterator[str]:
        """Yield the names of all weights."""
        yield from self._weights

    def read(self, name: str) -> Tensor | None:
        """Return one weight in float32, or the part of a quantized matrix; None if there is none of this name."""
        layer, _, part = name.rpartition(".")
        weight = self._weights.get(f"{layer}.weight" if part == "scale" else name)
        if weight is None:
            return None
        if self.precision and weight.quantizer and layer not in TABLES:
            if part != "scale":
                return weight.read()
            return weight.row_scales() if self.precision.row_scales else weight.row_scales()[:1]
        return weight.load().float()


def _kind(name: str) -> str:
    """Return the name of a weight without the number of its block."""
    return BLOCK.sub("", name)


def usual_heads(width: int) -> int:
    """Return the likely number of heads of a network with this many channels."""
    for heads in (USUAL_HEADS.get(width, 0), width // 64, 4, 2):
        if heads and width % heads == 0:
            return heads
    return 1


def numbers_in(*sources: Mapping[str, object]) -> Numbers:
    """Return the numbers that the first of `sources` to have each says; ValueError for one out of range."""
    flat = [place for source in sources for place in _places(source)]
    values: dict[str, object] = {}
    for ours, theirs in SYNONYMS.items():
        found = [place[name] for place in flat for name in theirs if place.get(name) is not None]
        if found and ours == "activation":
            values[ours] = known_activation(found[0])
        elif found:
            values[ours] = found[0]
    n_head = values.get("n_head")
    if n_head is not None and (type(n_head) is not int or not 1 <= n_head <= 1024):
        raise ValueError(f"it says that it has {str(n_head)[:40]} heads, which is no number of heads")
    return Numbers(**values)  # type: ignore[arg-type]


def sinusoidal_length(*sources: Mapping[str, object]) -> int | None:
    """Return the context of a network that is said to compute its positions as sines; None if it is not."""
    for place in (place for source in sources for place in _places(source)):
        lengths = [place[name] for name in CONTEXTS if type(place.get(name)) is int]
        sines = any("pos" in key and "sin" in str(value)[:40].lower() for key, value in place.items())
        if sines and lengths and 1 <= lengths[0] <= LIMITS["block_size"]:  # type: ignore[operator]
            return lengths[0]  # type: ignore[return-value]
    return None


def known_activation(name: object) -> str:
    """Return our name of an activation; ValueError for one that this network does not compute."""
    activation = ACTIVATIONS.get(name.lower()) if isinstance(name, str) else None
    if activation is None:
        raise ValueError(f"its activation is {str(name)[:40]!r}, and only gelu_tanh and gelu_erf are supported")
    return activation


def _places(source: Mapping[str, object]) -> Iterator[Mapping[str, object]]:
    """Yield dictionaries that may say numbers: those inside first."""
    for name in NESTED:
        inside = source.get(name)
        if isinstance(inside, dict):
            yield inside
    yield source


def _stored_precision(weights: Mapping[str, Stored], config: GPTConfig) -> Precision | None:
    """Return the precision that takes the matrices as quantize_dynamic makes them, None if one is not so."""
    names = [f"{name}.weight" for name in DYNAMIC.matrices(config) if name not in TABLES]
    matrices = [weights[name] for name in names if name in weights]
    if len(matrices) < len(names) or not all(matrix.is_int8_matrix for matrix in matrices):
        return None
    by_row = any(matrix.quantizer and matrix.quantizer.axis is not None for matrix in matrices)
    return INT8_DYNAMIC_BY_ROW if by_row else DYNAMIC
