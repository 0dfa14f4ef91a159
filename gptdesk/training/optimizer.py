"""Optimizers: AdamW that decays matrices only, Muon for the matrices of layers; running mean of the weights.

They are not of torch's class `Optimizer`, which imports torch's compiler: 1.5 s and 90 MB at the start of every run.
"""

import itertools
from collections.abc import Iterable

import torch
from torch import Tensor, nn
from torch.optim.adamw import adamw

from gptdesk.training.distributed import assemble, fill
from gptdesk.training.options import ResolvedTraining
from models.gpt import GPT

# torch's names of the state of a weight
MOMENTS = ("exp_avg", "exp_avg_sq")  # of AdamW
MOMENTUM = "momentum_buffer"  # of Muon
DECAY = 0.95  # of Muon's momentum
# odd polynomial a x + b x^3 + c x^5 whose repetition takes singular values in (0, 1] near 1
QUINTIC = (3.4445, -4.7750, 2.0315)
ITERATIONS = 5
# parameters of matrices of one shape that are orthogonalized in one batch: small ones, one by one, are slow
BATCHED = 1 << 21


class Part:
    """Part of an `Optimizer`: groups of weights with their options, and the state of each weight."""

    def __init__(self, groups: list[dict], **options: object) -> None:
        self.param_groups = [options | group for group in groups]
        self.state: dict[nn.Parameter, dict[str, Tensor]] = {}

    def zero_grad(self) -> None:
        """Remove the gradients of its weights."""
        for group in self.param_groups:
            for weight in group["params"]:
                weight.grad = None

    def step(self) -> None:
        """Update its weights once."""
        raise NotImplementedError


class AdamW(Part):
    """AdamW (Loshchilov and Hutter 2019): torch's step, for groups with a decay of their own."""

    def __init__(self, groups: list[dict], *, lr: float, betas: tuple[float, float], fused: bool) -> None:
        super().__init__(groups, lr=lr)
        self._betas, self._fused = betas, fused

    @torch.no_grad()
    def step(self) -> None:
        """Move each weight by its mean gradient over the root of its mean squared gradient."""
        for group in self.param_groups:
            weights = [weight for weight in group["params"] if weight.grad is not None]
            states = [self._state_of(weight) for weight in weights]
            adamw(
                weights,
                [weight.grad for weight in weights],
                [state[MOMENTS[0]] for state in states],
                [state[MOMENTS[1]] for state in states],
                [],
                [state["step"] for state in states],
                fused=self._fused,
                amsgrad=False,
                beta1=self._betas[0],
                beta2=self._betas[1],
                lr=group["lr"],
                weight_decay=group["weight_decay"],
                eps=1e-8,
                maximize=False,
            )

    def _state_of(self, weight: nn.Parameter) -> dict[str, Tensor]:
        if weight not in self.state:
            # zero moments, before step 1
            self.state[weight] = {kind: torch.zeros_like(weight) for kind in MOMENTS}
            self.state[weight]["step"] = torch.zeros((), device=weight.device)
        return self.state[weight]


