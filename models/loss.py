"""Cross-entropy of a large vocabulary without its logits: they are made, used and forgotten a few rows at a time.

N positions, C channels, V vocabulary. The gradient of a row's logits is known as soon as they are (softmax minus the
target), so that the backward pass has nothing left to compute.
"""

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

SKIPPED = -100  # a target that does not count
ROWS = 256


def linear_cross_entropy(x: Tensor, weight: Tensor, targets: Tensor) -> Tensor:
    """Mean cross-entropy in nats of `targets` (N,) under the logits `x` (N, C) times `weight` (V, C) transposed."""
    loss: Tensor = _LinearCrossEntropy.apply(x, weight, targets)
    return loss


class _LinearCrossEntropy(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, targets: Tensor) -> Tensor:
        wanted = any(ctx.needs_input_grad[:2])
        counted = (targets != SKIPPED).sum()
        total = torch.zeros((), device=x.device)
        dx, dweight = torch.empty_like(x), torch.zeros_like(weight)
        for start in range(0, len(x), ROWS):
            part, goal = x[start : start + ROWS], targets[start : start + ROWS]
            logits = F.linear(part, weight).float()  # (ROWS, V)
            logits -= logits.logsumexp(-1, keepdim=True)
            total += F.nll_loss(logits, goal, ignore_index=SKIPPED, reduction="sum")
            if wanted:
                slope = logits.exp_()
                skipped = (goal == SKIPPED)[:, None]
                slope.scatter_add_(1, goal[:, None].clamp(min=0), torch.full_like(skipped, -1, dtype=slope.dtype))
                slope.masked_fill_(skipped, 0)
                dx[start : start + ROWS] = slope @ weight
                dweight += slope.t() @ part
        if wanted:
            ctx.save_for_backward(dx, dweight, counted)
        return total / counted

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor, None]:
        dx, dweight, counted = ctx.saved_tensors
        scale = gradients[0] / counted
        return (dx * scale).to(dx.dtype), (dweight * scale).to(dweight.dtype), None
