"""What moves the weights: AdamW that decays matrices only, and a running mean of the weights."""

import torch
from torch import Tensor
from torch.optim import AdamW

from gptdesk.training.options import TrainingOptions
from models.gpt import GPT

MOMENTS = ("exp_avg", "exp_avg_sq")  # AdamW's memory of a weight, by its names in torch


def make_optimizer(model: GPT, options: TrainingOptions, *, fused: bool = True) -> AdamW:
    """AdamW (Loshchilov and Hutter 2019) that decays matrices but not biases and layer norms.

    Fused, a step takes a tenth of the time on a CPU.
    """
    matrices = [parameter for parameter in model.parameters() if parameter.ndim >= 2]
    vectors = [parameter for parameter in model.parameters() if parameter.ndim < 2]
    groups = [{"params": matrices, "weight_decay": options.weight_decay}, {"params": vectors, "weight_decay": 0.0}]
    return AdamW(groups, lr=options.learning_rate, betas=(options.beta1, options.beta2), fused=fused)


def moments(optimizer: AdamW, model: GPT) -> dict[str, Tensor]:
    """What the optimizer remembers, as exp_avg.NAME and exp_avg_sq.NAME of each weight; empty before its first step."""
    return {
        f"{moment}.{name}": optimizer.state[parameter][moment]
        for name, parameter in model.named_parameters()
        if parameter in optimizer.state
        for moment in MOMENTS
    }


def restore_moments(optimizer: AdamW, model: GPT, tensors: dict[str, Tensor], *, step: int) -> None:
    """Make the optimizer remember what `moments` told after `step` steps; KeyError if a tensor is missing."""
    if not step:
        return
    for name, parameter in model.named_parameters():
        state = {moment: tensors[f"{moment}.{name}"].to(parameter.device, copy=True) for moment in MOMENTS}
        optimizer.state[parameter] = {"step": torch.tensor(float(step), device=parameter.device), **state}


class Average:
    """The running mean of a model's weights (Polyak and Juditsky 1992), of fewer steps at first."""

    def __init__(self, model: GPT, memory: float) -> None:
        self.memory = memory
        self.weights = {name: weight.detach().clone() for name, weight in model.named_parameters()}

    @torch.no_grad()
    def update(self, model: GPT, step: int) -> None:
        """Take in the weights after `step` steps."""
        memory = min(self.memory, step / (step + 9))
        theirs = [weight.detach() for weight in model.parameters()]
        torch._foreach_lerp_(list(self.weights.values()), theirs, 1 - memory)
