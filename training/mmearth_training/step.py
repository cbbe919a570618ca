"""One step of the optimiser: micro batches, all processes, losses that add up.

Shapes: T tasks.
"""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from mmearth_infer.errors import TrainingError
from mmearth_training.losses import mean_error, names_of
from mmearth_training.model.blocks import grn_alone

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from torch.optim import AdamW

    from mmearth_training.data.batch import Batch
    from mmearth_training.distributed import World
    from mmearth_training.model.mpmae import MpMae
    from mmearth_training.run import Precision


@dataclass(frozen=True, slots=True, kw_only=True)
class Losses:
    """Losses of one step or one split, over all processes."""

    total: float
    """What is minimised."""

    tasks: dict[str, float]
    """Unweighted loss a task, NaN without any target."""


class Trainer:
    """Holds the model and its optimiser, and takes steps."""

    def __init__(
        self, model: MpMae, optimizer: AdamW, world: World, *, precision: Precision
    ) -> None:
        """Wrap the model for several processes, if there are some."""
        self.model, self.optimizer, self.world = model, optimizer, world
        self.precision = precision
        several = world.size > 1
        self.forward: nn.Module = DistributedDataParallel(model) if several else model

    def step(self, batches: Sequence[Batch], number: int) -> Losses:
        """Take one step.

        The error of a task is divided by how many values all processes saw, so that
        they agree with one process on the joint micro batch. Micro batches in a row
        weigh equally.

        Args:
            batches: Micro batches of this process.
            number: Number of the step, for the error.

        Raises:
            TrainingError: If a loss or the gradient is not finite; no weight moved.

        """
        self.optimizer.zero_grad()
        means, totals = [], []
        for batch, last in _with_last(batches):
            with nullcontext() if last else self._alone():
                sums_T, counts_T = self._errors(batch)
                all_counts_T = self.world.sum(counts_T)
                mean_T = mean_error(self.world.sum(sums_T), all_counts_T)
                self._check(mean_T, number, batch)
                own_T = mean_error(self.world.size * sums_T, all_counts_T)
                loss = self.model.weights(own_T, mean_T) / len(batches)
                loss.backward()
            seen_T = torch.where(all_counts_T > 0, mean_T, torch.nan)
            means.append(seen_T)
            totals.append(self.model.weights(mean_T).detach())
        gradients = [p.grad for p in self.model.parameters() if p.grad is not None]
        if not torch.nn.utils.get_total_norm(gradients).isfinite():
            raise TrainingError(
                f"the gradient is not finite at step {number}",
                hint="lower optim.base_lr, or train in --precision fp32",
            )
        self.optimizer.step()
        return self._losses(torch.stack(means).nanmean(0), torch.stack(totals).mean())

    @torch.no_grad()
    def validate(self, batches: Iterable[Batch]) -> Losses:
        """Return the losses on held-out data, every value weighing the same.

        Every process validates on all of it.
        """
        tasks = len(self.model.tasks)
        sums_T = torch.zeros(tasks, dtype=torch.float64, device=self.world.device)
        counts_T = torch.zeros_like(sums_T)
        with grn_alone(self.model):
            for batch in batches:
                errors_T, there_T = self._errors(batch, self.model)
                sums_T += errors_T
                counts_T += there_T
        mean_T = mean_error(sums_T, counts_T).float()
        shown_T = torch.where(counts_T > 0, mean_T, torch.nan)
        return self._losses(shown_T, self.model.weights(mean_T))

    def _errors(
        self, batch: Batch, model: nn.Module | None = None
    ) -> tuple[Tensor, Tensor]:
        """Run the model on a micro batch."""
        batch = batch.to(self.world.device)
        kind = self.world.device.type
        with torch.autocast(kind, torch.bfloat16, enabled=self.precision == "bf16"):
            sums_T, counts_T = (model or self.forward)(
                batch.x_NBhw, batch.targets, batch.mask
            )
        return sums_T, counts_T

    def _alone(self) -> AbstractContextManager[None]:
        """Leave gradients where they are until the last micro batch."""
        if isinstance(self.forward, DistributedDataParallel):
            return self.forward.no_sync()
        return nullcontext()

    def _check(self, losses_T: Tensor, number: int, batch: Batch) -> None:
        """Name the tasks whose loss is not finite, unless the input was not."""
        finite = losses_T.isfinite().tolist()
        if all(finite):
            return
        if broken := int((~batch.x_NBhw.isfinite()).flatten(1).any(1).sum()):
            raise TrainingError(
                f"the input of {broken} of {len(batch)} samples is not finite at step "
                f"{number}",
                hint="look at its data, statistics and the recipe's `augment`; the "
                "last checkpoint is as it was, and a resumed run meets them again",
            )
        wrong = [
            task.name
            for task, fine in zip(self.model.tasks, finite, strict=True)
            if not fine
        ]
        raise TrainingError(
            f"the loss of {', '.join(f'`{name}`' for name in wrong)} is not finite "
            f"at step {number}",
            hint="look at its data and statistics; the last checkpoint is as it was",
        )

    def _losses(self, losses_T: Tensor, total: Tensor) -> Losses:
        """Return losses by name."""
        names = self.model.config.tasks
        return Losses(
            total=float(total),
            tasks=dict(names_of(losses_T, names)),
        )


def _with_last(batches: Sequence[Batch]) -> Iterator[tuple[Batch, bool]]:
    """Yield each batch, and whether it is the last."""
    for number, batch in enumerate(batches, 1):
        yield batch, number == len(batches)
