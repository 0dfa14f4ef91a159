"""Cross-entropy of a large vocabulary without all its logits at once: a few rows are computed and used at a time.

N positions, C channels, V vocabulary. The gradient of a row's logits is known as soon as they are (softmax minus the
target), so that the backward pass has nothing left to compute.
"""

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

SKIPPED = -100  # a target that does not count
ROWS = 256  # positions whose logits are in memory at once


def linear_cross_entropy(x: Tensor, weight: Tensor, targets: Tensor) -> Tensor:
    """Return the mean cross-entropy in nats of `targets` (N,) under the logits `x` (N, C) times `weight` (V, C).T.

    The backward pass gives the gradients of `x` and `weight`.
    """
    loss: Tensor = _LinearCrossEntropy.apply(x, weight, targets)
    return loss


class _LinearCrossEntropy(torch.autograd.Function):
    """Loss whose forward pass computes the gradients too, while a chunk of logits is in memory."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, targets: Tensor) -> Tensor:
        wanted = any(ctx.needs_input_grad[:2])
        skipped = (targets == SKIPPED)[:, None]  # (N, 1)
        counted, some = len(targets) - int(skipped.sum()), bool(skipped.any())
        total = torch.zeros((), device=x.device)
        # (N, C) and (V, C)
        dx, dweight = torch.empty_like(x), torch.zeros_like(weight)
        for start in range(0, len(x), ROWS):
            rows = slice(start, start + ROWS)
            # (ROWS, C) @ (C, V) -> (ROWS, V), under autocast in bfloat16
            logits = F.linear(x[rows], weight)
            logp = F.log_softmax(logits.float(), dim=-1)
            total += F.nll_loss(logp, targets[rows], ignore_index=SKIPPED, reduction="sum")
            if wanted:
                # softmax minus one at the target, (ROWS, V), in the memory of logp
                slope = logp.exp_()
                goal = targets[rows, None].clamp(min=0)
                slope.scatter_add_(1, goal, slope.new_full(goal.shape, -1))
                # a skipped target was clamped to token 0, and its row must not count
                if some:
                    slope.masked_fill_(skipped[rows], 0)
                # (ROWS, V) @ (V, C), then the sum over rows of (V, ROWS) @ (ROWS, C)
                dx[rows] = slope @ weight
                # addmm_ needs one type; under autocast the product is bfloat16 and the sum is not
                if logits.dtype == dweight.dtype:
                    dweight.addmm_(slope.t(), x[rows])
                else:
                    dweight += slope.t() @ x[rows]
        if wanted:
            ctx.save_for_backward(dx, dweight)
            ctx.counted = counted
        return total / counted

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor, None]:
        # of the mean, not the sum
        dx, dweight = ctx.saved_tensors
        scale = gradients[0] / ctx.counted
        return (dx * scale).to(dx.dtype), (dweight * scale).to(dweight.dtype), None
