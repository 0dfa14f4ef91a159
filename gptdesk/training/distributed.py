"""The processes that train one model together, as torchrun starts them: who I am, and how we add up."""

import gc
import os
from collections.abc import Callable, Iterator
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
    """This process among `size` that train together; rank 0 writes and speaks."""

    rank: int = 0
    size: int = 1

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
        """The model's loss, whose backward pass averages the gradients of all processes."""
        return SharedLoss(model, shared=self.size > 1)


class SharedLoss:
    """`model.loss`, shared with other processes where there are any."""

    def __init__(self, model: GPT, *, shared: bool) -> None:
        self._together = DistributedDataParallel(_LossModule(model)) if shared else None
        self._loss: Loss = self._together or model.loss

    def __call__(self, tokens: Tensor, targets: Tensor) -> Tensor:
        return self._loss(tokens, targets)

    def unshared(self) -> AbstractContextManager[None]:
        """While it lasts gradients stay here: the parts of a batch before its last."""
        return self._together.no_sync() if self._together else nullcontext()


class _LossModule(nn.Module):
    """The loss as a forward pass, which is what DistributedDataParallel watches."""

    def __init__(self, model: GPT) -> None:
        super().__init__()
        self.model = model

    def forward(self, tokens: Tensor, targets: Tensor) -> Tensor:
        return self.model.loss(tokens, targets)


@contextmanager
def world() -> Iterator[World]:
    """Join the processes that torchrun has started, if it has; otherwise this process is alone."""
    size = int(os.environ.get("WORLD_SIZE", "1"))
    if size == 1:
        yield World()
        return
    if torch.cuda.is_available():
        torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", "0")))
    distributed.init_process_group("nccl" if torch.cuda.is_available() else "gloo", timeout=PAUSE)
    try:
        yield World(distributed.get_rank(), size)
        distributed.barrier()  # nobody hangs up while another may still speak
    finally:
        gc.collect()  # what has been shared must be gone before the means to share it are
        distributed.destroy_process_group()
