"""The processes of a run: one by default, several under `torchrun`."""

from __future__ import annotations

import os
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import distributed

from mmearth_infer.errors import RecipeError

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

    Raises:
        RecipeError: If there is no such device.

    """
    chosen = choose_device(device)
    if "WORLD_SIZE" not in os.environ:
        yield World(rank=0, size=1, device=chosen)
        return
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


def choose_device(name: str) -> torch.device:
    """Return a device by name, `auto` for the first GPU or else the CPU.

    Raises:
        RecipeError: If there is no such device.

    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    hint = "choose cpu, cuda, cuda:1, ... or auto"
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise RecipeError(f"there is no device `{name}`", hint=hint) from error
    here = {"cpu": 1, "cuda": torch.cuda.device_count()}.get(device.type, 0)
    if (device.index or 0) >= here:
        raise RecipeError(f"PyTorch finds no device `{name}` here", hint=hint)
    return device
