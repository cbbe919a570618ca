"""The encoder that a run starts from, where it is not drawn by chance."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from mmearth_infer.errors import RecipeError
from mmearth_training.load import load_encoder

if TYPE_CHECKING:
    from pathlib import Path

    from mmearth_training.config import Recipe
    from mmearth_training.encoder_checkpoint import EncoderCheckpoint
    from mmearth_training.model.encoder import EncoderConfig


def open_start(path: Path | None, recipe: Recipe) -> EncoderCheckpoint | None:
    """Read the encoder that a recipe is to start from.

    Args:
        path: A checkpoint as `load_encoder` takes it; None for initial weights.
        recipe: What it is for.

    Raises:
        ModelError: If it is no checkpoint.
        UnsafeFileError: If a `.pth` file asks for anything but data.
        RecipeError: If its encoder is not the one the recipe builds.

    """
    if path is None:
        return None
    start = load_encoder(path)
    wanted = recipe.network().encoder
    there = replace(start.config, grn=wanted.grn, grn_eps=wanted.grn_eps)
    if there != wanted:
        raise RecipeError(
            f"`{path}` holds {_shape(there)}, and the recipe `{recipe.name}` builds "
            f"{_shape(wanted)}",
            hint="choose a recipe, or change its [model], to what the checkpoint holds",
        )
    if start.bands != recipe.bands:
        raise RecipeError(
            f"`{path}` reads {', '.join(start.bands)}, and the recipe "
            f"`{recipe.name}` {', '.join(recipe.bands)}",
            hint="the bands have to be the same, in the same order",
        )
    return start


def _shape(encoder: EncoderConfig) -> str:
    """Return what tells encoders apart."""
    stem = "ImageNet's stem" if encoder.original_stem else "MMEarth's stem"
    return (
        f"depths {encoder.size.depths}, widths {encoder.size.dims}, patches of "
        f"{encoder.patch_px} px, {stem}, {encoder.bands} bands"
    )
