"""What a checkpoint says of itself, enough to export its encoder."""

from __future__ import annotations

import math
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

    from mmearth_training.data.loader import SampleSource
    from mmearth_training.history import Record
    from mmearth_training.run import RunConfig


def describe(
    config: RunConfig,
    samples: SampleSource,
    step: int,
    epoch: float,
    verdict: Record | None,
) -> dict[str, Any]:
    """Return what a checkpoint says of itself, enough to export its encoder."""
    recipe = config.recipe
    network = recipe.network().encoder
    return {
        "step": step,
        "epoch": epoch,
        "encoder": {
            "size": recipe.model.size,
            "depths": network.size.depths,
            "dims": network.size.dims,
            "bands": recipe.bands,
            "patch_px": network.patch_px,
            "original_stem": network.original_stem,
            "grn": network.grn,
            "grn_eps": network.grn_eps,
        },
        "crop_px": recipe.data.crop_px,
        "statistics": {
            level: {"mean": one.mean, "std": one.std}
            for level, one in samples.standardise.optical.items()
        },
        "statistics_source": f"training data `{samples.folder.name}`",
        "facts": {
            "recipe": recipe.name,
            "data": samples.folder.name,
            "data_digest": samples.folder.digest,
            "synthetic": ", ".join(samples.folder.synthetic),
            "tasks": ", ".join(recipe.tasks),
            "epochs": recipe.optim.epochs,
            "steps": step,
            "mask_ratio": recipe.model.mask_ratio,
            "looks": recipe.data.looks,
            "weighting": recipe.loss.weighting,
            "seed": recipe.seed,
            **({"init": config.init.name} if config.init else {}),
        },
        "val_loss": verdict.loss if verdict else None,
        "val_losses": numbers(verdict.losses) if verdict else {},
        "val_trivial": numbers(verdict.trivial) if verdict else {},
        "versions": {
            "mmearth-infer": version("mmearth-infer"),
            "torch": version("torch"),
        },
    }


def numbers(values: Mapping[str, float]) -> dict[str, float]:
    """Return the values that JSON can hold."""
    return {name: value for name, value in values.items() if math.isfinite(value)}
