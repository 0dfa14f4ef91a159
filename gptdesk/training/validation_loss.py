"""Validation loss: mean loss of a model over rows that it does not train on."""

import torch
from torch import Tensor

from models.gpt import GPT


@torch.inference_mode()
def evaluate(model: GPT, tokens: Tensor, *, batch_size: int = 32) -> float:
    """Return the mean loss in nats per token over the rows of `tokens` (R, T + 1), without dropout."""
    training = model.training
    model.eval()
    total = 0.0
    for rows in tokens.split(batch_size):
        rows = rows.to(model.wte.weight.device)
        # the loss is a mean over the rows of this batch, and the last batch may have fewer
        total += model.loss(rows[:, :-1], rows[:, 1:]).item() * len(rows)
    # the caller may be in the middle of training
    model.train(training)
    return total / len(tokens)
