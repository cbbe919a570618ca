"""What a run of fine-tuning starts with: network, statistics, weights of classes."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import torch

from mmearth_infer.contract.normalize import pretraining_statistics
from mmearth_infer.errors import DataError, RecipeError
from mmearth_training.finetune.batches import measure_statistics
from mmearth_training.losses import MISSING_CLASS
from mmearth_training.model.unet import Unet

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch import Tensor

    from mmearth_infer.contract.bands import ProductLevel
    from mmearth_infer.contract.normalize import Statistics
    from mmearth_training.encoder_checkpoint import EncoderCheckpoint
    from mmearth_training.finetune.recipe import FinetuneRecipe
    from mmearth_training.finetune.tiles import LabelledTiles


def build(recipe: FinetuneRecipe, start: EncoderCheckpoint | None) -> Unet:
    """Build the U-Net from the recipe's seed, its encoder as the checkpoint has it.

    GRN takes its norm over each tile, whatever it did in pretraining.

    Raises:
        RecipeError: If the tiles are not made of the encoder's patches.

    """
    shape = recipe.encoder()
    if start is not None:
        shape = replace(start.config, grn="window", grn_eps=recipe.model.grn_eps)
    if recipe.data.tile_px % shape.patch_px:
        raise RecipeError(
            f"tiles of {recipe.data.tile_px} px are not made of patches of "
            f"{shape.patch_px} px",
            hint=f"data.tile_px is a multiple of {shape.patch_px} with this encoder",
        )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(recipe.seed)
        unet = Unet(shape, len(recipe.classes))
    if start is not None:
        unet.encoder.load_state_dict(dict(start.state))
    return unet


def choose_statistics(
    recipe: FinetuneRecipe, tiles: LabelledTiles, start: EncoderCheckpoint | None
) -> Mapping[ProductLevel, Statistics]:
    """Return what standardises the tiles, as the recipe says.

    Raises:
        DataError: If there is nothing for a level that occurs.
        ManifestError: If the pretraining data have no statistics of a band.

    """
    if recipe.data.statistics == "data":
        return measure_statistics(tiles)
    known = start.statistics if start else pretraining_statistics(recipe.model.bands)
    for level in tiles.levels:
        if level not in known:
            raise DataError(
                f"the encoder has no statistics of {level.upper()}",
                hint='data.statistics = "data" takes those of the tiles',
            )
    return known


def class_weights(recipe: FinetuneRecipe, tiles: LabelledTiles) -> Tensor:
    """Return how much a pixel of each class weighs in the loss, `(K,)`.

    Balanced weights are `pixels / (K * pixels of the class)`: all classes weigh the
    same together.
    """
    count, asked = len(recipe.classes), recipe.loss.class_weights
    if isinstance(asked, tuple):
        return torch.tensor(asked)
    if asked == "equal":
        return torch.ones(count)
    classes = tiles.classes_NHW[tiles.rows("train")]
    pixels_K = np.bincount(classes[classes != MISSING_CLASS], minlength=count)
    weights: Tensor = torch.from_numpy(pixels_K.sum() / (count * pixels_K)).float()
    return weights
