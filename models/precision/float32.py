"""float32: the weights as trained, run so that a sequence never depends on how many others run beside it.

Matrix kernels add in another order for another number of rows, and vector kernels treat the tail of an array apart. So
the last bits of a sequence would change with the size of its batch, and now and then a sampled token with them. While
tokens come one at a time, everything but attention and layer norm, which go row by row anyway, therefore runs on pairs
of rows: always the same shape. A pair takes as long as a single row; a batch of eight takes a third longer than in one
go. (Attention with a single head is the exception: alone, one row gets all threads, and they split its sums.)
"""

import copy

import torch
from torch import Tensor, nn

from models.gpt import GPT, Block


class InPairs(nn.Module):
    """A module that treats every row alike, applied to two rows at a time when there is one position per sequence."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module

    def forward(self, x: Tensor) -> Tensor:
        B, T, _ = x.shape  # (B, T, C) -> (B, T, N)
        if T > 1 or B == 2:
            return self.module(x)
        even = torch.cat([x, x[-1:]]) if B % 2 else x  # (B or B + 1, 1, C)
        if B == 1:
            return self.module(even)[:1]
        return torch.cat([self.module(pair) for pair in even.split(2)])[:B]


def prepare(model: GPT) -> GPT:
    """A view of `model` for inference; the weights are shared, so it follows a model that is still in training."""
    shared: dict[int, object] = {id(parameter): parameter for parameter in model.parameters()}
    view = copy.deepcopy(model, shared).eval()
    for block in view.h:
        assert isinstance(block, Block)
        block.attn.register_module("c_attn", InPairs(block.attn.c_attn))
        block.attn.register_module("c_proj", InPairs(block.attn.c_proj))
        block.register_module("mlp", InPairs(block.mlp))
    head = view.lm_head
    if head is None:
        head = nn.Linear(view.config.n_embd, view.config.vocab_size, bias=False, device="meta")
        head.weight = view.wte.weight
    view.lm_head = InPairs(head)
    return view
