"""Hugging Face's layout of a GPT-2 folder: the fields of config.json, the names and shapes of the tensors.

In it, the weights of the four linear layers of a block lie transposed ("Conv1D"), every layer has biases, and names
start with "transformer."; files without the prefix exist too, the original GPT-2 among them.

A quantized checkpoint has the same names and config.json. Each of its matrices is stored as (rows out, columns in), in
the parts of its encoding, and config.json names the scheme where `transformers` looks for one and finds it unknown.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

import torch

from models.gpt import GPTConfig
from models.precision import INT8_DYNAMIC_BY_ROW, PRECISIONS, Precision
from models.precision.mixed import mixed
from models.special_ids import SpecialIds

PREFIX = "transformer."
BASE = ("h.", "wte.", "wpe.", "ln_f.")  # where all names of the network begin, behind the prefix
HEAD = "lm_head.weight"
QUANTIZATION = "quantization_config"  # where `transformers` looks too
METHOD = "gptdesk"
RAISED = "raised"  # matrices with a higher encoding than the scheme, by name
BY_ROW = "row"  # of the scales of a scheme that has one for a matrix else
FLOATS = ("F32", "F16", "BF16", "F64")
KINDS = {torch.float32: "F32", torch.float16: "F16", torch.bfloat16: "BF16", torch.int8: "I8", torch.uint8: "U8"}
IGNORED = (".attn.bias", ".attn.masked_bias")  # the causal mask, which old files carry along

_SIZES = {"vocab_size": "vocab_size", "block_size": "n_positions"} | {n: n for n in ("n_layer", "n_head", "n_embd")}
_ACTIVATIONS = {  # the name that we write comes first
    "gelu_new": "gelu_tanh",
    **dict.fromkeys(("gelu_pytorch_tanh", "gelu_python_tanh", "gelu_fast", "gelu_accurate"), "gelu_tanh"),
    **dict.fromkeys(("gelu", "gelu_python"), "gelu_erf"),
    "quick_gelu": "gelu_quick",
    "relu": "relu",
    **dict.fromkeys(("silu", "swish"), "silu"),
}
_SWITCHES = {  # of the attention, as GPT-2 has them and we write them
    "scale_attn_weights": True,
    "scale_attn_by_inverse_layer_idx": False,
    "reorder_and_upcast_attn": False,  # a rounding of half precision alone
    "add_cross_attention": False,
}


@dataclass(frozen=True)
class StoredTensor:
    """One tensor of the file."""

    name: str  # ours
    stored_name: str  # Hugging Face's
    shape: tuple[int, ...]  # in the file
    transposed: bool  # stored as (columns in, rows out)
    kinds: tuple[str, ...] = FLOATS  # types that it may have


def stored_tensors(config: GPTConfig, precision: Precision | None = None) -> Iterator[StoredTensor]:
    """Yield every tensor in the folder of a network of this shape, with float weights or quantized to a precision.

    The float folder of a network without biases has zeros for them.
    """
    for name, shape in parameter_shapes(config if precision else replace(config, bias=True)).items():
        stored_name = _stored_name(name)
        if precision is None:
            transposed = name.endswith(("c_attn.weight", "c_proj.weight", "c_fc.weight"))
            yield StoredTensor(name, stored_name, shape[::-1] if transposed else shape, transposed)
        elif len(shape) == 1:
            yield StoredTensor(name, stored_name, shape, False, ("F32",))
    if precision is not None:
        for matrix, (N, K) in precision.matrices(config).items():
            for part, (shape, dtype) in precision.encoding(matrix, config).stored(N, K).items():
                name = f"{matrix}.{part}"
                yield StoredTensor(name, _stored_name(name), shape, False, (KINDS[dtype],))


def parameter_shapes(config: GPTConfig) -> dict[str, tuple[int, ...]]:
    """Return the shape of every parameter of `GPT(config)`, by name, without making a network."""
    matrices = PRECISIONS["float32"].matrices(config)
    shapes: dict[str, tuple[int, ...]] = {f"{name}.weight": shape for name, shape in matrices.items()}
    norms = ["ln_f", *(f"h.{i}.{norm}" for i in range(config.n_layer) for norm in ("ln_1", "ln_2"))]
    shapes |= {f"{norm}.weight": (config.n_embd,) for norm in norms}
    if config.bias:
        layers = {name: shape for name, shape in matrices.items() if name.startswith("h.")}
        shapes |= {f"{name}.bias": (N,) for name, (N, _) in layers.items()}
        shapes |= {f"{norm}.bias": (config.n_embd,) for norm in norms}
    return shapes


def _stored_name(name: str) -> str:
    return name if name.startswith("lm_head.") else PREFIX + name


def quantization_to_json(precision: Precision) -> dict[str, object]:
    """Return the fields that config.json of a checkpoint quantized to `precision` has in addition."""
    more: dict[str, object] = {"scales": BY_ROW} if precision.row_scales else {}
    if precision.raised:
        more[RAISED] = dict(precision.raised)
    return {QUANTIZATION: {"quant_method": METHOD, "scheme": precision.name, **more}}


def quantization_from_json(data: Mapping[str, object], config: GPTConfig) -> Precision | None:
    """Return the precision that a config.json says its checkpoint is quantized to, if any; ValueError if unknown.

    `config` is the shape that the same file describes.
    """
    field = data.get(QUANTIZATION)
    if field is None:
        return None
    method, scheme = field, None
    if isinstance(field, dict):
        method, scheme = field.get("quant_method"), field.get("scheme")
    precision = PRECISIONS.get(scheme) if isinstance(scheme, str) and method == METHOD else None
    if precision is None or precision.is_float:
        raise ValueError(f"config.json says that it is quantized by {method!r:.60} to {scheme!r:.60}, which is unknown")
    scales = field.get("scales") if isinstance(field, dict) else None
    if scales == BY_ROW and precision.name == INT8_DYNAMIC_BY_ROW.name:
        return INT8_DYNAMIC_BY_ROW
    if scales is not None:
        raise ValueError(f"config.json says that {scheme} has scales by {scales!r:.60}, which is unknown")
    raised = field.get(RAISED) if isinstance(field, dict) else None
    return precision if raised is None else _mixed(precision, raised, config)


def _mixed(precision: Precision, raised: object, config: GPTConfig) -> Precision:
    """Return a precision with the matrices raised that a config.json names; ValueError for what cannot be."""
    if not isinstance(raised, dict) or not all(isinstance(level, str) for level in raised.values()):
        raise ValueError(f"config.json names the matrices raised above {precision.name} as {raised!r:.60}, not by name")
    try:
        return mixed(precision.name, raised, config)
    except ValueError as error:
        raise ValueError(f"config.json says which matrices are raised above {precision.name}, but {error}") from error


def config_to_json(
    config: GPTConfig, *, special_ids: SpecialIds | None = None, dtype: str = "float32"
) -> dict[str, object]:
    """Return the config.json from which `transformers`, vLLM and llama.cpp's converter build the same network."""
    activation = next(theirs for theirs, ours in _ACTIVATIONS.items() if ours == config.activation)
    return {
        "architectures": ["GPT2LMHeadModel"],
        "model_type": "gpt2",
        **{theirs: getattr(config, ours) for ours, theirs in _SIZES.items()},
        "n_ctx": config.block_size,  # llama.cpp's converter asks for this one
        "n_inner": config.n_inner,
        "activation_function": activation,
        "layer_norm_epsilon": config.layer_norm_epsilon,
        **dict.fromkeys(("resid_pdrop", "embd_pdrop", "attn_pdrop"), config.dropout),
        **_SWITCHES,
        "tie_word_embeddings": config.tied,
        "bias": config.bias,  # ours; the others read zeros
        **(special_ids or SpecialIds()).to_json(),
        "dtype": dtype,
    }


