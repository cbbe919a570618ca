"""Workers as jobs of Slurm, through dask-jobqueue.

The scheduler runs in this process, and speaks TLS with a certificate of the moment. The
keys of the workers lie in a folder that the nodes share, readable by the user alone,
while the job runs.
"""

from __future__ import annotations

import logging
import shlex
import shutil
import subprocess
import sys
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from tempfile import NamedTemporaryFile, TemporaryDirectory
from typing import TYPE_CHECKING, Final

import dask
from dask_jobqueue.slurm import SLURMCluster, SLURMJob
from distributed import Client
from distributed.core import Status
from distributed.security import Security

from mmearth_infer.errors import JobError
from mmearth_infer.jobs.reach import node_address, shared_folder

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from mmearth_infer.jobs.cluster_tables import SlurmTable

HERE: Final = "127.0.0.1"
"""The only address of Dask's pages, which know no TLS."""

SECONDS_WITHOUT_SCHEDULER: Final = 120
"""How long a worker looks for its scheduler before its job ends."""

SECONDS_BETWEEN_LOOKS: Final = 10
"""How long the first worker is waited for before Slurm is asked what became of it."""


class _Job(SLURMJob):
    """A worker's job that says what became of it, as Dask wants when a cluster ends."""

    async def start(self) -> None:
        """Submit it."""
        try:
            await super().start()  # type: ignore[no-untyped-call]  # Dask's own
        except RuntimeError:
            self.status = Status.failed
            raise

    async def close(self) -> None:
        """Cancel it."""
        await super().close()  # type: ignore[no-untyped-call]  # likewise
        self.status = Status.closed


class _Cluster(SLURMCluster):
    """A cluster of such jobs."""

    job_cls = _Job


@contextmanager
def slurm_workers(
    table: SlurmTable,
    *,
    workers: int,
    environment: Mapping[str, str],
    dashboard: bool,
) -> Iterator[Client]:
    """Submit a job for each worker, and cancel them after the block.

    It begins as soon as there is one worker; the others join as Slurm starts them.

    Args:
        table: What a worker asks for.
        workers: How many are asked for.
        environment: Variables that workers get.
        dashboard: Show Dask's pages, on this machine.

    Raises:
        JobError: If Slurm is not there, refuses the jobs, or they end at once.

    """
    if shutil.which("sbatch") is None:
        raise JobError(
            "there is no `sbatch` on this machine",
            hint="--cluster slurm is for a login node of the cluster, or a job on it",
        )
    shared = shared_folder(table.shared_folder)
    with (
        TemporaryDirectory(prefix=".mmearth-keys-", dir=shared) as keys,
        slurm_cluster(
            table,
            keys=Path(keys),
            environment=environment,
            dashboard=dashboard,
        ) as cluster,
        _pages_at(cluster),
        Client(cluster) as client,
    ):
        _check_script(cluster.job_script())
        cluster.adapt(minimum=workers, maximum=workers, interval="2s")
        _await_first(client, cluster)
        yield client


def slurm_cluster(
    table: SlurmTable,
    *,
    keys: Path,
    environment: Mapping[str, str],
    dashboard: bool,
) -> SLURMCluster:
    """Return a scheduler that can ask Slurm for workers, and has asked for none.

    Args:
        table: What a worker asks for.
        keys: Folder for the keys, which the nodes can read.
        environment: Variables that workers get.
        dashboard: Show Dask's pages, on this machine.

    Raises:
        JobError: If a folder cannot be, or there is no such network.

    """
    logs = None if table.log_folder is None else str(shared_folder(table.log_folder))
    return _Cluster(
        queue=table.queue,
        account=table.account,
        # one thread for scenes, all cores for its engine
        cores=1,
        processes=1,
        job_cpu=table.cores,
        memory=table.memory,
        walltime=table.walltime,
        job_extra_directives=_directives(table),
        job_script_prologue=[
            *(
                f"export {name}={shlex.quote(value)}"
                for name, value in environment.items()
            ),
            *table.prologue,
        ],
        python=table.python or shlex.quote(sys.executable),
        interface=table.interface,
        local_directory=table.local_folder,
        log_directory=logs,
        death_timeout=SECONDS_WITHOUT_SCHEDULER,
        job_name="mmearth",
        scheduler_options={
            "host": node_address(table.interface),
            "dashboard": dashboard,
            "dashboard_address": f"{HERE}:0",
        },
        security=_security(keys),
        silence_logs=logging.CRITICAL,
    )


