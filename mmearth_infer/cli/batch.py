"""`mmearth batch`: many scenes, on one machine or on a Dask cluster."""

from __future__ import annotations

import os
import shlex
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Literal, get_args

import click

from mmearth_infer.cli.batch_progress import SceneProgress
from mmearth_infer.cli.batch_text import plan_text, summary
from mmearth_infer.cli.options import json_option, verbosity
from mmearth_infer.cli.stop import stopping_with
from mmearth_infer.errors import JobError
from mmearth_infer.jobs.cluster import existing_cluster, local_workers, started_cluster
from mmearth_infer.jobs.cluster_tables import ClusterKind, cores_of
from mmearth_infer.jobs.job_file import read_job
from mmearth_infer.jobs.plan import plan_job
from mmearth_infer.jobs.report import page_path, read_report, report_path
from mmearth_infer.jobs.run_job import Crew, Record, make_room, run_job

if TYPE_CHECKING:
    from collections.abc import Iterator

    from mmearth_infer.jobs.job_file import Job
    from mmearth_infer.jobs.report import JobReport
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
    help="Processes, each with a model of its own. Default: as the job says, else 1.",
)
@click.option(
    "--scheduler",
    metavar="tcp://HOST:PORT",
    help="Run on the Dask cluster of this scheduler; it must reach the same files.",
)
@click.option(
    "--cluster",
    type=click.Choice(["local", *get_args(ClusterKind)]),
    help="Where workers are started: as processes of this machine, or on a cluster as "
    "the table [cluster] of the job says. Default: local.",
)
@click.option(
    "--dashboard",
    is_flag=True,
    help="Show Dask's pages of the workers, at an address on this machine.",
)
@click.option("--only-failed", is_flag=True, help="Run only what failed last time.")
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
    cluster: Literal["local", ClusterKind] | None,
    dashboard: bool,
    only_failed: bool,
    as_json: bool,
    quiet: bool,
) -> None:
    """Embed or map many scenes, on one machine or a cluster.

    JOB.toml says which scenes, which model, and where the outputs go. The same command
    again runs what is missing; a report lies beside the job file.
    """
    if scheduler is not None and (workers or cluster or dashboard):
        raise click.UsageError(
            "--workers, --cluster and --dashboard are of workers that are started here"
        )
    job = read_job(job_file)
    before = read_report(report_path(job_file))
    scenes = _asked(job, before, only_failed=only_failed)
    again = shlex.join(
        [
            *("mmearth", "batch", str(job_file)),
            *(("--workers", str(workers)) if workers else ()),
            *(("--scheduler", scheduler) if scheduler else ()),
            *(("--cluster", cluster) if cluster else ()),
        ]
    )
    workers = workers or job.run.workers
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
    if only_failed and not (before and before.failed):
        click.echo("nothing failed last time", err=True)
        return
    make_room(job)
    with ExitStack() as stack:
        progress = stack.enter_context(SceneProgress(quiet=quiet))
        crew = stack.enter_context(
            _crew(
                job, workers, scheduler=scheduler, cluster=cluster, dashboard=dashboard
            )
        )
        if dashboard:
            click.echo(f"dashboard: {crew.client.dashboard_link}", err=True)
        retry = f"{again} --only-failed"
        record = Record(job, before, crew.client, retry=retry)

        def tidy() -> None:
            progress.close()
            record.write()

        farewell = f"stopped: what is written is kept\nhint: {again}"
        stack.enter_context(stopping_with(lambda: farewell, tidy=tidy))
        with record:
            run_job(job, scenes, crew, record, progress)
    report = record.report
    if as_json:
        click.echo(report.to_json())
    elif not quiet:
        click.echo(summary(report, page_path(job_file)), err=True)
    if report.failed:
        tried = len(report.outcomes) + len(report.mosaics)
        what = "scenes and mosaics" if report.mosaics else "scenes"
        raise JobError(f"{len(report.failed)} of {tried} {what} failed", hint=retry)


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


@contextmanager
def _crew(
    job: Job,
    workers: int,
    *,
    scheduler: str | None,
    cluster: Literal["local", ClusterKind] | None,
    dashboard: bool,
) -> Iterator[Crew]:
    """Start workers, or join those of a scheduler.

    Raises:
        JobError: If there are none to be had.

    """
    if scheduler:
        with existing_cluster(scheduler) as client:
            yield Crew(client=client, workers=len(client.nthreads()), threads=0)
    elif cluster is None or cluster == "local":
        gpus = job.config.device == "cuda"
        threads = max((os.cpu_count() or 1) // workers, 1)
        with local_workers(workers, dashboard=dashboard, gpus=gpus) as client:
            yield Crew(client=client, workers=workers, threads=threads)
    else:
        with started_cluster(
            cluster, workers=workers, table=job.cluster, dashboard=dashboard
        ) as client:
            cores = cores_of(cluster, job.cluster)
            yield Crew(client=client, workers=workers, threads=cores)