class Muon(Part):
    """Orthogonalized momentum (Jordan et al. 2024), for matrices.

    The root mean square of an update is 0.2 learning rates, like that of AdamW (Liu et al. 2025): one learning rate
    and one decay suit both. It differs from torch.optim.Muon where this is needed: query, key and value, which lie in
    one matrix, are three matrices to it, products are in bfloat16 only where the hardware has it, and matrices may be
    sharded.
    """

    def __init__(self, matrices: dict[str, nn.Parameter], *, learning_rate: float, weight_decay: float) -> None:
        # matrices of one shape and one number of parts can be stacked
        alike: dict[tuple[torch.Size, int], list[nn.Parameter]] = {}
        for name, matrix in matrices.items():
            alike.setdefault((matrix.shape, 3 if name.endswith("c_attn.weight") else 1), []).append(matrix)
        # in batches only where the hardware multiplies in bfloat16, else one by one
        groups = [
            {"params": list(batch), "parts": parts}
            for (shape, parts), same in alike.items()
            for batch in _batches(same, max(1, BATCHED // shape.numel()) if has_bfloat16(same[0].device) else 1)
        ]
        super().__init__(groups, lr=learning_rate, weight_decay=weight_decay)

    @torch.no_grad()
    def step(self) -> None:
        """Move each matrix (R, C) by its orthogonalized momentum."""
        for group in self.param_groups:
            matrices = group["params"]
            # n matrices (R, C) -> n * parts matrices (R / parts, C)
            parts = [part for matrix in matrices for part in self._direction(matrix).chunk(group["parts"])]
            # an orthogonal (r, c) has a root mean square of 1 / sqrt(max(r, c)): this makes it 0.2
            updates = orthogonalize(torch.stack(parts)) * (0.2 * max(parts[0].shape) ** 0.5)
            for matrix, update in zip(matrices, updates.view(len(matrices), *matrices[0].shape), strict=True):
                # decoupled weight decay, as in AdamW
                matrix.mul_(1 - group["lr"] * group["weight_decay"])
                matrix.add_(fill(torch.empty_like(matrix), update), alpha=-group["lr"])

    def _direction(self, matrix: nn.Parameter) -> Tensor:
        """Return the gradient (R, C) of an assembled matrix, with momentum."""
        assert matrix.grad is not None
        if matrix not in self.state:
            self.state[matrix] = {MOMENTUM: torch.zeros_like(matrix)}
        momentum = self.state[matrix][MOMENTUM].lerp_(matrix.grad, 1 - DECAY)
        # Nesterov: the mean as it would be after one more such gradient
        return assemble(matrix.grad.lerp(momentum, DECAY))


def _batches(matrices: list[nn.Parameter], most: int) -> Iterable[list[nn.Parameter]]:
    return (matrices[i : i + most] for i in range(0, len(matrices), most))


def orthogonalize(matrices: Tensor) -> Tensor:
    """Return matrices (N, R, C) with singular values brought to between 0.7 and 1.2, by a Newton-Schulz iteration."""
    a, b, c = QUINTIC
    tall = matrices.shape[1] > matrices.shape[2]
    # the Frobenius norm bounds the largest singular value: all of them are in (0, 1] now
    x = matrices / matrices.flatten(1).norm(dim=1).clamp(min=1e-7)[:, None, None]
    # wide, so that x x^T is the smaller of the two products: (N, r, c) with r <= c
    x = (x.mT if tall else x).to(torch.bfloat16 if has_bfloat16(x.device) else x.dtype).contiguous()
    for _ in range(ITERATIONS):
        gram = x @ x.mT  # (N, r, r)
        # a x + (b g + c g g) x with g = x x^T
        x = torch.baddbmm(x, torch.baddbmm(gram, gram, gram, beta=b, alpha=c), x, beta=a)
    return (x.mT if tall else x).to(matrices.dtype).contiguous()


class Optimizer:
    """Several optimizers, each with weights of its own, as one."""

    def __init__(self, *parts: Part) -> None:
        self._parts = parts

    @property
    def param_groups(self) -> list[dict]:
        """Groups of all optimizers; setting "lr" in them sets the learning rate."""
        return [group for part in self._parts for group in part.param_groups]

    def zero_grad(self) -> None:
        """Remove the gradients of all weights."""
        for part in self._parts:
            part.zero_grad()

    def step(self) -> None:
        """Update all weights once."""
        for part in self._parts:
            part.step()

    def moments(self, model: GPT) -> dict[str, Tensor]:
        """Return the state as KIND.NAME of each weight, such as exp_avg.wte.weight; empty before the first step."""
        return {
            f"{kind}.{name}": tensor
            for name, parameter in model.named_parameters()
            for part in self._parts
            for kind, tensor in part.state.get(parameter, {}).items()
            if kind != "step"  # AdamW's own count, which is that of the trainer
        }

    def restore(self, model: GPT, tensors: dict[str, Tensor], *, step: int) -> None:
        """Set the state that `moments` returned after `step` steps; KeyError if a tensor is missing."""
        names = {parameter: name for name, parameter in model.named_parameters()}
        for part in self._parts if step else ():
            for parameter in itertools.chain.from_iterable(group["params"] for group in part.param_groups):
                kinds = (MOMENTUM,) if isinstance(part, Muon) else MOMENTS
                # as many moments as the optimizer of this weight keeps
                state = {kind: tensors[f"{kind}.{names[parameter]}"] for kind in kinds}
                part.state[parameter] = {
                    kind: fill(torch.empty_like(parameter), tensor) for kind, tensor in state.items()
                }
                if not isinstance(part, Muon):
                    part.state[parameter]["step"] = torch.tensor(float(step), device=parameter.device)


def make_optimizer(model: GPT, options: ResolvedTraining, *, fused: bool = True) -> Optimizer:
    """Return AdamW that decays matrices but not biases and layer norms.

    If Muon is chosen it moves the matrices of the layers, and AdamW the embeddings, the head and the vectors. Fused,
    a step of AdamW takes a tenth of the time on a CPU.
    """
    weights = dict(model.named_parameters())
    hidden = {name: weight for name, weight in weights.items() if name.startswith("h.") and weight.ndim == 2}
    if options.optimizer == "adamw":
        return Optimizer(_adamw(weights.values(), options, fused=fused))
    # embeddings, head and vectors, as in Jordan et al.
    rest = [weight for name, weight in weights.items() if name not in hidden]
    muon = Muon(hidden, learning_rate=options.learning_rate, weight_decay=options.weight_decay)
    return Optimizer(muon, _adamw(rest, options, fused=fused))


def _adamw(weights: Iterable[nn.Parameter], options: ResolvedTraining, *, fused: bool) -> AdamW:
    weights = list(weights)
    # vectors are biases, and weights of layer norms: no decay
    matrices = [weight for weight in weights if weight.ndim >= 2]
    vectors = [weight for weight in weights if weight.ndim < 2]
    groups = [{"params": matrices, "weight_decay": options.weight_decay}, {"params": vectors, "weight_decay": 0.0}]
    return AdamW(groups, lr=options.learning_rate, betas=(options.beta1, options.beta2), fused=fused)


def has_bfloat16(device: torch.device) -> bool:
    """Return whether this hardware multiplies in bfloat16; where it is emulated, it can be 40 times slower."""
    if device.type == "cpu":
        return torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()
    return device.type == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False)


class Average:
    """Running mean of a model's weights (Polyak and Juditsky 1992), over fewer steps at first."""

    def __init__(self, model: GPT, decay: float) -> None:
        self.decay = decay
        self.weights = {name: weight.detach().clone() for name, weight in model.named_parameters()}

    @torch.no_grad()
    def update(self, model: GPT, step: int) -> None:
        """Add the weights after `step` steps to the mean."""
        # 0.1, 0.18, ... at first: the initial weights soon count for nothing
        decay = min(self.decay, step / (step + 9))
        current = [weight.detach() for weight in model.parameters()]
        torch._foreach_lerp_(list(self.weights.values()), current, 1 - decay)
