"""Segmentation: the U-Net and the two phases of `mmearth finetune`, on GEO-Bench."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Final

import msgspec
import numpy as np

from mmearth_infer.errors import ModelError
from mmearth_infer.grid.window import Window
from mmearth_training.data.scenes import SceneOptions
from mmearth_training.finetune.batches import Batches
from mmearth_training.finetune.loop import evaluate, resume, total_steps, train
from mmearth_training.finetune.optim import build_optimizer
from mmearth_training.finetune.recipe import (
    ClassRecipe,
    DataRecipe,
    FinetuneRecipe,
    LossRecipe,
    ModelRecipe,
    checked,
)
from mmearth_training.finetune.run import FinetuneConfig
from mmearth_training.finetune.setup import build
from mmearth_training.finetune.tiles import LabelledTiles
from mmearth_training.finetune.watch import Watch
from mmearth_training.run import prepare

if TYPE_CHECKING:
    from pathlib import Path

    from mmearth_infer.contract.bands import ProductLevel
    from mmearth_training.encoder_checkpoint import EncoderCheckpoint
    from mmearth_training.evaluate.case import Case

_LEVEL: Final[ProductLevel] = "l2a"
_VALIDATIONS: Final = 10
_MAX_DN: Final = np.iinfo(np.uint16).max


def segment(
    case: Case, run: Path, *, quiet: bool = True
) -> dict[str, dict[str, float]]:
    """Train a U-Net and return its metrics by split.

    The run is a folder as `mmearth finetune` makes it: interrupted, it is taken up
    again, and its last checkpoint can be exported.

    Args:
        case: Encoder and data set.
        run: Folder of the run.
        quiet: Show no progress.

    Raises:
        DataError: If a sample cannot be read.
        ModelError: If the encoder is of another architecture.
        TrainingError: If the loss is not finite, or the run there is another.
        StoreError: If the folder cannot be written.

    """
    start = case.contender.checkpoint
    if start is None:
        raise ModelError(
            f"`{case.contender.name}` is no ConvNeXt V2, and can be probed only",
            hint="leave it out, or choose tasks of classification",
        )
    tiles = read_tiles(case)
    recipe = recipe_of(case, tiles, start)
    batches = Batches(
        tiles=tiles,
        statistics={_LEVEL: case.statistics},
        size=recipe.optim.batch,
        seed=case.seed,
        device=case.device,
        turns=False,
    )
    model = build(recipe, start).to(case.device)
    optimizer = build_optimizer(model, recipe.optim)
    config = FinetuneConfig(
        recipe=recipe,
        data=case.folder.path,
        out=run,
        options=SceneOptions(),
        device=str(case.device),
        resume=True,
    )
    identity = {
        "recipe": msgspec.to_builtins(recipe),
        "tiles": tiles.digest,
        "encoder": start.sha256,
        "statistics": asdict(case.statistics),
    }
    prepare(config, identity)
    done = resume(config, batches, model, optimizer)
    with Watch(config, total=total_steps(recipe, batches), quiet=quiet) as watch:
        train(config, batches, model, optimizer, watch, start=start, done=done)
    found = {}
    for split in ("val", "test"):
        if len(tiles.rows(split)):
            scores = evaluate(model, batches, recipe, split)
            found[split] = {
                "mean_jaccard": scores.mean_iou,
                "pixel_accuracy": scores.accuracy,
            }
    return found


def read_tiles(case: Case) -> LabelledTiles:
    """Return all samples of the splits as tiles, in memory.

    Digital numbers are whole; those of images that were resampled are rounded.
    """
    names = [(split, one) for split, every in case.splits.items() for one in every]
    first = case.images.dn([names[0][1]])[0]
    dn_NBHW = np.empty((len(names), *first.shape), np.uint16)
    classes_NHW = np.empty((len(names), *first.shape[1:]), np.int16)
    for row, (_, name) in enumerate(names):
        dn_NBHW[row] = np.rint(case.images.dn([name])[0]).clip(0, _MAX_DN)
        classes_NHW[row] = case.folder.read_classes(name)
    side_px = first.shape[-1]
    whole = Window(row=0, col=0, height=side_px, width=side_px)
    return LabelledTiles(
        dn_NBHW=dn_NBHW,
        classes_NHW=classes_NHW,
        levels=(_LEVEL,) * len(names),
        splits=tuple(split for split, _ in names),
        places=tuple((name, whole) for _, name in names),
    )


def recipe_of(
    case: Case, tiles: LabelledTiles, start: EncoderCheckpoint
) -> FinetuneRecipe:
    """Return the paper's segmentation as a recipe of `mmearth finetune`."""
    task, setting = case.folder.task, case.setting
    epochs = setting.optim.decoder_epochs + setting.optim.epochs
    return checked(
        FinetuneRecipe(
            name=f"{task.name}, {case.contender.name}",
            seed=case.seed,
            validate_every_epochs=max(1, epochs // _VALIDATIONS),
            data=DataRecipe(
                images=task.name,
                labels=task.name,
                tile_px=tiles.dn_NBHW.shape[-1],
                statistics="data",
            ),
            model=ModelRecipe(
                size="atto",  # the checkpoint decides
                bands=case.contender.bands,
                drop_path=setting.drop_path,
                grn_eps=start.config.grn_eps if start.config.original_stem else 1e-4,
            ),
            loss=LossRecipe(label_smoothing=setting.smoothing),
            optim=setting.optim,
            classes=tuple(
                ClassRecipe(name=f"class {n}", value=n, rgb=_colour(n))
                for n in range(task.classes)
            ),
        )
    )


def _colour(number: int) -> tuple[int, int, int]:
    """Return a colour that no other small number has."""
    return number * 83 % 256, number * 151 % 256, number * 211 % 256
