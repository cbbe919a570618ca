"""What a checkpoint of fine-tuning says of itself, enough to export its model."""

from __future__ import annotations

from dataclasses import asdict
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

from mmearth_training.model.encoder import SIZES

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mmearth_training.encoder_checkpoint import EncoderCheckpoint
    from mmearth_training.finetune.batches import Batches
    from mmearth_training.finetune.recipe import FinetuneRecipe
    from mmearth_training.finetune.scores import Scores
    from mmearth_training.model.encoder import EncoderConfig


def describe(  # noqa: PLR0913 -- what is known of a step
    recipe: FinetuneRecipe,
    shape: EncoderConfig,
    bands: Sequence[str],
    batches: Batches,
    start: EncoderCheckpoint | None,
    *,
    step: int,
    scores: Scores | None,
) -> dict[str, Any]:
    """Return the content of `checkpoint.json`, its digests left out.

    Args:
        recipe: Says classes and settings.
        shape: The encoder's.
        bands: Its bands.
        batches: Knows statistics and tiles.
        start: Where the encoder came from.
        step: Steps done.
        scores: On held-out tiles, if there are some.

    """
    size = shape.size
    named = (name for name, one in SIZES.items() if one == size)
    data = recipe.data.statistics == "data"
    own = start.statistics_source if start else "the MMEarth pretraining data"
    return {
        "step": step,
        "epoch": step / batches.steps_an_epoch,
        "encoder": {
            "size": next(named, "custom"),
            "depths": size.depths,
            "dims": size.dims,
            "bands": tuple(bands),
            "patch_px": shape.patch_px,
            "original_stem": shape.original_stem,
            "grn": shape.grn,
            "grn_eps": shape.grn_eps,
        },
        "segmentation": {"classes": [asdict(one) for one in recipe.map_classes]},
        "crop_px": recipe.data.tile_px,
        "statistics": {level: asdict(one) for level, one in batches.statistics.items()},
        "statistics_source": "the tiles it was fine-tuned on" if data else own,
        "facts": {
            "recipe": recipe.name,
            "encoder": start.name if start else "initial weights",
            "encoder_sha256": start.sha256 if start else "",
            "tiles": len(batches.tiles.rows("train")),
            "ignored": ", ".join(map(str, recipe.data.ignored)),
            "decoder_epochs": recipe.optim.decoder_epochs,
            "epochs": recipe.optim.epochs,
            "seed": recipe.seed,
        },
        "val_loss": scores.loss if scores else None,
        "val_scores": asdict(scores) if scores else None,
        "versions": {
            "mmearth-infer": version("mmearth-infer"),
        },
    }
