"""Workers of this machine with a GPU each, through dask-cuda."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from dask_cuda import LocalCUDACluster
from dask_cuda.utils import get_n_gpus
from pynvml import NVMLError

from mmearth_infer.errors import JobError

if TYPE_CHECKING:
    from distributed import LocalCluster


def cuda_cluster(*, n_workers: int, **settings: Any) -> LocalCluster:  # noqa: ANN401
    """Return workers that each see another GPU first, which is `cuda:0` to them.

    Args:
        n_workers: How many.
        settings: What Dask's local cluster takes.

    Raises:
        JobError: If there are not as many GPUs.

    """
    try:
        gpus = get_n_gpus()
    except NVMLError as error:
        raise JobError(f"no GPU can be found: {error}") from error
    if n_workers > gpus:
        raise JobError(
            f"{n_workers} workers with a GPU each need as many GPUs; there "
            f"{'is' if gpus == 1 else 'are'} {gpus}",
            hint=f"--workers {gpus}",
        )
    # nothing of ours lies in Dask's store of the device
    cluster: LocalCluster = LocalCUDACluster(
        n_workers=n_workers, device_memory_limit=None, **settings
    )
    return cluster
