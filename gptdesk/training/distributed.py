"""Processes that train one model together, as torchrun starts them: ranks, sums, gradients, shards."""

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

TIMEOUT = timedelta(days=30)  # of the wait for the first process, which may be paused
Loss = Callable[[Tensor, Tensor], Tensor]


@dataclass(frozen=True)
class ProcessGroup:
    """This process and the others, `size` together; rank 0 writes the run's files and the output.

    If `sharded`, each holds its shard of weights, gradients and moments, else each holds all.
    """

    rank: int = 0
    size: int = 1
    sharded: bool = False

    def share(self, count: int) -> range:
        """Return which of `count` rows this process computes."""
        # all rows are covered once, and the shares differ by at most one
        return range(self.rank * count // self.size, (self.rank + 1) * count // self.size)

    def sum(self, *values: float | Tensor) -> list[float]:
        """Return the sums over all processes, bit-exact in each: a decision based on them is the same everywhere."""
        if self.size == 1:
            return [float(value) for value in values]
        # (n,) in float64: counts and flags stay exact
        total = torch.tensor([float(value) for value in values], dtype=torch.float64)
        if distributed.get_backend() == "nccl":
            total = total.cuda()  # nccl has no tensors on the CPU
        # in place: every process ends with the same (n,) sums
        distributed.all_reduce(total)
        sums: list[float] = total.tolist()
        return sums

    def wait(self) -> None:
        """Wait until all processes have come this far."""
        if self.size > 1:
            distributed.barrier()

    def loss_of(self, model: GPT) -> "GroupLoss":
        """Return the model's loss, whose backward pass averages the gradients of all processes.

        If they are sharded, the model's weights are replaced by this process's shards.
        """
        # both kinds average gradients by themselves; one process has nothing to average
        if self.sharded:
            return _ShardedLoss(model)
        return _ReplicatedLoss(model) if self.size > 1 else GroupLoss(model.loss)

    def send_request(self, request: int) -> None:
        """Send what the first process needs from the others, if they are sharded; 0: nothing more."""
        if self.sharded and self.rank == 0:
            self.sum(request)

    def receive_request(self) -> int:
        """Return what the first process needs from this one; 0 in the first, and if the model is not sharded."""
        # a sum is a broadcast when all but one add 0
        return int(self.sum(0)[0]) if self.sharded and self.rank else 0

    def gather(self, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
        """Return tensors, assembled from their shards: in the memory of the first process, nothing elsewhere."""
        if not self.sharded:
            return tensors
        gathered = {}
        for name, tensor in tensors.items():  # one by one: all at once may not fit
            # every process takes part, and only the first keeps the result
            value = assemble(tensor)
            if self.rank == 0:
                gathered[name] = value.cpu()
        return gathered


class GroupLoss:
    """Loss of a model that this process trains alone."""

    def __init__(self, loss: Loss) -> None:
        self._loss = loss

    def __call__(self, tokens: Tensor, targets: Tensor) -> Tensor:
        return self._loss(tokens, targets)

    def no_sync(self) -> AbstractContextManager[None]:
        """Keep gradients in this process while the block runs: for the parts of a batch before its last."""
        return nullcontext()


class _ReplicatedLoss(GroupLoss):
    """Loss of a model that every process has all of."""

    def __init__(self, model: GPT) -> None:
        # gradients of all processes are averaged while the backward pass runs
        self._parallel = DistributedDataParallel(_LossModule(model))
        super().__init__(self._parallel)

    def no_sync(self) -> AbstractContextManager[None]:
        return self._parallel.no_sync()


class _ShardedLoss(GroupLoss):
    """Loss of a model that every process has a shard of (FSDP2): a layer is assembled only while it computes."""

    def __init__(self, model: GPT) -> None:
        from torch.distributed.fsdp import fully_shard, register_fsdp_forward_method  # a second to import

        mesh = distributed.init_device_mesh(model.wte.weight.device.type, (distributed.get_world_size(),))
        # each layer by itself, then what is left: one layer at a time is assembled
        for part in (*model.h, model):
            fully_shard(part, mesh=mesh)
        # hooks assemble the weights for `forward` only, unless a method is registered
        register_fsdp_forward_method(model, "loss")
        self._model = model
        super().__init__(model.loss)

    @contextmanager
    def no_sync(self) -> Iterator[None]:
        # gradients of the whole stay in this process until they are synchronized
        self._model.set_requires_gradient_sync(False)  # type: ignore[operator]
        yield
        self._model.set_requires_gradient_sync(True)  # type: ignore[operator]


class _LossModule(nn.Module):
    """Loss as a forward pass, which DistributedDataParallel hooks into."""

    def __init__(self, model: GPT) -> None:
        super().__init__()
        self.model = model

    def forward(self, tokens: Tensor, targets: Tensor) -> Tensor:
        # (b, T), (b, T) -> ()
        return self.model.loss(tokens, targets)


def assemble(tensor: Tensor) -> Tensor:
    """Return all of a tensor that may be sharded: then every process must call this at the same time."""
    full: Tensor = tensor.full_tensor() if _is_sharded(tensor) else tensor  # type: ignore[attr-defined]
    return full


@torch.no_grad()
def fill(target: Tensor, values: Tensor) -> Tensor:
    """Copy a tensor into `target`, or this process's shard of it if that is sharded; return `target`."""
    if _is_sharded(target):
        # the import takes a second, which only sharded training pays
        from torch.distributed.tensor import DTensor, distribute_tensor

        assert isinstance(target, DTensor)
        # no source rank: every process has all values, so nothing is sent
        values = distribute_tensor(values.to(target.device), target.device_mesh, target.placements, src_data_rank=None)
    return target.copy_(values)


def set_weights(model: GPT, weights: Mapping[str, Tensor]) -> None:
    """Copy weights by their names into a model; every process must call this. KeyError if one is missing."""
    for name, parameter in model.named_parameters():
        fill(parameter, weights[name])


def _is_sharded(tensor: Tensor) -> bool:
    """Return whether it is a DTensor, without the second that the import of that class takes."""
    return hasattr(tensor, "full_tensor")


def assemble_model(model: GPT, weights: Mapping[str, Tensor]) -> GPT:
    """Return a new model with these weights, assembled; every process must call this at the same time."""
    # meta: no memory for weights that are replaced at once
    with torch.device("meta"):
        copy = GPT(model.config)
    # assigned, not copied: the assembled tensors become its parameters
    copy.load_state_dict({name: assemble(weight.detach()) for name, weight in weights.items()}, assign=True)
    return copy.eval()


@contextmanager
def join_processes(device: torch.device, *, sharded: bool = False) -> Iterator[ProcessGroup]:
    """Join the processes that torchrun has started, if any, to train on such a device.

    Raises ValueError if the model is to be `sharded` and there is no other process.
    """
    # set by torchrun, with the address of the first process
    size = int(os.environ.get("WORLD_SIZE", "1"))
    if size == 1:
        if sharded:
            raise ValueError("--shard divides a model among processes and there is one; start it under torchrun")
        yield ProcessGroup()
        return
    # one GPU for each process of this computer
    if device.type == "cuda":
        torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", "0")))
    distributed.init_process_group("nccl" if device.type == "cuda" else "gloo", timeout=TIMEOUT)
    try:
        yield ProcessGroup(distributed.get_rank(), size, sharded)
        distributed.barrier()  # no process leaves while another may still send
    finally:
        gc.collect()  # tensors of the group must be freed before it is
        distributed.destroy_process_group()
