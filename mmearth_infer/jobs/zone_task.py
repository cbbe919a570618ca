"""The mosaic of a zone on a worker: stores of scenes joined, and what comes after."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from mmearth_infer.disk import check_output
from mmearth_infer.errors import MMEarthError
from mmearth_infer.grid.footprint import outline
from mmearth_infer.jobs.mosaic import begin_zone, merge_part, merge_zone
from mmearth_infer.jobs.scene_task import Task, be_quiet, begun, failed, outcome_of
from mmearth_infer.jobs.steps import run_steps
from mmearth_infer.view.stac_item import ITEM, item_path, write_item

if TYPE_CHECKING:
    from mmearth_infer.jobs.scene_task import Outcome
    from mmearth_infer.jobs.zones import Zone


@dataclass(frozen=True, slots=True, kw_only=True)
class ZoneTask(Task):
    """A mosaic to be made."""

    zone: Zone
    """What it is made of."""

    @property
    def source(self) -> str:
        """What it is made of, in words."""
        return f"{len(self.zone.stores)} stores of scenes"

    @property
    def target(self) -> str:
        """What is written."""
        return str(self.zone.out)


def run_zone(task: ZoneTask) -> Outcome:
    """Make a mosaic, or what is asked for of it, and say what became of that."""
    be_quiet()
    try:
        if task.part == "begin":
            return begun(task, begin_zone(task.zone, parts=task.parts))
        if task.part is not None:
            merge_part(task.zone, task.part)
            return outcome_of(task)
        if task.stac:
            check_output(item_path(task.zone.out), ITEM, overwrite=True)
        merged = merge_zone(task.zone)
        if task.stac:
            write_item(task.zone.out, overwrite=True)
        files = run_steps(task.zone.out, task.steps) if task.steps else ()
    except MMEarthError as error:
        return failed(task, str(error), hint=error.hint)
    return outcome_of(
        task,
        state="complete" if merged.complete else "done",
        footprint=outline(task.zone.box) or None,
        files=tuple(str(path) for path in files),
    )
