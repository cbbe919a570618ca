"""Pretraining on one page: data, model, steps, validation, checkpoints."""

from __future__ import annotations

import itertools
import math
import time
from contextlib import closing, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from mmearth_infer.errors import DataError, RecipeError
from mmearth_training.checkpoint import (
    find_checkpoints,
    prune_checkpoints,
    read_facts,
    restore,
    write_checkpoint,
)
from mmearth_training.data.batch import SampleConfig
from mmearth_training.data.folder import check_folder, open_folder, statistics_of
from mmearth_training.data.layout import LEVELS
from mmearth_training.data.loader import Samples, Schedule
from mmearth_training.data.resident import ResidentSamples
from mmearth_training.data.standardise import open_standardiser
from mmearth_training.distributed import World, join_world
from mmearth_training.facts import describe
from mmearth_training.history import truncate_history
from mmearth_training.judge import Judge, make_record
from mmearth_training.modalities import INDICES, INPUT
from mmearth_training.model.blocks import GRN
from mmearth_training.model.mpmae import MpMae
from mmearth_training.optim import build_optimizer, build_scheduler
from mmearth_training.run import identity, prepare
from mmearth_training.start import open_start
from mmearth_training.step import Trainer
from mmearth_training.watch import Watch, peak_memory_mb

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from mmearth_infer.contract.bands import ProductLevel
    from mmearth_training.data.batch import Batch
    from mmearth_training.data.folder import DataFolder
    from mmearth_training.data.loader import SampleSource
    from mmearth_training.encoder_checkpoint import EncoderCheckpoint
    from mmearth_training.run import RunConfig


@dataclass(frozen=True, slots=True, kw_only=True)
class Pretrained:
    """What a run came to."""

    checkpoint: Path
    """Its last checkpoint."""

    step: int
    """Steps taken."""

    losses: Mapping[str, float]
    """Loss a task on held-out tiles; empty without any."""

    trivial: Mapping[str, float]
    """That of the trivial predictor on the same."""

    img_per_s: float
    """Images a second, validation included."""

    peak_memory_mb: float
    """Most memory used by the first process."""


def pretrain(config: RunConfig, *, quiet: bool = False) -> Pretrained:
    """Run a recipe to its end, or on from where it was interrupted.

    Raises:
        DataError: If the data lack something the recipe needs.
        ModelError: If what it is to start from is no checkpoint.
        RecipeError: If that is not the encoder the recipe builds.
        TrainingError: If the run cannot be resumed, or a loss is not finite.
        StoreError: If the run's folder is taken or cannot be written.

    """
    folder = open_folder(config.data)
    check_data(config, folder)
    with join_world(config.device) as world:
        schedule = plan_steps(config, folder, world)
        samples = open_samples(config, folder, world.device)
        start = open_start(config.init, config.recipe)
        trainer = build(config, world, start)
        done = enter_folder(config, folder, world, start)
        if last := last_checkpoint(config):
            restore(last, trainer.model, trainer.optimizer)
        with Watch(
            config, total=schedule.steps, done=done, quiet=quiet, writes=world.first
        ) as watch:
            train(config, schedule, samples, trainer, watch, done=done)
        last = last_checkpoint(config)
        assert last is not None
        facts = read_facts(last)
        return Pretrained(
            checkpoint=last,
            step=facts["step"],
            losses=facts["val_losses"],
            trivial=facts["val_trivial"],
            img_per_s=watch.images_per_s,
            peak_memory_mb=peak_memory_mb(),
        )


def train(  # noqa: PLR0913 -- everything comes together here
    config: RunConfig,
    schedule: Schedule,
    samples: SampleSource,
    trainer: Trainer,
    watch: Watch,
    *,
    done: int,
) -> None:
    """Take the steps from `done` to the end; a checkpoint comes before its pictures."""
    recipe, world, model = config.recipe, trainer.world, trainer.model
    a_epoch, a_step = schedule.steps_an_epoch, micro_batches_a_step(config, world)
    save_every = max(1, round(recipe.save_every_epochs * a_epoch))
    judge_every = max(1, round(recipe.validate_every_epochs * a_epoch))
    stop = min(schedule.steps, config.stop_after or schedule.steps)
    judge = Judge(config, samples, trainer)
    scheduler = build_scheduler(
        trainer.optimizer, recipe.optim, steps_an_epoch=a_epoch, done=done
    )
    keys = schedule.micro_batches(done, rank=world.rank, processes=world.size)
    pin = world.device.type == "cuda"
    ends_s = time.monotonic() + 60 * (config.minutes or math.inf)
    with closing(samples.batches(keys, workers=config.workers, pin=pin)) as batches:
        for number in range(done + 1, stop + 1):
            lr = float(scheduler.get_last_lr()[0])
            losses = trainer.step(take(batches, a_step), number)
            scheduler.step()
            watch.saw(number, recipe.optim.batch, losses)
            epoch, at_end = number / a_epoch, number == stop
            at_end = at_end or is_late(config, world, ends_s)
            if number % config.log_every == 0 or at_end:
                record = make_record(model, number, epoch, "train", losses, {})
                watch.record(record, lr=lr)
            verdict = None
            if judge.able and (number % judge_every == 0 or at_end):
                verdict = judge(number, epoch)
                watch.record(verdict)
            if world.first and (verdict or number % save_every == 0 or at_end):
                facts = describe(config, samples, number, epoch, verdict)
                write_checkpoint(config.checkpoints, model, trainer.optimizer, facts)
                prune_checkpoints(config.checkpoints, keep=config.keep)
            if verdict and world.first:
                watch.show(verdict, losses)
                if config.plots:
                    judge.draw(watch, number)
            if at_end:
                break
    world.wait()


