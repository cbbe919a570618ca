"""Workers as jobs of Slurm: what is submitted, and what its refusals become."""

from __future__ import annotations

import socket
import stat
import subprocess
import sys
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

pytest.importorskip("dask_jobqueue", reason="needs the slurm extra")

from mmearth_infer.errors import JobError
from mmearth_infer.jobs import slurm
from mmearth_infer.jobs.cluster import started_cluster, worker_environment
from mmearth_infer.jobs.cluster_tables import ClusterTable, SlurmTable
from mmearth_infer.jobs.drive import drive
from mmearth_infer.jobs.reach import node_address, shared_folder
from mmearth_infer.jobs.scene_task import SceneTask
from mmearth_infer.run.config import EmbedConfig
from tests.helpers.poison import act
from tests.helpers.slurm_stand_in import stand_in_slurm

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from distributed import Client

LOOPBACK = "lo"


def script_of(table: SlurmTable, keys: Path) -> str:
    """Return what would be submitted for a worker."""
    with slurm.slurm_cluster(
        table, keys=keys, environment=worker_environment(), dashboard=False
    ) as cluster:
        return str(cluster.job_script())


@contextmanager
def workers_of(
    folder: Path, *, count: int = 1, queue: str | None = None, prologue: str = ":"
) -> Iterator[Client]:
    """Start workers through the stand-in."""
    table = SlurmTable(
        queue=queue,
        memory="1 GiB",
        interface=LOOPBACK,
        shared_folder=str(folder / "keys"),
        log_folder=str(folder / "logs"),
        # tests are imported by path
        prologue=(f"export PYTHONPATH={':'.join(filter(None, sys.path))}", prologue),
    )
    with started_cluster(
        "slurm",
        workers=count,
        table=ClusterTable(slurm=table),
        dashboard=False,
    ) as client:
        yield client


def all_jobs_end() -> bool:
    """Tell whether every job ends soon."""
    for _ in range(300):
        left = subprocess.run(["squeue"], capture_output=True, text=True, check=True)
        if not left.stdout.split():
            return True
        time.sleep(0.1)
    return False


def test_a_worker_is_a_job_that_bash_and_slurm_can_read(tmp_path: Path) -> None:
    script = script_of(
        SlurmTable(
            queue="gpu",
            account="geo",
            cores=16,
            memory="64 GiB",
            gpus=1,
            walltime="02:00:00",
            directives=("--constraint=a100",),
            prologue=("module load cuda",),
            python="/opt/venv/bin/python",
            interface=LOOPBACK,
            local_folder="$TMPDIR",
            log_folder=str(tmp_path / "logs"),
        ),
        tmp_path,
    )
    subprocess.run(["bash", "-n"], input=script, text=True, check=True)
    directives = [
        line[8:] for line in script.splitlines() if line.startswith("#SBATCH")
    ]
    assert {
        "-p gpu",
        "-A geo",
        "-n 1",
        "--cpus-per-task=16",
        "--mem=64G",
        "-t 02:00:00",
        "--gres=gpu:1",
        "--constraint=a100",
    } <= set(directives)
    *_, prologue, worker = filter(None, script.splitlines())
    assert prologue == "module load cuda"
    assert worker.startswith("/opt/venv/bin/python -m distributed.cli.dask_worker tls:")
    for option in (
        "--nthreads 1 ",
        "--memory-limit 64.00GiB",
        "--local-directory $TMPDIR",
        f"--tls-key {tmp_path}/key.pem",
    ):
        assert option in worker
    assert stat.S_IMODE((tmp_path / "key.pem").stat().st_mode) == 0o600


