"""Predictions put back where they belong, to be looked at.

Shapes: N samples, C channels, H W pixels, U hidden patches, Q values of a patch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from mmearth_training.losses import (
    MISSING_CLASS,
    hidden_target,
    patch_scale,
    patchify,
    unpatchify,
)
from mmearth_training.modalities import INPUT
from mmearth_training.model.masking import place
from mmearth_training.pictures import Reconstruction

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

    from mmearth_training.data.batch import Batch
    from mmearth_training.modalities import Modality
    from mmearth_training.model.mpmae import MpMae


@torch.no_grad()
def reconstruct(
    model: MpMae, batch: Batch, *, bands: Sequence[str]
) -> list[list[Reconstruction]]:
    """Return the pixel-level tasks of each sample with what the model says of them.

    Patches of Sentinel-2 are predicted with mean 0 and standard deviation 1; here
    they get those of their target back, which the model does not know.
    """
    predictions = model.predict(batch.x_NBhw, batch.mask)
    hidden_N1HW = 1 - batch.mask.visible_map(model.config.encoder.patch_px)
    samples: list[list[Reconstruction]] = [[] for _ in range(len(batch))]
    for task in model.tasks:
        if task.level == "image":
            continue
        target = batch.targets[task.name]
        painted = _paint(model, task, predictions[task.name].float(), target, batch)
        if task.kind == "categorical":
            target = target.float().masked_fill(target == MISSING_CLASS, torch.nan)
        for number, sample in enumerate(samples):
            sample.append(
                Reconstruction(
                    task=task.name,
                    target=target[number].float().cpu().numpy(),
                    prediction=painted[number].cpu().numpy(),
                    hidden_HW=hidden_N1HW[number, 0].bool().cpu().numpy(),
                    channels=tuple(bands) if task.name == INPUT else (),
                )
            )
    return samples


def _paint(
    model: MpMae, task: Modality, said_NUQ: Tensor, target: Tensor, batch: Batch
) -> Tensor:
    """Return the target with predictions in its hidden patches, shaped like it."""
    patch_px = model.config.encoder.patch_px
    mask = batch.mask
    if task.kind == "categorical":
        count, hidden, _ = said_NUQ.shape
        classes = said_NUQ.view(count, hidden, patch_px**2, -1).argmax(-1).float()
        whole = patchify(target[:, None].float(), patch_px)
        return unpatchify(place(classes, mask.hidden_NU, whole), patch_px)[:, 0]
    if task.name == INPUT and model.config.normalise_patches:
        plain = hidden_target(task, target, mask, patch_px=patch_px, normalise=False)
        mean, scale = patch_scale(plain)
        said_NUQ = said_NUQ * scale + mean
    whole = patchify(target, patch_px)
    return unpatchify(place(said_NUQ, mask.hidden_NU, whole), patch_px)
