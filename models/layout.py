"""How Hugging Face lays out a GPT-2 folder: the fields of config.json, the names and shapes of the tensors.

There, the weights of the four linear layers of a block lie transposed ("Conv1D"), every layer has biases, and names
start with "transformer."; files without the prefix exist too, the original GPT-2 among them.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

import torch

from models.gpt import GPT, GPTConfig

PREFIX = "transformer."
HEAD = "lm_head.weight"
IGNORED = (".attn.bias", ".attn.masked_bias")  # the causal mask, which old files carry along

_SIZES = {"vocab_size": "vocab_size", "block_size": "n_positions"} | {n: n for n in ("n_layer", "n_head", "n_embd")}
_ACTIVATIONS = {"gelu_new": "gelu_tanh", "gelu_pytorch_tanh": "gelu_tanh", "gelu": "gelu_erf"}
_UNSUPPORTED = {  # field: the only value that this network computes
    "scale_attn_weights": True,
    "scale_attn_by_inverse_layer_idx": False,
    "reorder_and_upcast_attn": False,
    "add_cross_attention": False,
}


@dataclass(frozen=True)
class StoredTensor:
    """One tensor of the file: our name and theirs (without prefix), its shape there, and whether it lies transposed."""

    name: str
    stored_name: str
    shape: tuple[int, ...]
    transposed: bool


def stored_tensors(config: GPTConfig) -> Iterator[StoredTensor]:
    """Every tensor that a folder of a network of this shape holds; without biases ours, it holds zeros for them."""
    with torch.device("meta"):
        network = GPT(replace(config, bias=True))
    for name, parameter in network.named_parameters():
        transposed = name.endswith(("c_attn.weight", "c_proj.weight", "c_fc.weight"))
        shape = tuple(reversed(parameter.shape)) if transposed else tuple(parameter.shape)
        yield StoredTensor(name, name if name == HEAD else PREFIX + name, shape, transposed)


def config_to_json(config: GPTConfig, *, end_of_text: int | None) -> dict[str, object]:
    """The config.json from which `transformers`, vLLM and llama.cpp's converter build the same network."""
    activation = next(theirs for theirs, ours in _ACTIVATIONS.items() if ours == config.activation)
    return {
        "architectures": ["GPT2LMHeadModel"],
        "model_type": "gpt2",
        **{theirs: getattr(config, ours) for ours, theirs in _SIZES.items()},
        "n_ctx": config.block_size,  # llama.cpp's converter asks for this one
        "n_inner": None,
        "activation_function": activation,
        "layer_norm_epsilon": config.layer_norm_epsilon,
        **dict.fromkeys(("resid_pdrop", "embd_pdrop", "attn_pdrop"), config.dropout),
        **_UNSUPPORTED,
        "tie_word_embeddings": config.tied,
        "bias": config.bias,  # ours; the others read zeros
        "bos_token_id": end_of_text,
        "eos_token_id": end_of_text,
        "dtype": "float32",
    }


def config_from_json(data: Mapping[str, object]) -> GPTConfig:
    """The network a config.json describes; raises ValueError with the reason if it is not a GPT-2 as we know it."""
    kind = data.get("model_type")
    if kind != "gpt2":
        raise ValueError(f"config.json describes a model of the type {kind!r}, not 'gpt2'")
    for field, only in _UNSUPPORTED.items():
        if data.get(field, only) != only:
            raise ValueError(f"config.json has {field} = {data[field]!r}, and only {only!r} is supported")
    given = {**data, "n_positions": data.get("n_positions", data.get("n_ctx"))}
    missing = [field for field in _SIZES.values() if given.get(field) is None]
    if missing:
        raise ValueError(f"config.json does not say {' and '.join(missing)}")
    name = given.get("activation_function", "gelu_new")
    activation = _ACTIVATIONS.get(name) if isinstance(name, str) else None
    if activation is None:
        raise ValueError(f"config.json has activation_function = {name!r}; {', '.join(_ACTIVATIONS)} are supported")
    optional = {"dropout": "resid_pdrop", "bias": "bias", "tied": "tie_word_embeddings"}
    optional["layer_norm_epsilon"] = "layer_norm_epsilon"
    fields = _SIZES | {ours: theirs for ours, theirs in optional.items() if theirs in given}
    try:
        config = GPTConfig(**{o: given[t] for o, t in fields.items()}, activation=activation)  # type: ignore
    except ValueError as error:
        raise ValueError(f"config.json is out of range: {error}") from error
    if given.get("n_inner") not in (None, 4 * config.n_embd):
        raise ValueError(f"config.json has n_inner = {given['n_inner']!r}, and only {4 * config.n_embd} is supported")
    return config