def config_from_json(data: Mapping[str, object]) -> GPTConfig:
    """Return the shape of the network that a config.json describes; ValueError if it is no GPT-2 that we can run."""
    kind = data.get("model_type")
    if kind != "gpt2":
        raise ValueError(f"config.json describes a model of the type {kind!r}, not 'gpt2'")
    for field, usual in _SWITCHES.items():
        if type(data.get(field, usual)) is not bool:
            raise ValueError(f"config.json has {field} = {data[field]!r}, which is neither true nor false")
    if data.get("add_cross_attention"):
        raise ValueError(
            "config.json has add_cross_attention = True; a decoder that reads another network is not supported"
        )
    values = {**data, "n_positions": data.get("n_positions", data.get("n_ctx"))}
    missing = [field for field in _SIZES.values() if values.get(field) is None]
    if missing:
        raise ValueError(f"config.json does not say {' and '.join(missing)}")
    name = values.get("activation_function", "gelu_new")
    activation = _ACTIVATIONS.get(name) if isinstance(name, str) else None
    if activation is None:
        raise ValueError(f"config.json has activation_function = {name!r}; {', '.join(_ACTIVATIONS)} are supported")
    optional = {"dropout": "resid_pdrop", "bias": "bias", "tied": "tie_word_embeddings"}
    optional["layer_norm_epsilon"] = "layer_norm_epsilon"
    fields = _SIZES | {ours: theirs for ours, theirs in optional.items() if theirs in values}
    inner = values.get("n_inner")
    try:
        config = GPTConfig(
            **{o: values[t] for o, t in fields.items()},  # type: ignore[arg-type]
            activation=activation,  # type: ignore[arg-type]
            n_inner=inner,  # type: ignore[arg-type]
        )
    except ValueError as error:
        raise ValueError(f"config.json is out of range: {error}") from error
    return replace(config, n_inner=None) if inner == 4 * config.n_embd else config


def query_scales(data: Mapping[str, object], config: GPTConfig) -> tuple[float, ...]:
    """Return what the queries of each layer are multiplied by, so that our attention computes that of a config.json.

    Empty if it is ours: q k^T / sqrt(D), without scale_attn_weights q k^T, in layer i by 1 / (i + 1) of that if asked.
    """
    by_layer = data.get("scale_attn_by_inverse_layer_idx", False)
    unscaled = 1.0 if data.get("scale_attn_weights", True) else (config.n_embd // config.n_head) ** 0.5
    scales = tuple(unscaled / (i + 1 if by_layer else 1) for i in range(config.n_layer))
    return () if set(scales) == {1.0} else scales
