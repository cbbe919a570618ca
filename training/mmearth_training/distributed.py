"""The processes of a run: one by default, several under `torchrun`."""

from __future__ import annotations

import os
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import distributed

if TYPE_CHECKING:
    from collections.abc import Iterator

    from torch import Tensor


@dataclass(frozen=True, slots=True, kw_only=True)
class World:
    """This process among those of the run."""

    rank: int
    """Its number, from 0."""

    size: int
    """How many there are."""

    device: torch.device
    """What it computes on."""

    @property
    def first(self) -> bool:
        """Whether it is the one that writes."""
        return self.rank == 0

    def sum(self, values: Tensor) -> Tensor:
        """Return the sum over all processes, without gradient."""
        total = values.detach().clone()
        if self.size > 1:
            distributed.all_reduce(total)
        return total

    def wait(self) -> None:
        """Wait for all processes."""
        if self.size > 1:
            distributed.barrier()


@contextmanager
def join_world(device: str) -> Iterator[World]:
    """Join the other processes, if `torchrun` started some.

    Args:
        device: `auto`, `cpu` or a CUDA device; with several processes on GPUs each
            takes the one of its local rank.

    """
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    if "WORLD_SIZE" not in os.environ:
        yield World(rank=0, size=1, device=torch.device(device))
        return
    chosen = torch.device(device)
    if chosen.type == "cuda":
        chosen = torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")))
        torch.cuda.set_device(chosen)
    distributed.init_process_group("nccl" if chosen.type == "cuda" else "gloo")
    try:
        yield World(
            rank=distributed.get_rank(),
            size=distributed.get_world_size(),
            device=chosen,
        )
    finally:
        distributed.destroy_process_group()
