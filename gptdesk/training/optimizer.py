"""What moves the weights: AdamW that decays matrices only, Muon for hidden matrices, and a mean of the weights."""

import itertools
from collections.abc import Iterable

import torch
from torch import Tensor, nn
from torch.optim import AdamW

from gptdesk.training.distributed import fill, whole
from gptdesk.training.options import TrainingOptions
from models.gpt import GPT

MOMENTS = ("exp_avg", "exp_avg_sq")  # AdamW's memory of a weight, by its names in torch
MOMENTUM = "momentum_buffer"  # Muon's
MEMORY = 0.95  # of that momentum
QUINTIC = (3.4445, -4.7750, 2.0315)  # a polynomial that takes singular values from 0 to 1 near 1 when repeated
REPEATED = 5
TOGETHER = (
    1 << 21
)  # weights of matrices of one shape that are made orthogonal together: small ones, one by one, are slow


class Muon(torch.optim.Optimizer):
    """Momentum made orthogonal (Jordan et al. 2024), for matrices.

    The entries of a step are of 0.2 learning rates, like those of AdamW (Liu et al. 2025): one learning rate and one
    decay suit both. It differs from torch.optim.Muon in what is needed here: query, key and value, which lie in one
    matrix, are taken as three, products are in bfloat16 only where the hardware has it, and matrices may be sharded.
    """

    def __init__(self, matrices: dict[str, nn.Parameter], *, learning_rate: float, weight_decay: float) -> None:
        alike: dict[tuple[torch.Size, int], list[nn.Parameter]] = {}
        for name, matrix in matrices.items():
            alike.setdefault((matrix.shape, 3 if name.endswith("c_attn.weight") else 1), []).append(matrix)
        groups = [
            {"params": list(together), "parts": parts}
            for (shape, parts), found in alike.items()
            for together in _batches(found, max(1, TOGETHER // shape.numel()) if has_bfloat16(found[0].device) else 1)
        ]
        super().__init__(groups, {"lr": learning_rate, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self) -> None:  # type: ignore[override]
        for group in self.param_groups:
            matrices = group["params"]
            parts = [part for matrix in matrices for part in self._direction(matrix).chunk(group["parts"])]
            updates = orthogonal(torch.stack(parts)) * (0.2 * max(parts[0].shape) ** 0.5)
            for matrix, update in zip(matrices, updates.view(len(matrices), *matrices[0].shape), strict=True):
                matrix.mul_(1 - group["lr"] * group["weight_decay"])
                matrix.add_(fill(torch.empty_like(matrix), update), alpha=-group["lr"])

    def _direction(self, matrix: nn.Parameter) -> Tensor:
        """The gradient of a whole matrix, with momentum."""
        assert matrix.grad is not None
        if MOMENTUM not in self.state[matrix]:
            self.state[matrix][MOMENTUM] = torch.zeros_like(matrix)
        momentum = self.state[matrix][MOMENTUM].lerp_(matrix.grad, 1 - MEMORY)
        return whole(matrix.grad.lerp(momentum, MEMORY))


def _batches(matrices: list[nn.Parameter], most: int) -> Iterable[list[nn.Parameter]]:
    return (matrices[i : i + most] for i in range(0, len(matrices), most))


def orthogonal(matrices: Tensor) -> Tensor:
    """Matrices (N, R, C) with their singular values brought to between 0.7 and 1.2, by a Newton-Schulz iteration."""
    a, b, c = QUINTIC
    tall = matrices.shape[1] > matrices.shape[2]
    x = matrices / matrices.flatten(1).norm(dim=1).clamp(min=1e-7)[:, None, None]
    x = (x.mT if tall else x).to(torch.bfloat16 if has_bfloat16(x.device) else x.dtype).contiguous()
    for _ in range(REPEATED):
        gram = x @ x.mT
        x = torch.baddbmm(x, torch.baddbmm(gram, gram, gram, beta=b, alpha=c), x, beta=a)
    return (x.mT if tall else x).to(matrices.dtype).contiguous()


class Optimizer:
    """One or several of torch's optimizers, each with weights of its own, as one."""

    def __init__(self, *parts: torch.optim.Optimizer) -> None:
        self._parts = parts

    @property
    def param_groups(self) -> list[dict]:
        return [group for part in self._parts for group in part.param_groups]

    def zero_grad(self) -> None:
        for part in self._parts:
            part.zero_grad()

    def step(self) -> None:
        for part in self._parts:
            part.step()

    def moments(self, model: GPT) -> dict[str, Tensor]:
        """What is remembered, as KIND.NAME of each weight, such as exp_avg.wte.weight; empty before the first step."""
        return {
            f"{kind}.{name}": tensor
            for name, parameter in model.named_parameters()
            for part in self._parts
            for kind, tensor in part.state.get(parameter, {}).items()
            if kind != "step"
        }

    def restore(self, model: GPT, tensors: dict[str, Tensor], *, step: int) -> None:
        """Remember what `moments` told after `step` steps; KeyError if a tensor is missing."""
        names = {parameter: name for name, parameter in model.named_parameters()}
        for part in self._parts if step else ():
            for parameter in itertools.chain.from_iterable(group["params"] for group in part.param_groups):
                kinds = (MOMENTUM,) if isinstance(part, Muon) else MOMENTS
                state = {kind: tensors[f"{kind}.{names[parameter]}"] for kind in kinds}
                part.state[parameter] = {
                    kind: fill(torch.empty_like(parameter), tensor) for kind, tensor in state.items()
                }
                if not isinstance(part, Muon):
                    part.state[parameter]["step"] = torch.tensor(float(step), device=parameter.device)


def make_optimizer(model: GPT, options: TrainingOptions, *, fused: bool = True) -> Optimizer:
    """AdamW (Loshchilov and Hutter 2019) that decays matrices but not biases and layer norms.

    If Muon is chosen it moves the matrices of the layers; AdamW moves the embeddings, the head and what is no matrix.
    Fused, a step of AdamW takes a tenth of the time on a CPU.
    """
    weights = dict(model.named_parameters())
    hidden = {name: weight for name, weight in weights.items() if name.startswith("h.") and weight.ndim == 2}
    if options.optimizer == "adamw":
        return Optimizer(_adamw(weights.values(), options, fused=fused))
    rest = [weight for name, weight in weights.items() if name not in hidden]
    muon = Muon(hidden, learning_rate=options.learning_rate, weight_decay=options.weight_decay)
    return Optimizer(muon, _adamw(rest, options, fused=fused))


def _adamw(weights: Iterable[nn.Parameter], options: TrainingOptions, *, fused: bool) -> AdamW:
    weights = list(weights)
    matrices = [weight for weight in weights if weight.ndim >= 2]
    vectors = [weight for weight in weights if weight.ndim < 2]
    groups = [{"params": matrices, "weight_decay": options.weight_decay}, {"params": vectors, "weight_decay": 0.0}]
    return AdamW(groups, lr=options.learning_rate, betas=(options.beta1, options.beta2), fused=fused)


def has_bfloat16(device: torch.device) -> bool:
    """Whether this hardware multiplies in bfloat16 at all; where it only pretends to, it can be 40 times slower."""
    if device.type == "cpu":
        return torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()
    return device.type == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False)


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
