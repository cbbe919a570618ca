"""`mmearth batch`: many scenes, on one machine or on a Dask cluster."""

from __future__ import annotations

import os
import shlex
import time
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from mmearth_infer.cli.batch_progress import SceneProgress
from mmearth_infer.cli.batch_text import plan_text, summary
from mmearth_infer.cli.options import json_option, verbosity
from mmearth_infer.cli.stop import stopping_with
from mmearth_infer.disk import disk_errors
from mmearth_infer.errors import JobError
from mmearth_infer.jobs.catalogue import check_catalogue, write_catalogue
from mmearth_infer.jobs.cluster import existing_cluster, local_workers
from mmearth_infer.jobs.drive import deaths, drive
from mmearth_infer.jobs.job_file import read_job
from mmearth_infer.jobs.plan import plan_job
from mmearth_infer.jobs.report import (
    JobReport,
    merged,
    read_report,
    report_path,
    write_report,
)
from mmearth_infer.jobs.scene_task import SceneTask
from mmearth_infer.view.stac_item import item_path

if TYPE_CHECKING:
    from collections.abc import Sequence

    from distributed import Client

    from mmearth_infer.jobs.job_file import Job
    from mmearth_infer.jobs.scene_task import Outcome
    from mmearth_infer.jobs.scenes import JobScene


@click.command()
@click.argument("job_file", type=click.Path(path_type=Path), metavar="JOB.toml")
@click.option("--plan", is_flag=True, help="Show what would be run, and run nothing.")
@click.option(
    "--rate",
    type=click.FloatRange(min=0, min_open=True),
    metavar="MPX/S",
    help="What one worker computes in a second, for --plan. Default: what the last "
    "run of the job measured.",
)
@click.option(
    "--price-per-hour",
    type=click.FloatRange(min=0),
    metavar="PRICE",
    help="What one worker costs in an hour, for --plan.",
)
@click.option(
    "--workers",
    type=click.IntRange(1, 256),
    metavar="N",
    help="Processes on this machine. Default: as the job says, else 1.",
)
@click.option(
    "--scheduler",
    metavar="tcp://HOST:PORT",
    help="Run on the Dask cluster of this scheduler; it must reach the same files.",
)
@click.option(
    "--dashboard",
    is_flag=True,
    help="Show Dask's pages of the workers, at an address on this machine.",
)
@click.option(
    "--only-failed", is_flag=True, help="Run only the scenes that failed last time."
)
@json_option
@verbosity
def batch(  # noqa: PLR0913 -- one a flag
    *,
    job_file: Path,
    plan: bool,
    rate: float | None,
    price_per_hour: float | None,
    workers: int | None,
    scheduler: str | None,
    dashboard: bool,
    only_failed: bool,
    as_json: bool,
    quiet: bool,
) -> None:
    """Embed or map many scenes, on one machine or a cluster.

    JOB.toml says which scenes, which model, and where the outputs go. The same command
    again runs what is missing; a report lies beside the job file.
    """
    if scheduler is not None and (workers is not None or dashboard):
        raise click.UsageError("--workers and --dashboard are of this machine")
    job = read_job(job_file)
    workers = workers or job.run.workers
    before = read_report(report_path(job_file))
    scenes = _asked(job, before, only_failed=only_failed)
    if plan:
        planned = plan_job(
            job,
            scenes,
            workers=workers,
            rate=rate or (before.megapixels_per_s if before else None),
            price_per_hour=price_per_hour,
        )
        click.echo(planned.to_json() if as_json else plan_text(planned))
        return
    again = shlex.join(
        [
            *("mmearth", "batch", str(job_file)),
            *(("--scheduler", scheduler) if scheduler else ()),
        ]
    )
    if not scenes:
        click.echo("no scene failed last time", err=True)
        return
    _make_folder(job)
    with ExitStack() as stack:
        progress = stack.enter_context(SceneProgress(len(scenes), quiet=quiet))
        stack.enter_context(
            stopping_with(
                lambda: f"stopped: what is written is kept\nhint: {again}",
                tidy=progress.close,
            )
        )
        client = stack.enter_context(
            existing_cluster(scheduler)
            if scheduler
            else local_workers(min(workers, len(scenes)), dashboard=dashboard)
        )
        if dashboard:
            click.echo(f"dashboard: {client.dashboard_link}", err=True)
        threads = 0 if scheduler else max((os.cpu_count() or 1) // workers, 1)
        report = _run(
            job, scenes, client, threads=threads, before=before, progress=progress
        )
    write_report(report_path(job_file), report)
    _write_catalogue(job, report)
    if as_json:
        click.echo(report.to_json())
    elif not quiet:
        click.echo(summary(report, report_path(job_file)), err=True)
    failures = report.names("failed")
    if failures:
        raise JobError(
            f"{len(failures)} of {len(report.outcomes)} scenes failed",
            hint=f"{again} --only-failed",
        )


def _asked(
    job: Job, before: JobReport | None, *, only_failed: bool
) -> tuple[JobScene, ...]:
    """Return the scenes that are asked for.

    Raises:
        JobError: If those that failed are, and nothing was run.

    """
    if not only_failed:
        return job.scenes
    if before is None:
        raise JobError(
            f"there is no report of `{job.path}`, which would say what failed",
            hint="run it without --only-failed",
        )
    wanted = set(before.names("failed"))
    return tuple(scene for scene in job.scenes if scene.name in wanted)


def _make_folder(job: Job) -> None:
    """Make the folder of the outputs, and refuse early what would fail at the end.

    Raises:
        StoreError: If the catalogue of somebody else lies there.

    """
    if isinstance(job.folder, Path):
        with disk_errors(job.folder):
            job.folder.mkdir(parents=True, exist_ok=True)
        if job.outputs.stac:
            check_catalogue(job.folder)


def _run(  # noqa: PLR0913 -- the parts of a run
    job: Job,
    scenes: Sequence[JobScene],
    client: Client,
    *,
    threads: int,
    before: JobReport | None,
    progress: SceneProgress,
) -> JobReport:
    """Run scenes, and return what became of them."""
    began, died = time.perf_counter(), deaths(client)
    tasks = (_task(job, scene, threads=threads) for scene in scenes)
    outcomes: list[Outcome] = []
    for outcome in drive(client, tasks, tries=job.run.tries):
        outcomes.append(outcome)
        progress.add(outcome)
    return JobReport(
        job=job.name,
        task=job.task,
        model=str(job.config.model),
        worker_deaths=deaths(client) - died,
        elapsed_s=time.perf_counter() - began,
        outcomes=merged(before, outcomes, [scene.name for scene in job.scenes]),
    )


def _task(job: Job, scene: JobScene, *, threads: int) -> SceneTask:
    """Return a scene as workers get it; they share the cores of a machine."""
    config = job.config_of(scene)
    if not config.threads:
        config = replace(config, threads=threads)
    return SceneTask(name=scene.name, config=config, stac=job.outputs.stac)


def _write_catalogue(job: Job, report: JobReport) -> None:
    """Write the catalogue of what is there, if that is asked for."""
    if job.outputs.stac:
        assert isinstance(job.folder, Path)
        write_catalogue(
            job.folder,
            job=job.name,
            items=[
                item_path(Path(one.out))
                for one in report.outcomes
                if one.state != "failed"
            ],
        )
