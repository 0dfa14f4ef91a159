"""What a model in training writes: the same prompts and the same dice each time, so that only the model differs."""

import torch
from torch import Tensor

from models.gpt import GPT

TEMPERATURE = 0.8


@torch.inference_mode()
def sample(model: GPT, prompts: Tensor, *, count: int, seed: int) -> Tensor:
    """`prompts` (B, T) and the `count` tokens the model puts after each: (B, T + count)."""
    training = model.training
    model.eval()
    device = model.wte.weight.device
    generator = torch.Generator().manual_seed(seed)
    tokens = prompts.to(device)
    for _ in range(count):
        logits = model(tokens[:, -model.config.block_size :])[:, -1]  # (B, V)
        chances = (logits.float().cpu() / TEMPERATURE).softmax(-1)
        drawn = torch.multinomial(chances, 1, generator=generator)
        tokens = torch.cat([tokens, drawn.to(device)], dim=1)
    model.train(training)
    return tokens
