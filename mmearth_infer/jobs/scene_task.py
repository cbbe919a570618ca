"""A scene on a worker: one run of `embed` or `segment`, and what became of it.

Runs go on with what they find. A scene that was begun anywhere, and whose worker is
gone, is therefore simply run again (docs/adr/0016).
"""

from __future__ import annotations

import logging
import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal

from msgspec import Struct

from mmearth_infer.disk import check_output
from mmearth_infer.engine.kept import keeping_models
from mmearth_infer.errors import MMEarthError
from mmearth_infer.grid.footprint import Outline  # noqa: TC001 -- msgspec reads it
from mmearth_infer.run.config import EmbedConfig, RunConfig, SegmentConfig
from mmearth_infer.run.embed import embed
from mmearth_infer.run.segment import segment
from mmearth_infer.view.stac_item import ITEM, item_path, write_item

if TYPE_CHECKING:
    from mmearth_infer.run.report import Report

State = Literal["done", "complete", "failed"]
"""Made now, there already, or not there."""

LONGEST_REASON: Final = 1000
"""Characters that are kept of what a library says."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SceneTask:
    """A scene to be run."""

    name: str
    """What the job calls it."""

    config: RunConfig
    """The run."""

    stac: bool = False
    """Write a STAC item beside the store."""


class Outcome(Struct, frozen=True, kw_only=True):
    """What became of a scene."""

    name: str
    """What the job calls it."""

    scene: str
    """What was read."""

    out: str
    """What was written."""

    state: State
    """Made now, there already, or not there."""

    reason: str | None = None
    """Why it is not there."""

    hint: str | None = None
    """What can be done about it."""

    tries: int = 1
    """How often it was begun, as far as that is known."""

    pixels: int = 0
    """Pixels that were computed now."""

    elapsed_s: float = 0.0
    """How long that took its worker."""

    worker: int | None = None
    """Process that did it; None where it has gone."""

    warnings: tuple[str, ...] = ()
    """What a user should know before trusting the output."""

    footprint: Outline | None = None
    """Where it lies, in degrees; None where that is not known."""

    seams: float | None = None
    """Steps across borders of tiles over those inside; 1 is none, None not measured."""

    files: tuple[str, ...] = ()
    """What steps after it have made."""


def run_scene(task: SceneTask) -> Outcome:
    """Run a scene, and say what became of it; the model stays open for the next."""
    _be_quiet()
    try:
        with keeping_models():
            report = _run(task)
    except MMEarthError as error:
        return failed(task, str(error), hint=error.hint, worker=os.getpid())
    complete = report.resumed_cells == report.cells
    share = 1 - report.resumed_cells / report.cells
    return Outcome(
        name=task.name,
        scene=str(task.config.scene),
        out=str(task.config.target),
        state="complete" if complete else "done",
        pixels=round(report.megapixels_per_s * report.elapsed_s * share * 1e6),
        elapsed_s=report.elapsed_s,
        worker=os.getpid(),
        warnings=report.warnings,
        footprint=report.footprint,
        seams=report.seams["seam_index"] if report.seams else None,
    )


def failed(
    task: SceneTask, reason: str, *, hint: str | None = None, worker: int | None = None
) -> Outcome:
    """Return the outcome of a scene that is not there."""
    return Outcome(
        name=task.name,
        scene=str(task.config.scene),
        out=str(task.config.target),
        state="failed",
        reason=reason[:LONGEST_REASON],
        hint=hint,
        worker=worker,
    )


def _run(task: SceneTask) -> Report:
    """Make the output of a scene, and its item.

    Raises:
        MMEarthError: With a hint.

    """
    config = task.config
    if isinstance(config, SegmentConfig):
        return segment(config).report
    assert isinstance(config, EmbedConfig)
    if task.stac:
        assert isinstance(config.out, Path)
        check_output(item_path(config.out), ITEM, overwrite=True)
    report = embed(config)
    if task.stac:
        assert isinstance(config.out, Path)
        write_item(config.out, overwrite=True)
    return report


def _be_quiet() -> None:
    """Leave warnings to the report, which says each once."""
    for name in ("mmearth", "rasterio"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
