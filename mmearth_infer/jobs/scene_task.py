"""A scene on a worker: one run of `embed` or `segment`, and what became of it.

Runs go on with what they find. A scene that was begun anywhere, and whose worker is
gone, is therefore simply run again (docs/adr/0016).
"""

from __future__ import annotations

import logging
import os
from abc import ABC, abstractmethod
from dataclasses import dataclass, replace
from pathlib import Path
from socket import gethostname
from typing import TYPE_CHECKING, Any, Final, Literal, Self

from msgspec import Struct

from mmearth_infer.disk import check_output
from mmearth_infer.engine.kept import keeping_models
from mmearth_infer.errors import MMEarthError
from mmearth_infer.grid.footprint import Outline  # noqa: TC001 -- msgspec reads it
from mmearth_infer.jobs.steps import run_steps
from mmearth_infer.run.config import EmbedConfig, RunConfig, SegmentConfig
from mmearth_infer.run.embed import embed
from mmearth_infer.run.parts import begin, compute_part
from mmearth_infer.run.segment import segment
from mmearth_infer.view.stac_item import ITEM, item_path, write_item

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mmearth_infer.jobs.steps import StepsTable
    from mmearth_infer.run.report import Report

State = Literal["done", "complete", "failed"]
"""Made now, there already, or not there."""

Part = Literal["begin"] | range | None
"""What of a scene is asked for: to begin its store, some rows of it, or all that is
missing."""

LONGEST_REASON: Final = 1000
"""Characters that are kept of what a library says."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Task(ABC):
    """A scene, or a mosaic, to be made."""

    name: str
    """What the job calls it."""

    stac: bool = False
    """Write a STAC item beside the store."""

    steps: StepsTable | None = None
    """What is done with the finished store."""

    parts: int = 1
    """In how many parts it may be made, by as many workers."""

    part: Part = None
    """What of it is asked for."""

    @property
    @abstractmethod
    def source(self) -> str:
        """What is read."""

    @property
    @abstractmethod
    def target(self) -> str:
        """What is written."""

    def asking(self, part: Part) -> Self:
        """Return the same, of which something else is asked for."""
        return replace(self, part=part)

    def alone(self) -> Self:
        """Return the same in one part."""
        return replace(self, parts=1, part=None)


@dataclass(frozen=True, slots=True, kw_only=True)
class SceneTask(Task):
    """A scene to be run."""

    config: RunConfig
    """The run."""

    @property
    def source(self) -> str:
        """What is read."""
        return str(self.config.scene)

    @property
    def target(self) -> str:
        """What is written."""
        return str(self.config.target)


class Work(Struct, frozen=True, kw_only=True):
    """What a worker did for a scene."""

    worker: str
    """Machine and process that did it."""

    pixels: int
    """Pixels that it computed."""

    elapsed_s: float
    """How long that took."""


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

    work: tuple[Work, ...] = ()
    """What was computed now, and by whom."""

    rows: tuple[tuple[int, int], ...] = ()
    """Parts that it is cut into, of a store that was begun; first row, and last + 1."""

    warnings: tuple[str, ...] = ()
    """What a user should know before trusting the output."""

    footprint: Outline | None = None
    """Where it lies, in degrees; None where that is not known."""

    seams: float | None = None
    """Steps across borders of tiles over those inside; 1 is none, None not measured."""

    files: tuple[str, ...] = ()
    """What steps after it have made."""

    @property
    def pixels(self) -> int:
        """Pixels that were computed now."""
        return sum(one.pixels for one in self.work)

    @property
    def elapsed_s(self) -> float:
        """How long that took its workers, all together."""
        return sum(one.elapsed_s for one in self.work)


def run_scene(task: SceneTask) -> Outcome:
    """Run a scene, or what is asked for of it, and say what became of that.

    The model stays open for the next.
    """
    be_quiet()
    try:
        with keeping_models():
            if task.part == "begin":
                return begun(task, begin(task.config, parts=task.parts))
            if task.part is not None:
                done = compute_part(task.config, task.part)
                return outcome_of(task, work=_by_me(done.pixels, done.elapsed_s))
            return _run(task)
    except MMEarthError as error:
        return failed(task, str(error), hint=error.hint)


def failed(task: Task, reason: str, *, hint: str | None = None) -> Outcome:
    """Return the outcome of a scene that is not there."""
    return outcome_of(task, state="failed", reason=reason[:LONGEST_REASON], hint=hint)


def begun(task: Task, parts: Sequence[range]) -> Outcome:
    """Return the outcome of a store that was begun, with the rows of its parts."""
    return outcome_of(task, rows=tuple((rows.start, rows.stop) for rows in parts))


def outcome_of(task: Task, *, state: State = "done", **more: Any) -> Outcome:  # noqa: ANN401 -- fields of an outcome
    """Return an outcome of a scene."""
    return Outcome(
        name=task.name,
        scene=task.source,
        out=task.target,
        state=state,
        **more,
    )


def _by_me(pixels: int, elapsed_s: float) -> tuple[Work, ...]:
    """Return what this worker did."""
    worker = f"{gethostname()}:{os.getpid()}"
    return (Work(worker=worker, pixels=pixels, elapsed_s=elapsed_s),)


def _run(task: SceneTask) -> Outcome:
    """Make the output of a scene, and its item.

    Raises:
        MMEarthError: With a hint.

    """
    report = _report(task)
    files: tuple[Path, ...] = ()
    if task.steps is not None:
        files = run_steps(Path(task.target), task.steps)
    share = 1 - report.resumed_cells / report.cells
    pixels = report.megapixels_per_s * report.elapsed_s * share * 1e6
    return outcome_of(
        task,
        state="done" if share else "complete",
        work=_by_me(round(pixels), report.elapsed_s) if share else (),
        warnings=report.warnings,
        footprint=report.footprint or None,
        seams=report.seams["seam_index"] if report.seams else None,
        files=tuple(str(path) for path in files),
    )


def _report(task: SceneTask) -> Report:
    """Run it.

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
    if config.report and isinstance(config.out, Path) and config.out.exists():
        config = replace(config, report=False)  # what is complete was measured then
    report = embed(config)
    if task.stac:
        assert isinstance(config.out, Path)
        write_item(config.out, overwrite=True)
    return report


def be_quiet() -> None:
    """Leave warnings to the report, which says each once."""
    for name in ("mmearth", "rasterio"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
