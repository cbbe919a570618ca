"""Workers: processes on this machine, jobs or pods of a cluster, or those of a Dask.

What runs on this machine listens on 127.0.0.1 only, and speaks TLS with a certificate
of the moment: who can speak to a Dask scheduler can run programs.
"""

from __future__ import annotations

import logging
from contextlib import contextmanager
from functools import partial
from importlib.util import find_spec
from typing import TYPE_CHECKING, Final

import dask
from distributed import Client, LocalCluster
from distributed.security import Security
from distributed.utils import silence_logging_cmgr

from mmearth_infer.errors import JobError, MissingExtraError
from mmearth_infer.jobs.cluster_tables import SlurmTable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager

    from mmearth_infer.jobs.cluster_tables import ClusterKind, ClusterTable

SECONDS_TO_ANSWER: Final = 10
"""How long a scheduler may take to answer."""

STARTS: Final = 3
"""How often local workers are started before it is given up."""

HERE: Final = "127.0.0.1"
"""The only address that local workers listen on."""

_SETTINGS: Final = {
    # a worker that computes holds the memory it needs: pausing it would end nothing
    "distributed.worker.memory.target": False,
    "distributed.worker.memory.spill": False,
    "distributed.worker.memory.pause": False,
    "distributed.worker.memory.terminate": 0.95,
    # an engine may keep the interpreter to itself for as long as a batch takes
    "distributed.comm.timeouts.connect": "60s",
    "distributed.comm.timeouts.tcp": "300s",
    "distributed.admin.tick.limit": "1h",
    # one that is slow to come back is given up then, and replaced by `adapt`
    "distributed.deploy.lost-worker-timeout": "30s",
    # `drive` counts tries itself
    "distributed.scheduler.allowed-failures": 0,
}


@contextmanager
def local_workers(
    workers: int, *, dashboard: bool, gpus: bool = False
) -> Iterator[Client]:
    """Start processes on this machine, and end them after the block.

    Args:
        workers: How many; each runs one scene at a time.
        dashboard: Show Dask's pages, on this machine.
        gpus: Give each a GPU of its own; one worker alone sees them all.

    Raises:
        MissingExtraError: If what draws the pages, or shares GPUs, is not installed.
        JobError: If there are fewer GPUs than workers, or workers die as they start.

    """
    _check_dashboard(dashboard)
    start = _cuda_cluster() if gpus and workers > 1 else LocalCluster
    with (
        dask.config.set(_SETTINGS),
        _begun(
            partial(
                start,
                n_workers=workers,
                threads_per_worker=1,
                processes=True,
                host=HERE,
                dashboard_address=f"{HERE}:0",
                scheduler_kwargs={"dashboard": dashboard},
                security=Security.temporary(),
                silence_logs=logging.CRITICAL,
            )
        ) as cluster,
        Client(cluster) as client,
    ):
        cluster.adapt(minimum=workers, maximum=workers, interval="2s")
        yield client


def _begun(start: Callable[[], LocalCluster]) -> LocalCluster:
    """Start processes; where one dies before it is up, all begin again.

    Raises:
        JobError: If that happens each time.

    """
    for _ in range(STARTS):
        try:
            return start()
        except RuntimeError as error:
            died = error
    raise JobError(
        f"workers die as they start: {died.__cause__ or died}",
        hint="is there memory for them? --workers takes fewer",
    ) from died


@contextmanager
def started_cluster(
    kind: ClusterKind, *, workers: int, table: ClusterTable, dashboard: bool
) -> Iterator[Client]:
    """Ask a cluster for workers, and give them back after the block.

    Args:
        kind: The cluster.
        workers: How many; each runs one scene at a time.
        table: What a worker asks for.
        dashboard: Show Dask's pages.

    Raises:
        MissingExtraError: If what speaks to the cluster, or draws pages, is not there.
        JobError: If the cluster is not there, or gives no workers.

    """
    start = _slurm(table) if kind == "slurm" else _kubernetes(table)
    if kind == "slurm":
        _check_dashboard(dashboard)
    with (
        dask.config.set(_SETTINGS),
        start(
            workers=workers, environment=worker_environment(), dashboard=dashboard
        ) as client,
        silence_logging_cmgr(logging.CRITICAL),
    ):
        yield client


def worker_environment() -> dict[str, str]:
    """Return our settings of Dask as the variables that it reads them from."""
    return {
        f"DASK_{name.upper().replace('.', '__').replace('-', '_')}": str(value)
        for name, value in _SETTINGS.items()
    }


@contextmanager
def existing_cluster(address: str) -> Iterator[Client]:
    """Join a Dask cluster; it goes on after the block.

    Args:
        address: Of its scheduler, `tcp://HOST:PORT` or `tls://HOST:PORT`.

    Raises:
        JobError: If nothing answers there.

    """
    try:
        client = Client(address, timeout=SECONDS_TO_ANSWER)
    except (OSError, ValueError, TypeError) as error:
        raise JobError(
            f"no Dask scheduler answers at `{address}`",
            hint="--scheduler takes tcp://HOST:PORT, as `dask scheduler` prints it",
        ) from error
    with silence_logging_cmgr(logging.CRITICAL), client:
        yield client


def _check_dashboard(dashboard: bool) -> None:  # noqa: FBT001 -- a flag is checked
    """Refuse pages that nothing here can draw.

    Raises:
        MissingExtraError: If what draws them is not installed.

    """
    if dashboard and find_spec("bokeh") is None:
        raise MissingExtraError("--dashboard", hint="pip install bokeh")


def _cuda_cluster() -> Callable[..., LocalCluster]:
    if find_spec("dask_cuda") is None:
        raise MissingExtraError("a GPU for each worker", hint="pip install dask-cuda")
    from mmearth_infer.jobs.cuda import cuda_cluster  # noqa: PLC0415 -- an extra

    return cuda_cluster


def _slurm(table: ClusterTable) -> Callable[..., AbstractContextManager[Client]]:
    if find_spec("dask_jobqueue") is None:
        raise MissingExtraError("--cluster slurm", extra="slurm")
    from mmearth_infer.jobs.slurm import slurm_workers  # noqa: PLC0415 -- an extra

    return partial(slurm_workers, table.slurm or SlurmTable())


def _kubernetes(table: ClusterTable) -> Callable[..., AbstractContextManager[Client]]:
    if table.kubernetes is None:
        raise JobError(
            "the job does not say which image Kubernetes runs",
            hint='[cluster.kubernetes] image = "NAME"; docs/guides/clusters.md',
        )
    if find_spec("dask_kubernetes") is None:
        raise MissingExtraError("--cluster kubernetes", extra="kubernetes")
    from mmearth_infer.jobs.kubernetes import kubernetes_workers  # noqa: PLC0415 -- an extra

    return partial(kubernetes_workers, table.kubernetes)
