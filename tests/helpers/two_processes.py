"""One training step in two gloo processes, or the same in one."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from safetensors.torch import save_file
from torch import distributed

from mmearth_training.config import Recipe, changed
from mmearth_training.data.loader import Batch
from mmearth_training.distributed import World
from mmearth_training.loop import build
from mmearth_training.losses import MISSING_CLASS
from mmearth_training.modalities import INPUT, MODALITIES
from mmearth_training.model.blocks import GRN
from mmearth_training.run import RunConfig

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from torch import Tensor

    from mmearth_training.step import Trainer

SAMPLES = 4


def joint_batches(count: int) -> list[Batch]:
    """Some micro batches of all processes."""
    return [joint_batch(seed) for seed in range(count)]


def joint_batch(seed: int = 0) -> Batch:
    """Noise with missing targets, most of them in the first half."""
    generator = torch.Generator().manual_seed(seed)

    def noise(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator)

    targets = {}
    for task in MODALITIES.values():
        side = (56, 56) if task.level == "pixel" else ()
        if task.kind == "categorical":
            target = torch.randint(0, task.width, (SAMPLES, *side), generator=generator)
            target[0] = MISSING_CLASS
        else:
            channels = 12 if task.name == INPUT else task.width
            target = noise(SAMPLES, channels, *side)
            target[0, :1] = torch.nan
        targets[task.name] = target
    order = torch.stack(
        [torch.randperm(49, generator=generator) for _ in range(SAMPLES)]
    )
    return Batch(
        x_NBhw=torch.nan_to_num(targets[INPUT]),
        targets=targets,
        visible_NV=order[:, :19].sort().values,
        hidden_NU=order[:, 19:].sort().values,
    )


def half(batch: Batch, rank: int) -> Batch:
    """The samples of one of two processes."""
    part = slice(rank * SAMPLES // 2, (rank + 1) * SAMPLES // 2)
    return Batch(
        x_NBhw=batch.x_NBhw[part],
        targets={name: value[part] for name, value in batch.targets.items()},
        visible_NV=batch.visible_NV[part],
        hidden_NU=batch.hidden_NU[part],
    )


def take_step(world: World, batches: Sequence[Batch], *, sync: bool, out: Path) -> None:
    """Take one step of a network whose GRN matters; keep losses and gradients."""
    recipe = changed(
        Recipe(name="two"),
        data={"tile_px": 64, "crop_px": 56},
        model={"patch_px": 8, "decoder_width": 16},
        optim={
            "batch": SAMPLES * len(batches),
            "micro_batch": SAMPLES // world.size,
            "sync_grn": sync,
        },
    )
    trainer = build(RunConfig(recipe=recipe, data=out, out=out, device="cpu"), world)
    stir(trainer)
    losses = trainer.step(batches, 1)
    if world.first:
        kept = {
            name: p.grad
            for name, p in trainer.model.named_parameters()
            if p.grad is not None
        }
        kept["losses"] = torch.tensor([losses.total, *losses.tasks.values()])
        save_file(kept, out)


def stir(trainer: Trainer) -> None:
    """Move GRN away from the identity, where its norm would not matter."""
    generator = torch.Generator().manual_seed(1)
    for module in trainer.model.modules():
        if isinstance(module, GRN):
            module.gamma.data = torch.randn(module.gamma.shape, generator=generator)


def work(rank: int, rendezvous: str, count: int, sync: bool, out: Path) -> None:  # noqa: FBT001 -- called by spawn
    """Be one of two processes."""
    torch.set_num_threads(1)
    distributed.init_process_group(
        "gloo", init_method=f"file://{rendezvous}", rank=rank, world_size=2
    )
    world = World(rank=rank, size=2, device=torch.device("cpu"))
    halves = [half(batch, rank) for batch in joint_batches(count)]
    take_step(world, halves, sync=sync, out=out)
    distributed.destroy_process_group()
