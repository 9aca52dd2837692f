"""Distributed data-parallel training helpers: one process per GPU, as torchrun starts them.

Every rank trains on its part of each batch and gradients are averaged, so all ranks hold the same weights. Rank 0
alone writes files.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch import distributed as dist
from torch.nn.parallel import DistributedDataParallel

from deepfakemnist.errors import ConfigError

Result = TypeVar("Result")


class Distributed(NamedTuple):
    """Rank and world size of this process, with the collectives of training; a world size of 1 makes them no-ops."""

    rank: int = 0
    world_size: int = 1

    @classmethod
    def current(cls) -> Distributed:
        """Return rank and world size in torch's default process group; rank 0 of 1 where none is initialised."""
        if dist.is_available() and dist.is_initialized():
            return cls(dist.get_rank(), dist.get_world_size())
        return cls()

    @property
    def is_main(self) -> bool:
        """Whether this is rank 0, which writes the files."""
        return self.rank == 0

    def local_batch_size(self, batch_size: int) -> int:
        """Return the frames of a batch per rank. Raises: ConfigError when the world size does not divide the batch."""
        if batch_size % self.world_size:
            raise ConfigError(f"batch_size {batch_size} is not divisible by the {self.world_size} processes")
        return batch_size // self.world_size

    def training_forward(self, detector: nn.Module, compiled: bool) -> Callable[[Tensor], Tensor]:
        """Return the detector's forward pass with gradients averaged over all ranks, compiled if asked for."""
        wrapped = DistributedDataParallel(detector) if self.world_size > 1 else detector
        return torch.compile(wrapped) if compiled else wrapped

    def broadcast(self, *modules: nn.Module) -> None:
        """Broadcast the state of rank 0: on CPUs, batch norms see only their own rank's part of a batch."""
        if self.world_size == 1:
            return
        tensors = [tensor for module in modules for tensor in module.state_dict().values()]
        # One collective per type: hundreds of small ones take seconds.
        for dtype in dict.fromkeys(tensor.dtype for tensor in tensors):
            values = [tensor for tensor in tensors if tensor.dtype == dtype]
            flat = torch.cat([value.flatten() for value in values])
            dist.broadcast(flat, src=0)
            for value, part in zip(values, flat.split([value.numel() for value in values]), strict=True):
                value.copy_(part.view(value.shape))

    def average_gradients(self, parameters: Sequence[nn.Parameter]) -> None:
        """Average the gradients over all ranks, in one collective; the ranks have gradients of the same parameters.

        For losses that run several networks, of which DistributedDataParallel would have to know which take part.
        """
        gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
        if self.world_size == 1 or not gradients:
            return
        flat = torch.cat([gradient.flatten() for gradient in gradients])
        dist.all_reduce(flat)
        flat /= self.world_size
        parts = flat.split([gradient.numel() for gradient in gradients])
        torch._foreach_copy_(gradients, [part.view(g.shape) for part, g in zip(parts, gradients, strict=True)])

    def main_first(self, work: Callable[[], Result]) -> Result:
        """Run ``work`` on rank 0, which may write files, and then on the others, which read them."""
        if not self.is_main:
            self.wait()
        result = work()
        if self.is_main:
            self.wait()
        return result

    def wait(self) -> None:
        """Wait for all ranks."""
        if self.world_size > 1:
            dist.barrier()

    def average(self, values: Sequence[Tensor]) -> list[float]:
        """Return the means of scalars over all ranks."""
        return [value / self.world_size for value in self.all_reduce(*values)]

    def all_reduce(self, *values: Tensor) -> list[float]:
        """Return the sums of scalars over all ranks."""
        sums = torch.stack(values)
        if self.world_size > 1:
            dist.all_reduce(sums)
        return [float(value) for value in sums]

    def local_rows(self, videos: Sequence[str]) -> NDArray[np.int64]:
        """Return this rank's share of rows (N,), given the video of each; all rows of a video go to one rank."""
        _, number = np.unique(np.asarray(videos, dtype=str), return_inverse=True)
        return np.flatnonzero(number % self.world_size == self.rank)

    def all_gather(self, values: NDArray[np.float32], rows: NDArray[np.int64]) -> NDArray[np.float32]:
        """Return the values (N,) of all rows, gathered from the ranks; ``values`` are those of this rank's ``rows``."""
        if self.world_size == 1:
            return values
        parts: list[Any] = [None] * self.world_size
        dist.all_gather_object(parts, (rows, values))
        gathered = np.empty(sum(len(part_rows) for part_rows, _ in parts), np.float32)
        for part_rows, part_values in parts:
            gathered[part_rows] = part_values
        return gathered


def synchronize_batch_norms(detector: nn.Module, distributed: Distributed, device: torch.device) -> None:
    """Compute batch norm statistics over all ranks; on GPUs only, since torch has no SyncBatchNorm for CPUs."""
    if distributed.world_size > 1 and device.type == "cuda":
        nn.SyncBatchNorm.convert_sync_batchnorm(detector)