def is_late(config: RunConfig, world: World, ends_s: float) -> bool:
    """Tell whether the time is up; all processes agree."""
    if config.minutes is None:
        return False
    late = torch.tensor(float(time.monotonic() > ends_s), device=world.device)
    return bool(world.sum(late))


def plan_steps(config: RunConfig, folder: DataFolder, world: World) -> Schedule:
    """Lay the training split out in steps.

    Raises:
        DataError: If it does not fill a batch.
        RecipeError: If the processes do not share a batch evenly.

    """
    optim = config.recipe.optim
    micro_batches_a_step(config, world)
    return Schedule(
        rows=folder.splits["train"],
        seed=config.recipe.seed,
        batch=optim.batch,
        micro_batch=optim.micro_batch,
        epochs=optim.epochs,
        looks=config.recipe.data.looks,
    )


def enter_folder(
    config: RunConfig,
    folder: DataFolder,
    world: World,
    start: EncoderCheckpoint | None,
) -> int:
    """Make the run's folder ready, and return the steps already taken."""
    if world.first:
        this = identity(config, folder, processes=world.size, start=start)
        prepare(config, this)
    world.wait()
    last = last_checkpoint(config)
    done: int = read_facts(last)["step"] if last else 0
    if world.first:
        truncate_history(config.history, done)
    return done


def open_samples(
    config: RunConfig, folder: DataFolder, device: torch.device | None = None
) -> SampleSource:
    """Return what makes batches of the data set, on a device where it is resident."""
    recipe = config.recipe
    sample = SampleConfig(
        tasks=recipe.tasks,
        bands=recipe.bands,
        crop_px=recipe.data.crop_px,
        patches=recipe.patches,
        visible=recipe.visible,
        seed=recipe.seed,
        augment=recipe.augment.settings(),
    )
    standardise = open_standardiser(
        folder,
        names=sample.stored,
        bands=recipe.bands,
        levels=levels_of(folder, recipe.bands),
    )
    if recipe.data.loader == "resident":
        return ResidentSamples(
            folder=folder,
            config=sample,
            standardise=standardise,
            device=device or torch.device("cpu"),
        )
    return Samples(folder=folder, config=sample, standardise=standardise)


def check_data(config: RunConfig, folder: DataFolder) -> None:
    """Refuse data that do not fit the recipe, before anything is written.

    Raises:
        DataError: Naming what is missing.

    """
    recipe = config.recipe
    read = (INPUT, *(name for name in recipe.tasks if name != INDICES.name))
    tile_px = check_folder(folder, tuple(dict.fromkeys(read)))
    most_px = recipe.data.crop_px * recipe.augment.zoom[1]
    if tile_px < most_px:
        raise DataError(
            f"the tiles of `{folder.name}` have {tile_px} px, and the recipe looks at "
            f"{most_px:g} px",
            hint="take a recipe for this size of tile",
        )


def micro_batches_a_step(config: RunConfig, world: World) -> int:
    """Return how many micro batches each process adds up.

    Raises:
        RecipeError: If the processes do not share a batch evenly.

    """
    optim = config.recipe.optim
    together = optim.micro_batch * world.size
    if optim.batch % together:
        raise RecipeError(
            f"a batch of {optim.batch} is not made of {world.size} times micro "
            f"batches of {optim.micro_batch}",
            hint="lower optim.micro_batch with --batch-size",
        )
    return optim.batch // together


def last_checkpoint(config: RunConfig) -> Path | None:
    """Return the newest checkpoint of the run, if there is one."""
    found = list(find_checkpoints(config.checkpoints).values())
    return found[-1] if found else None


def build(
    config: RunConfig, world: World, start: EncoderCheckpoint | None = None
) -> Trainer:
    """Build the model from the recipe's seed or a checkpoint, and what trains it."""
    recipe = config.recipe
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(recipe.seed)
        model = MpMae(recipe.network(), backend=config.backend)
    if start:
        model.encoder.load_state_dict(dict(start.state))
    model.to(world.device)
    if world.device.type == "cuda":
        torch.backends.cudnn.benchmark = True  # every step has the same shapes
    for module in model.encoder.modules():
        if isinstance(module, GRN):
            module.sync = recipe.optim.sync_grn and world.size > 1
    if config.compiled:
        model.compile()
    optimizer = build_optimizer(model, recipe.optim)
    return Trainer(model, optimizer, world, precision=config.precision)


def take(batches: Iterator[Batch], count: int) -> list[Batch]:
    """Return the micro batches of one step."""
    return list(itertools.islice(batches, count))


def levels_of(folder: DataFolder, bands: tuple[str, ...]) -> tuple[ProductLevel, ...]:
    """Return the product levels the data set has statistics of that can be used.

    `check_data` saw to it that they are those that occur.
    """
    usable = []
    for level in LEVELS:
        with suppress(DataError):
            statistics_of(folder, INPUT, bands, level)
            usable.append(level)
    return tuple(usable)
