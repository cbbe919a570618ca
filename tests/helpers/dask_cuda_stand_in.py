"""A stand-in for dask-cuda 26.10, which needs GPUs: its names, on Dask's own workers.

Like the real one, its cluster takes what is named below and hands the rest to Dask's
local cluster, which refuses what it does not know; a worker's variable
`CUDA_VISIBLE_DEVICES` says which GPUs it sees, its own first.
"""

from __future__ import annotations

import sys
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import TYPE_CHECKING, Any

from distributed import LocalCluster

if TYPE_CHECKING:
    import pytest


class NVMLError(Exception):
    """What NVIDIA's library says."""


class LocalCUDACluster(LocalCluster):
    """Workers that see the GPUs of this machine in turn."""

    gpus = 2

    def __init__(
        self,
        n_workers: int,
        threads_per_worker: int = 1,
        device_memory_limit: str | None = "default",
        **kwargs: Any,  # noqa: ANN401 -- Dask's own
    ) -> None:
        assert device_memory_limit is None
        assert kwargs.pop("processes", True)
        super().__init__(
            n_workers=0,
            threads_per_worker=threads_per_worker,
            memory_limit="auto",
            **kwargs,
        )
        self.scale(n_workers)
        self.sync(self._correct_state)

    def new_worker_spec(self) -> dict[int, dict[str, Any]]:
        """Return a worker for the first GPU that has none."""
        name = min(set(range(self.gpus)) - set(self.worker_spec))
        seen = [str((name + n) % self.gpus) for n in range(self.gpus)]
        options = self.new_spec["options"]
        visible = {"CUDA_VISIBLE_DEVICES": ",".join(seen)}
        return {name: {**self.new_spec, "options": options | {"env": visible}}}


def stand_in_dask_cuda(monkeypatch: pytest.MonkeyPatch, *, gpus: int) -> None:
    """Have it imported in place of the real one, on a machine with some GPUs."""

    def get_n_gpus() -> int:
        if not gpus:
            raise NVMLError("NVML Shared Library Not Found")
        return gpus

    monkeypatch.setattr(LocalCUDACluster, "gpus", gpus)
    for name, contents in (
        ("dask_cuda", {"LocalCUDACluster": LocalCUDACluster}),
        ("dask_cuda.utils", {"get_n_gpus": get_n_gpus}),
        ("pynvml", {"NVMLError": NVMLError}),
    ):
        module = ModuleType(name)
        module.__spec__ = ModuleSpec(name, loader=None)
        vars(module).update(contents)
        monkeypatch.setitem(sys.modules, name, module)
    # it has the real names bound, or those of another stand-in
    monkeypatch.delitem(sys.modules, "mmearth_infer.jobs.cuda", raising=False)
