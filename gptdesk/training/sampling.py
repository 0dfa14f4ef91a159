"""Samples of a model in training, from the same prompts and the same seed each time: only the model differs."""

import torch
from torch import Tensor

from models.gpt import GPT

TEMPERATURE = 0.8


@torch.inference_mode()
def sample(model: GPT, prompts: Tensor, *, count: int, seed: int) -> Tensor:
    """Return `prompts` (B, T) with `count` sampled tokens after each: (B, T + count)."""
    training = model.training
    model.eval()
    device = model.wte.weight.device
    generator = torch.Generator().manual_seed(seed)
    tokens = prompts.to(device)
    # (B, T) grows by a token each time; the model reads the last block_size of them
    for _ in range(count):
        logits = model(tokens[:, -model.config.block_size :])[:, -1]  # (B, V)
        # on the CPU: one seed draws the same numbers on every device
        probabilities = (logits.float().cpu() / TEMPERATURE).softmax(-1)  # (B, V)
        drawn = torch.multinomial(probabilities, 1, generator=generator)  # (B, 1)
        tokens = torch.cat([tokens, drawn.to(device)], dim=1)
    model.train(training)
    return tokens
