"""Workers: processes on this machine, or those of a Dask cluster that is there.

What runs on this machine listens on 127.0.0.1 only, and speaks TLS with a certificate
of the moment: who can speak to a Dask scheduler can run programs.
"""

from __future__ import annotations

import logging
from contextlib import contextmanager
from importlib.util import find_spec
from typing import TYPE_CHECKING, Final

import dask
from distributed import Client, LocalCluster
from distributed.security import Security
from distributed.utils import silence_logging_cmgr

from mmearth_infer.errors import JobError, MissingExtraError

if TYPE_CHECKING:
    from collections.abc import Iterator

SECONDS_TO_ANSWER: Final = 10
"""How long a scheduler may take to answer."""

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
def local_workers(workers: int, *, dashboard: bool) -> Iterator[Client]:
    """Start processes on this machine, and end them after the block.

    Args:
        workers: How many; each runs one scene at a time.
        dashboard: Show Dask's pages, on this machine.

    Raises:
        MissingExtraError: If what draws the pages is not installed.

    """
    if dashboard and find_spec("bokeh") is None:
        raise MissingExtraError("--dashboard", hint="pip install bokeh")
    with (
        dask.config.set(_SETTINGS),
        LocalCluster(
            n_workers=workers,
            threads_per_worker=1,
            processes=True,
            host=HERE,
            dashboard_address=f"{HERE}:0",
            scheduler_kwargs={"dashboard": dashboard},
            security=Security.temporary(),
            silence_logs=logging.CRITICAL,
        ) as cluster,
        Client(cluster) as client,
    ):
        cluster.adapt(minimum=workers, maximum=workers, interval="2s")
        yield client


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
