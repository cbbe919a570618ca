"""What is learnt: the error of each task over hidden patches, and their weighting.

Shapes: N samples, C channels, H W pixels, P patches, U hidden patches,
p pixels a side of a patch, Q = p p C values of a patch with channels fastest, T tasks.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

if TYPE_CHECKING:
    from collections.abc import Mapping

    from mmearth_training.modalities import Modality
    from mmearth_training.model.masking import Mask

Weighting = Literal["equal", "uncertainty"]
"""All tasks alike, or by learnt uncertainty (Kendall et al. 2018)."""

MISSING_CLASS = -1
"""Class number of a pixel or image that has no label."""

PATCH_NORM_EPS = 1e-6
"""Added to the variance of a patch of Sentinel-2."""


def patchify(x_NCHW: Tensor, patch_px: int) -> Tensor:
    """Cut maps into patches, `(N, P, Q)`, channels fastest."""
    count, channels, height, width = x_NCHW.shape
    rows, cols = height // patch_px, width // patch_px
    x = x_NCHW.reshape(count, channels, rows, patch_px, cols, patch_px)
    return x.permute(0, 2, 4, 3, 5, 1).reshape(count, rows * cols, -1)


def unpatchify(x_NPQ: Tensor, patch_px: int) -> Tensor:
    """Put patches together again, `(N, C, H, W)`; undoes `patchify`."""
    count, patches, _ = x_NPQ.shape
    side = round(patches**0.5)
    x = x_NPQ.reshape(count, side, side, patch_px, patch_px, -1)
    x = x.permute(0, 5, 1, 3, 2, 4)
    return x.reshape(count, -1, side * patch_px, side * patch_px)


def patch_scale(target_NUQ: Tensor) -> tuple[Tensor, Tensor]:
    """Return mean and standard deviation of each patch, `(N, U, 1)`, missing left out.

    Over all pixels and channels of the patch at once, with the unbiased variance, as
    the published code does. A patch with fewer than two values has variance 0.
    """
    there = torch.isfinite(target_NUQ)
    count = there.sum(-1, keepdim=True)
    known = torch.where(there, target_NUQ, 0)
    mean = known.sum(-1, keepdim=True) / count.clamp(min=1)
    distance = known.sub_(mean).mul_(there)
    squares = torch.linalg.vector_norm(distance, dim=-1, keepdim=True) ** 2
    variance = squares / (count - 1).clamp(min=1)
    return mean, (variance + PATCH_NORM_EPS).sqrt()


@torch.no_grad()
def hidden_target(
    task: Modality, target: Tensor, mask: Mask, *, patch_px: int, normalise: bool
) -> Tensor:
    """Return what a pixel-level head should say, `(N, U, Q)`.

    Args:
        task: The task.
        target: `(N, C, H, W)` standardised, NaN where missing; classes `(N, H, W)`.
        mask: Its hidden patches are returned.
        patch_px: Side of a patch.
        normalise: Bring every patch to mean 0 and standard deviation 1.

    """
    if task.kind == "categorical":
        target = target[:, None]
    target_NUQ = _hidden_patches(target, mask, patch_px)
    if not normalise:
        return target_NUQ
    mean, scale = patch_scale(target_NUQ)
    return target_NUQ.sub_(mean).div_(scale)


def _hidden_patches(x_NCHW: Tensor, mask: Mask, patch_px: int) -> Tensor:
    """Return `pick(patchify(x), hidden)` in a new tensor, `(N, U, Q)`.

    Patches are picked first, row by row of pixels; only those have their channels
    turned.
    """
    count, channels = x_NCHW.shape[:2]
    side = mask.side
    cells = x_NCHW.reshape(count, channels, side, patch_px, side, patch_px)
    first = torch.arange(count, device=x_NCHW.device)[:, None]
    row_NU, col_NU = mask.hidden_NU // side, mask.hidden_NU % side
    patches = cells.permute(0, 2, 4, 1, 3, 5)[first, row_NU, col_NU]
    return patches.view(count, -1, channels, patch_px**2).mT.flatten(2)


def task_error(
    task: Modality, prediction: Tensor, target: Tensor
) -> tuple[Tensor, Tensor]:
    """Return the sum of a task's errors and how many there are, two scalars.

    Squared error of every value that is there, or cross-entropy of every label.

    Args:
        task: The task.
        prediction: `(N, U, Q)` of a pixel-level task, Q holding all classes of a
            pixel side by side, `(N, O)` of an image-level one.
        target: `(N, U, Q)` and `(N, O)`, NaN where missing; for classes one number
            a pixel or image, `MISSING_CLASS` where there is none.

    """
    if task.kind == "categorical":
        logits, labels = _by_class(prediction.float(), target)
        total = functional.cross_entropy(
            logits, labels, ignore_index=MISSING_CLASS, reduction="sum"
        )
        return total, (labels != MISSING_CLASS).sum()
    prediction = prediction.float()
    there = torch.isfinite(target)
    target = torch.where(there, target, prediction.detach())
    total = functional.mse_loss(prediction, target, reduction="sum")
    return total, there.sum()


def _by_class(prediction: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    """Return logits with classes in front of pixels, and their labels.

    Softmax runs four times as fast over an axis that does not lie last in memory.
    """
    if prediction.ndim == 2:  # noqa: PLR2004 -- (N, O), an image-level task
        return prediction, target.reshape(-1)
    labels_MP = target.flatten(0, 1)
    logits_MPK = prediction.reshape(*labels_MP.shape, -1)
    return logits_MPK.mT.contiguous(), labels_MP


def mean_error(total: Tensor, count: Tensor) -> Tensor:
    """Return `total / count`, and 0 where nothing was there to learn."""
    return total / count.clamp(min=1)


class TaskWeights(nn.Module):
    """Puts the losses of the tasks together.

    `equal` adds them. `uncertainty` is `sum over t of exp(-s_t) L_t + s_t` with
    learnt `s_t = log sigma_t^2`; a task whose loss is exactly 0 adds nothing, so that
    one without targets in a batch does not move its uncertainty.
    """

    def __init__(self, tasks: int, weighting: Weighting) -> None:
        """Start with all tasks alike, `s_t = 0`."""
        super().__init__()
        self.weighting = weighting
        self.log_vars_T = nn.Parameter(
            torch.zeros(tasks), requires_grad=weighting == "uncertainty"
        )

    def forward(self, losses_T: Tensor, counted_T: Tensor | None = None) -> Tensor:
        """Return the loss that is minimised, a scalar.

        Args:
            losses_T: Loss of each task.
            counted_T: Losses that decide which tasks count, where these are a part
                of the losses only; None for the losses themselves.

        """
        if self.weighting == "equal":
            return losses_T.sum()
        counted_T = losses_T.detach() if counted_T is None else counted_T
        weighted_T = torch.exp(-self.log_vars_T) * losses_T + self.log_vars_T
        return torch.where(counted_T != 0, weighted_T, 0).sum()


def names_of(values_T: Tensor, tasks: tuple[str, ...]) -> Mapping[str, float]:
    """Return one number a task by name."""
    return dict(zip(tasks, values_T.tolist(), strict=True))
