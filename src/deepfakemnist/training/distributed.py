"""Several processes that train one detector together, one per GPU, as torchrun starts them.

Every process takes its part of each batch, the gradients are averaged, and so all of them hold the same weights. The
first process alone writes files.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, distributed, nn
from torch.nn.parallel import DistributedDataParallel

from deepfakemnist.errors import ConfigError


class Distributed(NamedTuple):
    """Which of how many processes this is; alone where nobody started several."""

    rank: int = 0
    size: int = 1

    @property
    def leads(self) -> bool:
        """This is the process that writes files."""
        return self.rank == 0

    def share_of(self, batch_size: int) -> int:
        """Return the frames of a batch that each process takes. Raises: ConfigError when it cannot be divided."""
        if batch_size % self.size:
            raise ConfigError(f"batch_size {batch_size} cannot be divided among {self.size} processes")
        return batch_size // self.size

    def stepped(self, detector: nn.Module, compiled: bool) -> Callable[[Tensor], Tensor]:
        """Return the forward pass of training: the same weights, whose gradients are averaged over the team."""
        several = DistributedDataParallel(detector) if self.size > 1 else detector
        return torch.compile(several) if compiled else several

    def agree(self, *modules: nn.Module) -> None:
        """Give every process the first one's values: batch norms on CPUs see only their own part of a batch."""
        if self.size > 1:
            for module in modules:
                for value in module.state_dict().values():
                    distributed.broadcast(value, src=0)

    def total(self, *values: Tensor) -> list[float]:
        """Return the sums of scalars over all processes."""
        sums = torch.stack(values)
        if self.size > 1:
            distributed.all_reduce(sums)
        return [float(value) for value in sums]

    def rows_of(self, videos: Sequence[str]) -> NDArray[np.int64]:
        """Return this process's part of rows (N,) that belong to videos; the rows of a video stay together."""
        _, number = np.unique(np.asarray(videos, dtype=str), return_inverse=True)
        return np.flatnonzero(number % self.size == self.rank)

    def joined(self, values: NDArray[np.float32], rows: NDArray[np.int64]) -> NDArray[np.float32]:
        """Return the values (N,) of all rows, of which each process brings those of its own."""
        if self.size == 1:
            return values
        parts: list[Any] = [None] * self.size
        distributed.all_gather_object(parts, (rows, values))
        whole = np.empty(sum(len(found) for found, _ in parts), np.float32)
        for found, brought in parts:
            whole[found] = brought
        return whole


def current_distributed() -> Distributed:
    """Return the team this process is in."""
    if distributed.is_available() and distributed.is_initialized():
        return Distributed(distributed.get_rank(), distributed.get_world_size())
    return Distributed()


def share_norms(detector: nn.Module, team: Distributed, device: torch.device) -> None:
    """Let the batch norms of a team's detector see the whole batch; on GPUs only, torch has none for CPUs."""
    if team.size > 1 and device.type == "cuda":
        nn.SyncBatchNorm.convert_sync_batchnorm(detector)