def _pages_at(cluster: SLURMCluster) -> AbstractContextManager[object]:
    """Have Dask say where its pages are: on this machine alone."""
    assert cluster.scheduler is not None
    port = cluster.scheduler.http_server.port
    return dask.config.set(
        {"distributed.dashboard.link": f"http://{HERE}:{port}/status"}
    )


def _security(keys: Path) -> Security:
    """Return a certificate of the moment, whose parts are files of the user alone."""
    parts = Security.temporary().get_tls_config_for_role("worker")
    written = {part: keys / f"{part}.pem" for part in ("ca_file", "cert", "key")}
    for part, path in written.items():
        path.touch(mode=0o600)
        path.write_text(parts[part])
    ca_file, cert, key = map(str, written.values())
    return Security(
        require_encryption=True,
        tls_ca_file=ca_file,
        tls_scheduler_cert=cert,
        tls_scheduler_key=key,
        tls_worker_cert=cert,
        tls_worker_key=key,
        tls_client_cert=cert,
        tls_client_key=key,
    )


def _directives(table: SlurmTable) -> list[str]:
    gpus = [f"--gres=gpu:{table.gpus}"] if table.gpus else []
    return [*gpus, *table.directives]


def _check_script(script: str) -> None:
    """Have Slurm look at a worker's job before the first is submitted.

    Raises:
        JobError: With Slurm's own words, if it would refuse it.

    """
    with NamedTemporaryFile("w", suffix=".sh") as file:
        file.write(script)
        file.flush()
        asked = subprocess.run(  # noqa: S603 -- a script of ours
            ["sbatch", "--test-only", file.name],  # noqa: S607 -- as PATH has it
            capture_output=True,
            text=True,
            check=False,
        )
    if asked.returncode:
        said = asked.stderr.strip().splitlines()
        raise JobError(
            f"Slurm refuses the job of a worker: {said[-1] if said else '(silence)'}",
            hint="[cluster.slurm] says what is asked for; `sinfo` what there is",
        )


def _await_first(client: Client, cluster: SLURMCluster) -> None:
    """Wait for a worker, as long as Slurm has a job of ours that may become one.

    Raises:
        JobError: If none is left.

    """
    while True:
        try:
            client.wait_for_workers(1, timeout=SECONDS_BETWEEN_LOOKS)
        except TimeoutError:
            submitted = list(cluster.workers.values())
            jobs = [job.job_id for job in submitted if job.job_id]
            if submitted and not jobs:
                raise JobError(
                    "Slurm took none of the jobs of workers",
                    hint="`sacctmgr show assoc user=$USER` lists your limits",
                ) from None
            if jobs and not _any_left(jobs):
                raise JobError(
                    f"the jobs {', '.join(jobs)} ended before they were workers",
                    hint="what they printed says why: mmearth-*.err in [cluster.slurm] "
                    "log_folder, else slurm-*.out here",
                ) from None
        else:
            return


def _any_left(jobs: list[str]) -> bool:
    """Tell whether Slurm still has one of these jobs; it has, if it cannot be asked."""
    asked = subprocess.run(
        ["squeue", "--noheader", "--format=%i"],  # noqa: S607 -- as PATH has it
        capture_output=True,
        text=True,
        check=False,
    )
    return asked.returncode != 0 or bool(set(jobs) & set(asked.stdout.split()))
