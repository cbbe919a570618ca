"""Fine-tuning on one page: tiles, U-Net, two phases, checkpoints, held-out blocks."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch.nn import functional
from torchmetrics.classification import MulticlassConfusionMatrix

from mmearth_infer.disk import disk_errors, file_beside
from mmearth_infer.errors import TrainingError
from mmearth_training.checkpoint import (
    find_checkpoints,
    prune_checkpoints,
    read_facts,
    restore,
    write_checkpoint,
)
from mmearth_training.distributed import choose_device
from mmearth_training.finetune.batches import Batches
from mmearth_training.finetune.facts import describe
from mmearth_training.finetune.optim import build_optimizer
from mmearth_training.finetune.picture import Drawn, draw_maps
from mmearth_training.finetune.run import identity
from mmearth_training.finetune.scores import score
from mmearth_training.finetune.setup import build, choose_statistics, class_weights
from mmearth_training.finetune.tiles import cut_labelled
from mmearth_training.finetune.watch import Watch
from mmearth_training.history import truncate_history
from mmearth_training.load import load_encoder
from mmearth_training.losses import MISSING_CLASS
from mmearth_training.optim import warmup_cosine
from mmearth_training.plots import save_figure
from mmearth_training.run import prepare

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from matplotlib.figure import Figure
    from torch import Tensor
    from torch.optim import AdamW

    from mmearth_training.encoder_checkpoint import EncoderCheckpoint
    from mmearth_training.finetune.batches import LabelledBatch
    from mmearth_training.finetune.recipe import FinetuneRecipe
    from mmearth_training.finetune.run import FinetuneConfig
    from mmearth_training.finetune.scores import Scores
    from mmearth_training.model.unet import Unet

_KEPT = 2
_DRAWN = 4
_STEP = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Finetuned:
    """What a run came to."""

    checkpoint: Path
    """Its last checkpoint."""

    step: int
    """Steps taken."""

    tiles: Mapping[str, int]
    """Tiles a split."""

    scores: Scores | None
    """On the test blocks; None without any."""

    picture: Path | None
    """Maps of test tiles beside their labels; likewise."""


def finetune(config: FinetuneConfig, *, quiet: bool = False) -> Finetuned:
    """Run a recipe to its end, or on from where it was interrupted.

    Raises:
        SceneError: If an image cannot be read.
        DataError: If images and labels lack something the recipe needs.
        ModelError: If the checkpoint cannot be used.
        TrainingError: If the run cannot be resumed, or the loss is not finite.
        StoreError: If the run's folder is taken or cannot be written.

    """
    recipe = config.recipe
    start = load_encoder(config.checkpoint) if config.checkpoint else None
    bands = start.bands if start else recipe.model.bands
    tiles = cut_labelled(
        recipe, config.data, bands=bands, options=config.options, quiet=quiet
    )
    batches = Batches(
        tiles=tiles,
        statistics=choose_statistics(recipe, tiles, start),
        size=recipe.optim.batch,
        seed=recipe.seed,
        device=choose_device(config.device),
    )
    model = build(recipe, start).to(batches.device)
    optimizer = build_optimizer(model, recipe.optim)
    prepare(config, identity(config, tiles, start))
    done = resume(config, batches, model, optimizer)
    with Watch(config, total=total_steps(recipe, batches), quiet=quiet) as watch:
        train(config, batches, model, optimizer, watch, start=start, done=done)
    last = [*find_checkpoints(config.checkpoints).values()][-1]
    tested = len(tiles.rows("test")) > 0
    scores = evaluate(model, batches, recipe, "test") if tested else None
    if scores:
        content = json.dumps(asdict(scores), indent=1)
        with disk_errors(config.out), file_beside(config.out / "scores.json") as aside:
            aside.write_text(content)
        save_figure(picture_of(model, batches, recipe, bands), config.out / "map.png")
    return Finetuned(
        checkpoint=last,
        step=read_facts(last)["step"],
        tiles={split: len(tiles.rows(split)) for split in dict.fromkeys(tiles.splits)},
        scores=scores,
        picture=config.out / "map.png" if scores else None,
    )


def train(  # noqa: PLR0913 -- everything comes together here
    config: FinetuneConfig,
    batches: Batches,
    model: Unet,
    optimizer: AdamW,
    watch: Watch,
    *,
    start: EncoderCheckpoint | None,
    done: int,
) -> None:
    """Take the steps from `done` to the end; first of the decoder, then of all."""
    recipe, a_epoch = config.recipe, batches.steps_an_epoch
    total = total_steps(recipe, batches)
    stop = min(total, config.stop_after or total)
    judge_every = recipe.validate_every_epochs * a_epoch
    weights_K = class_weights(recipe, batches.tiles).to(batches.device)
    peaks = [group["lr"] for group in optimizer.param_groups]
    warmup = round(recipe.optim.warmup_epochs * a_epoch)
    for number in range(done + 1, stop + 1):
        set_phase(model, recipe, whole=number > recipe.optim.decoder_epochs * a_epoch)
        share = warmup_cosine(number, warmup=warmup, total=total + 1)
        for group, peak in zip(optimizer.param_groups, peaks, strict=True):
            group["lr"] = peak * share
        seed = np.random.SeedSequence((recipe.seed, _STEP, number))
        torch.manual_seed(int(seed.generate_state(1)[0]))  # of drop path
        loss = step(model, optimizer, batches.training(number), recipe, weights_K)
        if not np.isfinite(loss):
            raise TrainingError(
                f"the loss is not finite at step {number}",
                hint="lower optim.base_lr; the last checkpoint is as it was",
            )
        watch.saw(number, loss)
        if number % judge_every == 0 or number == stop:
            val = len(batches.tiles.rows("val")) > 0
            scores = evaluate(model, batches, recipe, "val") if val else None
            watch.record(number, number / a_epoch, loss, scores)
            facts = describe(
                recipe,
                model.encoder.config,
                start.bands if start else recipe.model.bands,
                batches,
                start,
                step=number,
                scores=scores,
            )
            write_checkpoint(config.checkpoints, model, optimizer, facts)
            prune_checkpoints(config.checkpoints, keep=_KEPT)


def step(
    model: Unet,
    optimizer: AdamW,
    batch: LabelledBatch,
    recipe: FinetuneRecipe,
    weights_K: Tensor,
) -> float:
    """Take one step and return its loss; NaN moves no weight."""
    model.train()
    optimizer.zero_grad()
    loss = functional.cross_entropy(
        model(batch.x_NBHW),
        batch.classes_NHW,
        weights_K,
        ignore_index=MISSING_CLASS,
        label_smoothing=recipe.loss.label_smoothing,
    )
    if loss.isfinite():
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    return loss.item()


@torch.inference_mode()
def evaluate(
    model: Unet, batches: Batches, recipe: FinetuneRecipe, split: str
) -> Scores:
    """Return how well maps of held-out tiles agree with their labels."""
    model.eval()
    names = [one.name for one in recipe.classes]
    matrix = MulticlassConfusionMatrix(len(names), ignore_index=MISSING_CLASS)
    matrix = matrix.to(batches.device)
    losses = torch.zeros((), dtype=torch.float64)
    for batch in batches.held_out(split):
        logits = model(batch.x_NBHW)
        matrix.update(logits.argmax(1), batch.classes_NHW)
        losses += functional.cross_entropy(
            logits, batch.classes_NHW, ignore_index=MISSING_CLASS, reduction="sum"
        ).cpu()
    confusion_KK = matrix.compute().cpu()
    loss = float(losses) / max(int(confusion_KK.sum()), 1)
    return score(confusion_KK, names, loss=loss)


@torch.inference_mode()
def picture_of(
    model: Unet, batches: Batches, recipe: FinetuneRecipe, bands: Sequence[str]
) -> Figure:
    """Draw maps of the test tiles that hold most classes beside their labels."""
    tiles = batches.tiles
    rows = sorted(
        tiles.rows("test").tolist(),
        key=lambda row: -len(np.unique(tiles.classes_NHW[row])),
    )[:_DRAWN]
    maps = model.eval()(batches.of(rows).x_NBHW).argmax(1).cpu().numpy()
    drawn = [
        Drawn(
            dn_BHW=tiles.dn_NBHW[row], labels_HW=tiles.classes_NHW[row], map_HW=map_HW
        )
        for row, map_HW in zip(rows, maps, strict=True)
    ]
    return draw_maps(drawn, recipe.map_classes, bands)


def set_phase(model: Unet, recipe: FinetuneRecipe, *, whole: bool) -> None:
    """Train everything, with drop path, or the decoder alone."""
    model.encoder.requires_grad_(whole)
    model.encoder.set_drop_path(recipe.model.drop_path if whole else 0.0)


def resume(
    config: FinetuneConfig, batches: Batches, model: Unet, optimizer: AdamW
) -> int:
    """Take up the last checkpoint, if there is one, and return the steps done."""
    found = find_checkpoints(config.checkpoints)
    done = max(found, default=0)
    if done:
        first = config.recipe.optim.decoder_epochs * batches.steps_an_epoch
        set_phase(model, config.recipe, whole=done > first)
        restore(found[done], model, optimizer)
    truncate_history(config.history, done)
    return done


def total_steps(recipe: FinetuneRecipe, batches: Batches) -> int:
    """Return the steps of both phases."""
    epochs = recipe.optim.decoder_epochs + recipe.optim.epochs
    return epochs * batches.steps_an_epoch