def test_workers_run_under_our_settings(tmp_path: Path) -> None:
    """Dask reads the variables of the script as the values that they were made from."""
    script = script_of(SlurmTable(interface=LOOPBACK), tmp_path)
    exports = [line for line in script.splitlines() if line.startswith("export DASK_")]
    asked = "print([dask.config.get(f'distributed.{key}') for key in sys.argv[1:]])"
    done = subprocess.run(
        [
            "bash",
            "-c",
            "\n".join([*exports, 'exec "$@"']),
            "bash",
            sys.executable,
            "-c",
            f"import dask, sys; {asked}",
            "worker.memory.spill",
            "worker.memory.terminate",
            "scheduler.allowed-failures",
        ],
        check=True,
        capture_output=True,
        text=True,
    )
    assert done.stdout.strip() == "[False, 0.95, 0]"


def test_scenes_are_run_by_jobs_which_are_cancelled_at_the_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Over TLS; keys lie in the shared folder while it runs, and no longer."""
    stand_in_slurm(tmp_path, monkeypatch)
    tasks = (
        SceneTask(name=name, config=EmbedConfig(scene=name, out=tmp_path / name))
        for name in ("good-1", "flaky", "good-2")
    )
    with workers_of(tmp_path, count=2) as client:
        assert client.scheduler_info()["address"].startswith("tls://127.0.0.1")
        (keys,) = (tmp_path / "keys").iterdir()
        assert stat.S_IMODE(keys.stat().st_mode) == 0o700
        found = {one.name: one for one in drive(client, tasks, tries=2, run=act)}
    assert {name: one.tries for name, one in found.items()} == {
        "good-1": 1,
        "flaky": 2,
        "good-2": 1,
    }
    assert {one.state for one in found.values()} == {"done"}
    assert not list((tmp_path / "keys").iterdir())
    assert all_jobs_end()


def test_without_slurm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with (
        pytest.raises(JobError, match="there is no `sbatch`") as told,
        workers_of(tmp_path),
    ):
        pass
    assert "login node" in str(told.value.hint)


def test_what_slurm_refuses_is_said_in_its_words(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stand_in_slurm(tmp_path, monkeypatch)
    with (
        pytest.raises(JobError, match="invalid partition specified: nowhere"),
        workers_of(tmp_path, queue="nowhere"),
    ):
        pass
    assert not (tmp_path / "jobs").exists()


def test_jobs_that_end_at_once_end_the_waiting(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stand_in_slurm(tmp_path, monkeypatch)
    monkeypatch.setattr(slurm, "SECONDS_BETWEEN_LOOKS", 1)
    with (
        pytest.raises(JobError, match="ended before they were workers") as told,
        workers_of(tmp_path, prologue="exit 3"),
    ):
        pass
    assert "log_folder" in str(told.value.hint)


def test_jobs_that_are_not_taken_end_the_waiting(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A limit on jobs, say, which a look at the script does not tell."""
    stand_in_slurm(tmp_path, monkeypatch).touch()
    monkeypatch.setattr(slurm, "SECONDS_BETWEEN_LOOKS", 1)
    with (
        pytest.raises(JobError, match="Slurm took none of the jobs"),
        workers_of(tmp_path, count=2),
    ):
        pass


@pytest.mark.parametrize(
    ("address", "what"),
    [("127.0.1.1", "this machine alone"), ("8.8.8.8", "the public network")],
)
def test_the_scheduler_listens_on_no_network_by_accident(
    address: str, what: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(socket, "gethostbyname", lambda _name: address)
    with pytest.raises(JobError, match=f"leads to {address}, which is {what}") as told:
        node_address(None)
    assert "[cluster.slurm] interface" in str(told.value.hint)


def test_a_private_address_is_taken_and_a_network_has_to_be_there(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(socket, "gethostbyname", lambda _name: "10.1.2.3")
    assert node_address(None) == "10.1.2.3"
    assert node_address(LOOPBACK) == "127.0.0.1"
    with pytest.raises(JobError, match="has no network `ib7`"):
        node_address("ib7")


def test_a_folder_that_a_script_cannot_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SCRATCH", str(tmp_path / "my scratch"))
    with pytest.raises(JobError, match="my scratch/keys` here"):
        shared_folder("$SCRATCH/keys")
    (tmp_path / "file").touch()
    with pytest.raises(JobError, match="cannot make the folder"):
        shared_folder(f"{tmp_path}/file/keys")
