"""A job from its scenes to its outputs, on one page.

    scenes -> tasks -> workers -> stores -> mosaics and steps -> report

Nothing of a job is held anywhere but in its outputs: what is there is not made again.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Final, Protocol

from mmearth_infer.disk import disk_errors
from mmearth_infer.engine.open import read_file
from mmearth_infer.jobs.catalogue import check_catalogue, write_catalogue
from mmearth_infer.jobs.drive import deaths, drive
from mmearth_infer.jobs.page import check_page, write_page
from mmearth_infer.jobs.report import (
    JobReport,
    merged,
    page_path,
    report_path,
    write_report,
)
from mmearth_infer.jobs.scene_task import SceneTask, run_scene
from mmearth_infer.jobs.zone_task import ZoneTask, run_zone
from mmearth_infer.jobs.zones import zones_of
from mmearth_infer.run.config import EmbedConfig
from mmearth_infer.view.stac_item import item_path

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from typing import Self

    from distributed import Client

    from mmearth_infer.jobs.job_file import Job
    from mmearth_infer.jobs.scene_task import Outcome
    from mmearth_infer.jobs.scenes import JobScene

WRITE_EVERY_S: Final = 30
"""Seconds after which the report is written anew, in case that nothing else is."""


class Watcher(Protocol):
    """Somebody who is told how far a job is."""

    def expect(self, more: int) -> None:
        """Take note that there is more to be done."""
        ...

    def add(self, outcome: Outcome) -> None:
        """Take note of what became of a scene, or a mosaic."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Crew:
    """Who runs a job."""

    client: Client
    """Leads to the workers."""

    workers: int
    """How many there are, or will be."""

    threads: int
    """Threads of each; 0 for one a core of its machine."""


def run_job(
    job: Job, scenes: Sequence[JobScene], crew: Crew, record: Record, watcher: Watcher
) -> None:
    """Run scenes of a job, and what comes after them.

    Args:
        job: The job.
        scenes: Those of its scenes that are asked for.
        crew: Who runs it.
        record: Takes down what becomes of each.
        watcher: Is told.

    Raises:
        JobError: If the scheduler is gone, or stores cannot be joined.

    """
    watcher.expect(len(scenes))
    tasks = _tasks(job, scenes, crew)
    for outcome in drive(crew.client, tasks, tries=job.run.tries, run=run_scene):
        record.add(outcome)
        watcher.add(outcome)
    if job.outputs.mosaic:
        zones = _zones(job, crew, record.report)
        watcher.expect(len(zones))
        for outcome in drive(crew.client, zones, tries=job.run.tries, run=run_zone):
            record.add_mosaic(outcome)
            watcher.add(outcome)
    _write_catalogue(job, record.report)


class Record:
    """What became of the scenes of a job; it is written as it grows, and at the end.

    Whatever ends the block, what is known by then is in the report and on its page.
    """

    def __init__(
        self, job: Job, before: JobReport | None, client: Client, *, retry: str
    ) -> None:
        """Begin.

        Args:
            job: The job.
            before: The report of an earlier run.
            client: Tells of workers that die.
            retry: The command that runs again what failed.

        """
        self._job, self._before, self._client = job, before, client
        self._retry = retry
        self._outcomes: list[Outcome] = []
        self._mosaics: list[Outcome] = []
        self._began = self._written = time.perf_counter()
        self._died_before, self._died = deaths(client), 0

    def add(self, outcome: Outcome) -> None:
        """Take down what became of a scene."""
        self._outcomes.append(outcome)
        if time.perf_counter() - self._written > WRITE_EVERY_S:
            self.write()

    def add_mosaic(self, outcome: Outcome) -> None:
        """Take down what became of a mosaic."""
        self._mosaics.append(outcome)

    @property
    def report(self) -> JobReport:
        """What is known by now."""
        names = [scene.name for scene in self._job.scenes]
        return JobReport(
            job=self._job.name,
            task=self._job.task,
            model=str(self._job.config.model),
            worker_deaths=self._died,
            elapsed_s=time.perf_counter() - self._began,
            outcomes=merged(self._before, self._outcomes, names),
            mosaics=tuple(self._mosaics),
        )

    def write(self) -> None:
        """Write down what is known by now."""
        report, path = self.report, self._job.path
        write_report(report_path(path), report)
        write_page(page_path(path), report, retry=self._retry)
        self._written = time.perf_counter()

    def __enter__(self) -> Self:
        """Return it."""
        return self

    def __exit__(self, kind: object, *exc: object) -> None:
        """Write down what is known; a scheduler that is gone is not asked."""
        if kind is None:
            self._died = deaths(self._client) - self._died_before
        self.write()


def make_room(job: Job) -> None:
    """Make the folder of the outputs, and refuse early what would fail at the end.

    Raises:
        StoreError: If the catalogue or the page of somebody else lies there.

    """
    check_page(page_path(job.path))
    if isinstance(job.folder, Path):
        with disk_errors(job.folder):
            Path(str(job.out_of(job.scenes[0]))).parent.mkdir(
                parents=True, exist_ok=True
            )
        if job.outputs.stac:
            check_catalogue(job.folder)


def _tasks(job: Job, scenes: Sequence[JobScene], crew: Crew) -> Iterator[SceneTask]:
    """Yield scenes as workers get them; they share the cores of a machine."""
    snap_px = _stride_px(job) if job.outputs.mosaic else None
    for scene in scenes:
        config = job.config_of(scene)
        options = replace(config.options, snap_px=snap_px)
        config = replace(
            config, threads=config.threads or crew.threads, options=options
        )
        yield SceneTask(
            name=scene.name,
            config=config,
            stac=job.outputs.stac and not job.outputs.mosaic,
            steps=None if job.outputs.mosaic else job.steps,
            parts=_parts(job, crew, len(scenes)),
        )


def _parts(job: Job, crew: Crew, tasks: int) -> int:
    """Return in how many parts each is done: as many as leave no worker without one."""
    return job.run.parts or -(-crew.workers // tasks)


def _stride_px(job: Job) -> int:
    """Return the pixels a side of a cell of the coarsest map."""
    assert isinstance(job.config, EmbedConfig)
    manifest = read_file(job.config.model).manifest
    return manifest.outputs_of(job.config.stages)[-1].stride_px


def _zones(job: Job, crew: Crew, report: JobReport) -> list[ZoneTask]:
    """Return the mosaics of all scenes that are there, in the order of the job."""
    assert isinstance(job.folder, Path)
    failed = {one.name for one in report.outcomes if one.state == "failed"}
    stores = [
        Path(str(job.out_of(scene))) for scene in job.scenes if scene.name not in failed
    ]
    there = [store for store in stores if store.exists()]
    zones = zones_of(there, job.folder)
    return [
        ZoneTask(
            name=zone.name,
            zone=zone,
            steps=job.steps,
            stac=job.outputs.stac,
            parts=_parts(job, crew, len(zones)),
        )
        for zone in zones
    ]


def _write_catalogue(job: Job, report: JobReport) -> None:
    """Write the catalogue of what is there, if that is asked for."""
    if job.outputs.stac:
        assert isinstance(job.folder, Path)
        made = report.mosaics if job.outputs.mosaic else report.outcomes
        items = [item_path(Path(one.out)) for one in made if one.state != "failed"]
        write_catalogue(job.folder, job=job.name, items=items)
