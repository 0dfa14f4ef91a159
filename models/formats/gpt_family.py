"""Names of tensors that nanoGPT, minGPT, build-nanogpt and Hugging Face's GPT-2 share.

Hugging Face stores the matrices of a block as (columns in, rows out), the others as (rows out, columns in); c_attn,
which is three times as long as wide, tells the two apart.
"""

import re
from collections.abc import Mapping

import torch

from models.formats.network import WPE, WTE, sinusoidal_length
from models.formats.stored import Stored, of_tensor

PREFIX = "transformer."
FIRST = "h.0.attn.c_attn.weight"
TRANSPOSED = re.compile(r"h\.\d+\.(attn\.c_attn|attn\.c_proj|mlp\.c_fc|mlp\.c_proj)\.weight")
MASK = re.compile(r"(.*\.)?(bias|masked_bias|mask|tril|causal_mask)")
POSITIONS = re.compile(r"(.*\.)?(pe|pos_emb|pos_embedding|wpe|position_embedding|positional_encoding)")


def is_gpt_family(tensors: Mapping[str, Stored]) -> bool:
    """Return whether the tensors have the names of a GPT-2."""
    return any(f"{prefix}{WTE}" in tensors and f"{prefix}{FIRST}" in tensors for prefix in (PREFIX, ""))


def gpt_weights(tensors: Mapping[str, Stored], *settings: Mapping[str, object]) -> dict[str, Stored]:
    """Return the weights by our names, matrices as (rows out, columns in); `settings` may say that positions are sines.

    Raises ValueError for no GPT-2.
    """
    weights = {name.removeprefix(PREFIX): tensor for name, tensor in tensors.items()}
    if len(weights) != len(tensors):
        raise ValueError(f"it has a tensor twice, with and without {PREFIX}")
    weights = with_positions(without_masks(weights), *settings)
    check_head(weights)
    if is_transposed(weights):
        weights = {name: t.transposed() if TRANSPOSED.fullmatch(name) else t for name, t in weights.items()}
    return weights


def is_transposed(weights: Mapping[str, Stored]) -> bool:
    """Return whether matrices lie as (columns in, rows out)."""
    shape, C = weights[FIRST].shape, weights[WTE].shape[-1]
    return len(shape) == 2 and shape == (C, 3 * C)


def without_masks(tensors: Mapping[str, Stored]) -> dict[str, Stored]:
    """Return the tensors but the causal masks (..., T, T) that some layouts store."""
    return {name: tensor for name, tensor in tensors.items() if not _is_mask(name, tensor)}


def with_positions(weights: dict[str, Stored], *settings: Mapping[str, object]) -> dict[str, Stored]:
    """Return the weights with a table of positions (T, C).

    It is learned, or sinusoids (T, 1, C) or (1, T, C) as stored, or those that the settings ask for.
    """
    if WPE in weights:
        return weights
    C = weights[WTE].shape[-1]
    names = [name for name, t in weights.items() if POSITIONS.fullmatch(name) and t.shape and t.shape[-1] == C]
    if not names and (T := sinusoidal_length(*settings)):
        return weights | {WPE: sinusoids(T, C)}
    if len(names) != 1:
        raise ValueError(
            "it has no table of positions: rotary, relative and computed positions are not supported; store the table "
            "as a buffer of the model, and save it again"
        )
    stored = weights[names[0]]
    T = torch.Size(stored.shape).numel() // C
    if sum(length != 1 for length in stored.shape[:-1]) > 1:
        raise ValueError(f"its positions {names[0]} have the shape {stored.shape}, which is no table")
    table = Stored((T, C), stored.dtype, lambda: stored.load().reshape(T, C), stored.identity, stored.nbytes)
    return {name: t for name, t in weights.items() if name != names[0]} | {WPE: table}


def check_head(weights: dict[str, Stored]) -> None:
    """Remove the zero bias of an output head; raises ValueError if it is not zero, for then a GPT-2 has none such."""
    bias = weights.pop("lm_head.bias", None)
    if bias is not None and bias.load().any():
        raise ValueError("its output head has a bias, which no GPT-2 has")


def sinusoids(T: int, C: int) -> Stored:
    """Return the positions (T, C) of Vaswani et al. 2017: sines in even columns, cosines in odd ones."""
    # (T, 1) times (C / 2,)
    angle = torch.arange(T)[:, None] * torch.exp(torch.arange(0, C, 2) * (-torch.log(torch.tensor(10_000.0)) / C))
    table = torch.zeros(T, C)
    table[:, 0::2], table[:, 1::2] = angle.sin(), angle.cos()[:, : C // 2]
    return of_tensor(table, identity="sinusoids")


def _is_mask(name: str, tensor: Stored) -> bool:
    if name.endswith("masked_bias") and len(tensor.shape) < 2:
        return True
    square = len(tensor.shape) >= 2 and tensor.shape[-1] == tensor.shape[-2]
    return square and bool(MASK.fullmatch(name))
