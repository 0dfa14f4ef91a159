"""`GPTModel` layouts: `tok_emb`, `pos_emb`, `trf_blocks` with separate queries, keys and values. The tanh GELU."""

import re
from collections.abc import Mapping

from models.formats.container import Source
from models.formats.gpt_family import check_head, with_positions, without_masks
from models.formats.network import Network, numbers_in
from models.formats.stored import Stored, joined, zeros

OUTSIDE = {
    "tok_emb.weight": "wte.weight",
    "pos_emb.weight": "wpe.weight",
    "final_norm.scale": "ln_f.weight",
    "final_norm.shift": "ln_f.bias",
    "final_norm.weight": "ln_f.weight",
    "final_norm.bias": "ln_f.bias",
    "out_head.weight": "lm_head.weight",
    "out_head.bias": "lm_head.bias",
}
BLOCK = re.compile(r"trf_blocks\.(\d+)\.(.+)\.(weight|bias|scale|shift)")
LAYERS = {
    "att.out_proj": "attn.c_proj",
    "ff.layers.0": "mlp.c_fc",
    "ff.layers.2": "mlp.c_proj",
    "norm1": "ln_1",
    "norm2": "ln_2",
}
KINDS = {"scale": "weight", "shift": "bias"}
ATTENTION = ("W_query", "W_key", "W_value")


def recognises(source: Source) -> bool:
    """Return whether a file has a GPTModel's names."""
    tensors = source.container.tensors
    return "tok_emb.weight" in tensors and any(name.startswith("trf_blocks.0.att.W_query.") for name in tensors)


def read(source: Source) -> Network:
    """Return the network in a file; ValueError if it cannot be used."""
    settings = source.container.details, source.settings, source.meta
    weights = {}
    attention: dict[str, dict[str, Stored]] = {}
    for name, tensor in without_masks(source.container.tensors).items():
        block = BLOCK.fullmatch(name)
        layer = block[2].removeprefix("att.") if block else ""
        if block and layer in ATTENTION:
            attention.setdefault(f"h.{block[1]}.attn.c_attn.{block[3]}", {})[layer] = tensor
        elif block and block[2] in LAYERS:
            weights[f"h.{block[1]}.{LAYERS[block[2]]}.{KINDS.get(block[3], block[3])}"] = tensor
        else:
            weights[OUTSIDE.get(name, name)] = tensor
    weights |= _queries_keys_values(attention)
    weights = with_positions(weights, *settings)
    check_head(weights)
    return Network("GPTModel state dict", weights, numbers_in(*settings).or_activation("gelu_tanh"))


def _queries_keys_values(attention: Mapping[str, Mapping[str, Stored]]) -> dict[str, Stored]:
    """Return the three matrices (C, C) of each block, or biases (C,), as one of three times the rows."""
    whole = {}
    for name, parts in attention.items():
        if len(parts) < len(ATTENTION) and name.endswith(".weight"):
            raise ValueError(f"it lacks {next(part for part in ATTENTION if part not in parts)} of a block")
        shape = next(iter(parts.values())).shape
        if any(part.shape[1:] != shape[1:] for part in parts.values()):
            raise ValueError("its queries, keys and values have different shapes")
        whole[name] = joined([parts[part] if part in parts else zeros(*shape) for part in ATTENTION])
    return whole
