"""The evaluation on one page: encoders x tasks x modes x partitions, cell by cell."""

from __future__ import annotations

import hashlib
import time
from typing import TYPE_CHECKING, Final

import click
import torch

from mmearth_infer.disk import disk_errors, file_beside
from mmearth_infer.errors import DataError
from mmearth_training.data.geobench.folder import GeobenchFolder
from mmearth_training.data.geobench.images import Images
from mmearth_training.data.geobench.labels import read_labels
from mmearth_training.data.geobench.tasks import TASKS
from mmearth_training.distributed import choose_device
from mmearth_training.evaluate.case import Case, choose_statistics
from mmearth_training.evaluate.contender import find_baseline, read_checkpoint
from mmearth_training.evaluate.fewshot import draw_few_shot
from mmearth_training.evaluate.finetune import finetune_classifier
from mmearth_training.evaluate.linear_probe import Features, linear_probe
from mmearth_training.evaluate.results import (
    Result,
    read_results,
    versions,
    write_results,
)
from mmearth_training.evaluate.scores import METRIC, majority
from mmearth_training.evaluate.segment import segment
from mmearth_training.evaluate.settings import ALLOWED_MODES, DEFAULT_MODES
from mmearth_training.evaluate.table import make_table
from mmearth_training.plots import save_figure
from mmearth_training.run import prepare

if TYPE_CHECKING:
    from pathlib import Path

    from mmearth_training.data.geobench.tasks import GeobenchTask
    from mmearth_training.evaluate.config import EvaluateConfig
    from mmearth_training.evaluate.contender import Contender
    from mmearth_training.evaluate.settings import Mode

TABLE: Final = "table.md"
"""Name of the page with the table."""

CHART: Final = "fewshot.png"
"""Name of the chart."""


def evaluate(config: EvaluateConfig, *, quiet: bool = False) -> list[Result]:
    """Fill the table cell by cell; each is on the disk as soon as it is finished.

    Raises:
        DataError: If a data set is missing, damaged or not as published.
        ModelError: If an encoder cannot be used.
        MissingExtraError: If a baseline needs timm, which is not installed.
        TrainingError: If results there are of other settings, or a loss not finite.
        StoreError: If the folder is taken or cannot be written.

    """
    device = choose_device(config.device)
    plan = plan_cells(config)
    contenders = [
        *map(read_checkpoint, config.checkpoints),
        *(find_baseline(name, seed=config.seed) for name in config.baselines),
    ]
    _check_names(contenders)
    prepare(config, config.identity())
    results = read_results(config.out)
    finished = {one.key for one in results}
    for contender in contenders:
        for folder, modes in plan.items():
            images = Images(
                folder, contender.bands, keep=bool({"ft", "elp"} & {*modes})
            )
            features = Features()
            for mode in modes:
                for partition in config.partitions:
                    task = folder.task.name
                    digest = contender.digest
                    key = (contender.name, digest, task, mode, partition)
                    if key in finished:
                        continue
                    case = Case(
                        folder=folder,
                        images=images,
                        splits=folder.partition(partition),
                        contender=contender,
                        statistics=choose_statistics(
                            folder, contender, config.statistics
                        ),
                        setting=config.setting(mode),
                        geometry=config.geometry,
                        micro_batch=config.micro_batch,
                        seed=config.seed,
                        device=device,
                    )
                    run = config.out / "runs" / run_name(*key)
                    one = _cell(case, mode, partition, features, run, quiet=quiet)
                    results.append(one)
                    write_results(config.out, results)
                    if not quiet:
                        said = f"{one.model}, {task}, {mode}, {partition}"
                        click.echo(f"{said}: {100 * one.value:.1f}", err=True)
    write_pages(config, results)
    return results


def plan_cells(config: EvaluateConfig) -> dict[GeobenchFolder, tuple[Mode, ...]]:
    """Return the data sets and what is done with each.

    Raises:
        DataError: If one that was asked for is not there, or nothing is to be done.

    """
    folders = []
    for name in config.tasks or TASKS:
        try:
            folders.append(GeobenchFolder(config.data, TASKS[name]))
        except DataError:
            if config.tasks:
                raise
    plan = {folder: _modes(folder.task, config.modes) for folder in folders}
    plan = {folder: modes for folder, modes in plan.items() if modes}
    if not plan:
        raise DataError(
            f"there is nothing to evaluate in `{config.data}`",
            hint=f"--data holds one of {', '.join(TASKS)}; lp, ft and elp are for "
            "images with classes, seg is for maps",
        )
    for folder in plan:
        for partition in config.partitions:
            folder.partition(partition)
    return plan


def write_pages(config: EvaluateConfig, results: list[Result]) -> None:
    """Write table and chart.

    Raises:
        StoreError: If the disk does not take them.

    """
    page = make_table(results, statistics=config.statistics)
    with disk_errors(config.out), file_beside(config.out / TABLE) as aside:
        aside.write_text(page)
    chart = draw_few_shot(results)
    if chart is not None:
        save_figure(chart, config.out / CHART)


def run_name(*key: str) -> str:
    """Return a folder's name for a cell: readable, and its own."""
    digest = hashlib.sha256("\0".join(key).encode()).hexdigest()[:8]
    _, _, task, mode, partition = key
    return f"{task}-{mode}-{partition}-{digest}"


def _cell(  # noqa: PLR0913 -- what a cell is made of
    case: Case,
    mode: Mode,
    partition: str,
    features: Features,
    run: Path,
    *,
    quiet: bool,
) -> Result:
    """Compute one cell."""
    started = time.monotonic()
    task = case.folder.task
    if mode == "lp":
        scores = linear_probe(case, features, quiet=quiet)
    elif mode == "seg":
        scores = segment(case, run, quiet=quiet)
    else:
        scores = finetune_classifier(case, mode)
    metric = METRIC[task.kind]
    return Result(
        model=case.contender.name,
        sha256=case.contender.digest,
        task=task.name,
        mode=mode,
        partition=partition,
        metric=metric,
        value=scores["test"][metric],
        majority=_majority(case),
        scores=scores,
        samples={split: len(names) for split, names in case.splits.items()},
        elapsed_s=round(time.monotonic() - started, 1),
        versions=versions(),
    )


def _majority(case: Case) -> float | None:
    """Return what a model comes to that never looks at an image."""
    task = case.folder.task
    if task.kind == "segmentation":
        return None
    train, test = (
        torch.from_numpy(read_labels(case.folder, case.splits[split]))
        for split in ("train", "test")
    )
    return majority(task.kind, train, test, task.classes)


def _modes(task: GeobenchTask, asked: tuple[Mode, ...]) -> tuple[Mode, ...]:
    """Return what is done with a task."""
    if not asked:
        return DEFAULT_MODES[task.kind]
    return tuple(mode for mode in asked if mode in ALLOWED_MODES[task.kind])


def _check_names(contenders: list[Contender]) -> None:
    """Refuse to evaluate nothing, or two encoders under one name."""
    names = [one.name for one in contenders]
    if not names:
        raise DataError(
            "there is no encoder to evaluate", hint="give --checkpoint or --baseline"
        )
    if twice := [name for name in names if names.count(name) > 1]:
        raise DataError(
            f"two encoders are called `{twice[0]}`",
            hint="a checkpoint is called like its folder; rename one",
        )
