"""Sensitivity: the KL divergence that each matrix causes when it alone is quantized.

The decoded matrix takes the place of the float one; products and activations stay float32, so the rounding of inputs
that int8 kernels add is not in it. Nor do the values add up: errors of several matrices may cancel or reinforce each
other. What a whole model loses is measured by its own kernels, by `gptdesk.comparison.raising`.
"""

import threading
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.func import functional_call

from gptdesk.comparison import Stage
from gptdesk.evaluation import already_read, check_enough, compare
from gptdesk.text_windows import text_windows
from models.gpt import GPT
from models.manager import ModelKey, ModelManager
from models.precision import PRECISIONS
from models.precision.mixed import check_base
from models.tokenizer import Tokenizer

MOST_TOKENS = 1_000  # scored: the first ones of the text, so that the logits of 50,257 tokens take 200 MB


@dataclass(frozen=True)
class MatrixSensitivity:
    """KL(float model || the same with this matrix quantized) of a token, in nats, and its standard error."""

    matrix: str  # "h.0.attn.c_attn"
    encoding: str  # that the precision gives it: "int8" where int4 keeps a table or the first attention at int8
    weights: int  # how many it has
    kl: float
    kl_se: float


def first_windows(text: str, tokenizer: Tokenizer, *, context: int, most: int = MOST_TOKENS) -> list[Tensor]:
    """Return the windows of the text's first `most` scored tokens; ValueError as `text_windows`, or for too few."""
    rows, left = [], most
    for row in text_windows(text, tokenizer, context=context):
        if left <= 0:
            break
        rows.append(row[: left + 1])
        left -= len(rows[-1]) - 1
    check_enough(most - left)
    return rows


def sensitivities(
    manager: ModelManager, key: ModelKey, text: str, *, stop: threading.Event | None = None
) -> Iterator[Stage | MatrixSensitivity]:
    """Yield the sensitivity of every matrix at the precision of `key`, int4 or int8, in the order of the network.

    Only the first MOST_TOKENS tokens of the text are read. Ends early once `stop` is set. Raises ValueError for another
    precision, as `ModelManager.lend_network`, and as `first_windows`.
    """
    check_base(key.precision)
    library = manager.library
    context = library.checkpoint(key.name).config.block_size
    rows = first_windows(text, library.tokenizer(key.name), context=context)
    yield Stage("reading the text with the float model", 0.0)
    with manager.lend_network(key.name) as model:
        yield from _of_matrices(model, key.precision, rows, stop)


def _of_matrices(
    model: GPT, precision: str, rows: list[Tensor], stop: threading.Event | None
) -> Iterator[Stage | MatrixSensitivity]:
    """Yield the sensitivity of every matrix of a network on windows of a text, as `sensitivities`."""
    config, scheme = model.config, PRECISIONS[precision]
    with torch.inference_mode():
        exact = [model(row[None, :-1]) for row in rows]  # (1, T, V) each
    matrices = scheme.matrices(config)
    for done, (matrix, (N, K)) in enumerate(matrices.items()):
        encoding = scheme.encoding(matrix, config)
        yield Stage(f"reading the text with {matrix} at {encoding.name}", done / len(matrices))
        with torch.inference_mode():
            weight = encoding.decode(encoding.encode(model.get_parameter(f"{matrix}.weight").detach()))
        kl = _divergences(model, f"{matrix}.weight", weight, rows, exact, stop)
        if kl is None:
            return
        yield MatrixSensitivity(matrix, encoding.name, N * K, float(kl.mean()), float(kl.std() / len(kl) ** 0.5))


def _divergences(
    model: GPT, name: str, weight: Tensor, rows: list[Tensor], exact: list[Tensor], stop: threading.Event | None
) -> Tensor | None:
    """Return the KL divergences (N,) of all tokens with `weight` in place of a parameter; None once `stop` is set."""

    def candidate(tokens: Tensor) -> Tensor:
        logits: Tensor = functional_call(model, {name: weight}, (tokens,))
        return logits

    parts = []
    for row, logits in zip(rows, exact, strict=True):
        parts += [pair.kl for pair in compare(already_read(logits), candidate, [row], stop=stop)]
    return torch.cat(parts) if len(parts) == len(rows) else None
