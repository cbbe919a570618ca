"""What one reaches without looking: the mean of each channel, the frequency of classes.

A task has learnt something when its loss is below this.

Shapes: C channels or classes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from mmearth_training.losses import MISSING_CLASS, mean_error, task_error
from mmearth_training.modalities import TASKS

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from torch import Tensor

    from mmearth_training.data.batch import Batch
    from mmearth_training.model.mpmae import MpMae


def fit_trivial(model: MpMae, batches: Iterable[Batch]) -> dict[str, Tensor]:
    """Return what the trivial predictor says of each task, `(C,)`.

    Means of the channels, or the logarithms of class frequencies with one added to
    each count, over the hidden patches of the training data.

    Args:
        model: Says what its targets are; its weights do not matter.
        batches: Training data.

    """
    sums: dict[str, Tensor] = {}
    counts: dict[str, Tensor] = {}
    for batch in batches:
        for task in model.tasks:
            target = model.target(task.name, batch.targets[task.name], batch.mask)
            channels = model.config.channels(task.name)
            if task.kind == "categorical":
                labels = target.reshape(-1)
                labels = labels[labels != MISSING_CLASS]
                total = torch.bincount(labels, minlength=channels).double()
                count = torch.ones(1)
            else:
                flat = target.reshape(-1, channels).double()
                total = torch.nan_to_num(flat).sum(0)
                count = torch.isfinite(flat).sum(0)
            sums[task.name] = sums.get(task.name, 0) + total
            counts[task.name] = counts.get(task.name, 0) + count
    said = {}
    for name, total in sums.items():
        if TASKS[name].kind == "categorical":
            said[name] = ((total + 1) / (total + 1).sum()).log().float()
        else:
            said[name] = mean_error(total, counts[name]).float()
    return said


def trivial_losses(
    model: MpMae, said: Mapping[str, Tensor], batches: Iterable[Batch]
) -> dict[str, float]:
    """Return the loss a task of the trivial predictor on some data."""
    totals = {task.name: torch.zeros(2, dtype=torch.float64) for task in model.tasks}
    for batch in batches:
        for task in model.tasks:
            target = model.target(task.name, batch.targets[task.name], batch.mask)
            channels = model.config.channels(task.name)
            if task.kind == "categorical":
                prediction = said[task.name].expand(target.numel(), channels)
            else:
                prediction = said[task.name].repeat(target.shape[-1] // channels)
                prediction = prediction.expand_as(target)
            error, count = task_error(task, prediction, target)
            totals[task.name] += torch.stack((error.double(), count.double())).cpu()
    return {
        name: float(total[0] / total[1]) if total[1] else float("nan")
        for name, total in totals.items()
    }
