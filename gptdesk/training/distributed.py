"""The processes that train one model together, as torchrun starts them: who I am, and how we add up."""

import gc
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from datetime import timedelta

import torch
from torch import Tensor, distributed, nn
from torch.nn.parallel import DistributedDataParallel

from models.gpt import GPT

PAUSE = timedelta(days=30)  # that the others wait for the first process, which may be paused
Loss = Callable[[Tensor, Tensor], Tensor]


@dataclass(frozen=True)
class World:
    """This process among `size` that train together; rank 0 writes and speaks.

    If `sharded`, each holds its part of the weights, gradients and moments, else each holds all.
    """

    rank: int = 0
    size: int = 1
    sharded: bool = False

    def share(self, count: int) -> range:
        """Which of `count` rows are ours."""
        return range(self.rank * count // self.size, (self.rank + 1) * count // self.size)

    def add_up(self, *values: float | Tensor) -> list[float]:
        """The sums over all processes, the same bits in each."""
        if self.size == 1:
            return [float(value) for value in values]
        total = torch.tensor([float(value) for value in values], dtype=torch.float64)
        if distributed.get_backend() == "nccl":
            total = total.cuda()
        distributed.all_reduce(total)
        found: list[float] = total.tolist()
        return found

    def wait(self) -> None:
        """Until all have come this far."""
        if self.size > 1:
            distributed.barrier()

    def loss_of(self, model: GPT) -> "SharedLoss":
        """The model's loss, whose backward pass averages the gradients of all processes.

        If the world is sharded, the model's weights are replaced by this process's parts of them.
        """
        if self.sharded:
            return _ShardedLoss(model)
        return _CopiedLoss(model) if self.size > 1 else SharedLoss(model.loss)

    def call(self, what: int) -> None:
        """The first process of a sharded world tells the others, which listen, what it needs them for; 0: nothing."""
        if self.sharded and self.rank == 0:
            self.add_up(what)

    def listen(self) -> int:
        """What the first process needs the others for, as they hear it."""
        return int(self.add_up(0)[0]) if self.sharded and self.rank else 0

    def gather(self, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
        """Tensors, made whole if they are sharded: then in the memory of the first process, and nothing elsewhere."""
        if not self.sharded:
            return tensors
        found = {}
        for name, tensor in tensors.items():  # one by one: all at once may not fit
            value = whole(tensor)
            if self.rank == 0:
                found[name] = value.cpu()
        return found


class SharedLoss:
    """The loss of a model that this process trains alone, and what others are told of it: nothing."""

    def __init__(self, loss: Loss) -> None:
        self._loss = loss

    def __call__(self, tokens: Tensor, targets: Tensor) -> Tensor:
        return self._loss(tokens, targets)

    def unshared(self) -> AbstractContextManager[None]:
        """While it lasts gradients stay here: the parts of a batch before its last."""
        return nullcontext()


class _CopiedLoss(SharedLoss):
    """Of a model that every process has all of."""

    def __init__(self, model: GPT) -> None:
        self._together = DistributedDataParallel(_LossModule(model))
        super().__init__(self._together)

    def unshared(self) -> AbstractContextManager[None]:
        return self._together.no_sync()


class _ShardedLoss(SharedLoss):
    """Of a model that every process has a part of (FSDP2): a layer is whole only while it computes."""

    def __init__(self, model: GPT) -> None:
        from torch.distributed.fsdp import fully_shard, register_fsdp_forward_method  # a second to import

        mesh = distributed.init_device_mesh(model.wte.weight.device.type, (distributed.get_world_size(),))
        for part in (*model.h, model):
            fully_shard(part, mesh=mesh)
        register_fsdp_forward_method(model, "loss")
        self._model = model
        super().__init__(model.loss)

    @contextmanager
    def unshared(self) -> Iterator[None]:
        self._model.set_requires_gradient_sync(False)  # type: ignore[operator]
        yield
        self._model.set_requires_gradient_sync(True)  # type: ignore[operator]


class _LossModule(nn.Module):
    """The loss as a forward pass, which is what DistributedDataParallel watches."""

    def __init__(self, model: GPT) -> None:
        super().__init__()
        self.model = model

    def forward(self, tokens: Tensor, targets: Tensor) -> Tensor:
        return self.model.loss(tokens, targets)


def whole(tensor: Tensor) -> Tensor:
    """All of a tensor, if it is sharded: then every process must ask at the same time."""
    found: Tensor = tensor.full_tensor() if _is_sharded(tensor) else tensor  # type: ignore[attr-defined]
    return found


@torch.no_grad()
def fill(target: Tensor, values: Tensor) -> Tensor:
    """Copy all of a tensor into `target`, which may be sharded and takes its part; returns `target`."""
    if _is_sharded(target):
        from torch.distributed.tensor import DTensor, distribute_tensor

        assert isinstance(target, DTensor)
        values = distribute_tensor(values.to(target.device), target.device_mesh, target.placements, src_data_rank=None)
    return target.copy_(values)


def put(model: GPT, weights: Mapping[str, Tensor]) -> None:
    """Copy weights by their names into a model, each of whose processes calls this; KeyError if one is missing."""
    for name, parameter in model.named_parameters():
        fill(parameter, weights[name])


def _is_sharded(tensor: Tensor) -> bool:
    """Whether it is a DTensor, without the second that the import of that class takes."""
    return hasattr(tensor, "full_tensor")


def whole_model(model: GPT, weights: Mapping[str, Tensor]) -> GPT:
    """A model of its own with these weights, made whole; every process must ask at the same time."""
    with torch.device("meta"):
        copy = GPT(model.config)
    copy.load_state_dict({name: whole(weight.detach()) for name, weight in weights.items()}, assign=True)
    return copy.eval()


@contextmanager
def world(device: torch.device, *, sharded: bool = False) -> Iterator[World]:
    """Join the processes that torchrun has started, if it has, to train on such a device; otherwise it is alone.

    ValueError if the model is to be `sharded` and there is no other process.
    """
    size = int(os.environ.get("WORLD_SIZE", "1"))
    if size == 1:
        if sharded:
            raise ValueError("--shard divides a model among processes and there is one; start it under torchrun")
        yield World()
        return
    if device.type == "cuda":
        torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", "0")))
    distributed.init_process_group("nccl" if device.type == "cuda" else "gloo", timeout=PAUSE)
    try:
        yield World(distributed.get_rank(), size, sharded)
        distributed.barrier()  # nobody hangs up while another may still speak
    finally:
        gc.collect()  # what has been shared must be gone before the means to share it are
        distributed.destroy_process_group()
