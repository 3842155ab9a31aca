"""One process or many: who this process is, what the processes agree on, and how a network is wrapped.

    torchrun's environment -> Processes -> share of the batch, means over processes, DistributedDataParallel

Sources: PyTorch's DistributedDataParallel; the batch of the recipe is that of all processes together, so that a run
means the same on one GPU and on eight.
"""

from __future__ import annotations

import gc
import importlib
import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, distributed, nn
from torch.nn.parallel import DistributedDataParallel

from codec.errors import TrainingError

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Processes:
    """This process among those that train together.

    Attributes:
        rank: number of this process, from 0.
        count: how many there are.
    """

    rank: int = 0
    count: int = 1

    @property
    def is_first(self) -> bool:
        """Whether this process writes files and speaks."""
        return self.rank == 0

    def share_of(self, batch_size: int) -> int:
        """Return how many samples of a batch each process takes.

        Raises:
            TrainingError: they cannot be shared evenly.
        """
        if batch_size % self.count:
            raise TrainingError(f"batch_size is {batch_size}; {self.count} processes cannot share it evenly")
        return batch_size // self.count

    def mean(self, values: Tensor) -> Tensor:
        """Return the mean over processes of a tensor."""
        if self.count > 1:
            distributed.all_reduce(values)
            values = values / self.count
        return values

    def wrap(self, network: nn.Module, device: torch.device) -> nn.Module:
        """Return a network whose gradients are averaged over processes."""
        if self.count == 1 or not any(parameter.requires_grad for parameter in network.parameters()):
            return network
        return DistributedDataParallel(network, device_ids=[device.index] if device.type == "cuda" else None)

    def synchronise_norms(self, network: nn.Module, device: torch.device) -> nn.Module:
        """Return a network whose batch norms see the batch of all processes, on GPUs (PyTorch has it for them only)."""
        has_norms = any(isinstance(module, nn.BatchNorm2d) for module in network.modules())
        if self.count == 1 or not has_norms:
            return network
        if device.type != "cuda":
            logger.warning("batch norms see one process's share of the batch: PyTorch synchronises them on GPUs only")
            return network
        converted: nn.Module = nn.SyncBatchNorm.convert_sync_batchnorm(network)
        return converted


@contextmanager
def join(device: torch.device) -> Iterator[tuple[Processes, torch.device]]:
    """Join the processes that ``torchrun`` started, for the time of a run; alone without it.

    Args:
        device: wanted; "cuda" becomes the GPU of this process.

    Raises:
        TrainingError: there are more processes than GPUs.
    """
    count = int(os.environ.get("WORLD_SIZE", "1"))
    if count == 1:
        yield Processes(), device
        return
    if device.type == "cuda":
        local_rank = int(os.environ["LOCAL_RANK"])
        if local_rank >= torch.cuda.device_count():
            raise TrainingError(f"process {local_rank} has no GPU: there are {torch.cuda.device_count()}")
        device = torch.device("cuda", local_rank)
        torch.cuda.set_device(device)
    # Functions of this module have the group of their import's time as a default, which keeps it for ever.
    importlib.import_module("torch.distributed.nn")
    distributed.init_process_group("nccl" if device.type == "cuda" else "gloo")
    try:
        yield Processes(distributed.get_rank(), distributed.get_world_size()), device
    finally:
        # The group ends its threads when nobody holds it. A thread that outlives the interpreter, and has yet to let go
        # of the last tensor it reduced, ends the process by std::terminate.
        gc.collect()
        distributed.destroy_process_group()
