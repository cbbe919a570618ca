"""Which workers there are: what is missing is named, GPUs are shared out."""

from __future__ import annotations

import importlib.util
import os
from typing import TYPE_CHECKING

import pytest

pytest.importorskip("distributed", reason="needs the dask extra")

from mmearth_infer.errors import JobError, MissingExtraError
from mmearth_infer.jobs import cluster
from mmearth_infer.jobs.cluster import local_workers, started_cluster
from mmearth_infer.jobs.cluster_tables import ClusterTable, KubernetesTable
from tests.helpers.dask_cuda_stand_in import stand_in_dask_cuda

if TYPE_CHECKING:
    from mmearth_infer.jobs.cluster_tables import ClusterKind

TABLE = ClusterTable(kubernetes=KubernetesTable(image="mmearth"))


@pytest.fixture
def nothing_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have no optional package found."""
    monkeypatch.setattr(cluster, "find_spec", lambda _name: None)


@pytest.mark.usefixtures("nothing_installed")
@pytest.mark.parametrize("kind", ["slurm", "kubernetes"])
def test_the_extra_of_a_cluster_is_named(kind: ClusterKind) -> None:
    with (
        pytest.raises(MissingExtraError, match=f"`--cluster {kind}`") as told,
        started_cluster(kind, workers=1, table=TABLE, dashboard=False),
    ):
        pass
    assert told.value.hint == f'pip install "mmearth-infer[{kind}]"'


@pytest.mark.usefixtures("nothing_installed")
def test_what_shares_gpus_is_named_where_there_is_more_than_one_worker() -> None:
    with (
        pytest.raises(MissingExtraError, match="a GPU for each worker") as told,
        local_workers(2, dashboard=False, gpus=True),
    ):
        pass
    assert told.value.hint == "pip install dask-cuda"
    with local_workers(1, dashboard=False, gpus=True) as client:
        assert len(client.nthreads()) == 1


def test_each_worker_sees_a_gpu_of_its_own_first(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """With one thread, over TLS, on this machine alone, as without GPUs."""
    stand_in_dask_cuda(monkeypatch, gpus=3)
    with local_workers(2, dashboard=False, gpus=True) as client:
        client.wait_for_workers(2, timeout=60)
        seen = client.run(os.getenv, "CUDA_VISIBLE_DEVICES")
        threads = client.nthreads()
    assert sorted(seen.values()) == ["0,1,2", "1,2,0"]
    assert set(threads.values()) == {1}
    assert all(address.startswith("tls://127.0.0.1") for address in threads)


@pytest.mark.parametrize(
    ("gpus", "message"),
    [(1, "as many GPUs; there is 1$"), (0, "no GPU can be found: NVML")],
)
def test_more_workers_than_gpus(
    gpus: int, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    stand_in_dask_cuda(monkeypatch, gpus=gpus)
    with (
        pytest.raises(JobError, match=message),
        local_workers(2, dashboard=False, gpus=True),
    ):
        pass


def test_pages_need_what_draws_them(monkeypatch: pytest.MonkeyPatch) -> None:
    if importlib.util.find_spec("bokeh"):
        monkeypatch.setattr(cluster, "find_spec", lambda _name: None)
    with (
        pytest.raises(MissingExtraError, match="`--dashboard`"),
        local_workers(1, dashboard=True),
    ):
        pass
