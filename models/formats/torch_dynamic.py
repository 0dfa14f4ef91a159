"""Layers as `torch.ao.quantization.quantize_dynamic` stores them, folded into weights and biases.

A quantized linear layer `P` has `P._packed_params._packed_params`, the pair of its weight and bias, or in older files
`P._packed_params.weight` and `.bias`; beside them `P.scale` and `P.zero_point` of an output that is not quantized.
"""

from collections.abc import Mapping

from models.formats.stored import Stored

PACKED = "._packed_params._packed_params"
OLDER = ("._packed_params.weight", "._packed_params.bias")
EMBEDDING = "._packed_params._packed_weight"
DROPPED = ("scale", "zero_point", "_packed_params.dtype")


def is_quantized(state: Mapping[str, object]) -> bool:
    """Return whether a state dict has quantized layers."""
    return any("._packed_params." in name for name in state)


def fold(state: Mapping[str, object]) -> dict[str, object]:
    """Return the state dict with `P.weight` and `P.bias` for each quantized layer; ValueError if one is damaged."""
    layers = {name.partition("._packed_params.")[0] for name in state if "._packed_params." in name}
    dropped = {f"{layer}.{name}" for layer in layers for name in DROPPED}
    folded: dict[str, object] = {}
    for name, value in state.items():
        if name in dropped:
            continue
        if name.endswith(PACKED):
            folded |= _pair(name.removesuffix(PACKED), value)
        elif name.endswith(OLDER):
            folded[name.replace("._packed_params", "")] = value
        elif name.endswith(EMBEDDING):
            folded[f"{name.removesuffix(EMBEDDING)}.weight"] = value
        else:
            folded[name] = value
    return folded


def _pair(layer: str, value: object) -> dict[str, object]:
    if not isinstance(value, tuple) or len(value) != 2 or not isinstance(value[0], Stored):
        raise ValueError(f"its quantized layer {layer} is not a pair of weight and bias")
    weight, bias = value
    return {f"{layer}.weight": weight} | ({} if bias is None else {f"{layer}.bias": bias})
