"""`mmearth batch --scheduler`: a Dask cluster that is there, and one that goes away."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING

import pytest

pytest.importorskip("distributed", reason="the extra `dask` is not installed")

from tests.helpers.batches import digests, single_runs, write_job
from tests.helpers.killing import command
from tests.helpers.scenes import random_dn, write_scene

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

SETTINGS = {"window_px": 32, "halo_px": 0, "batch_size": 1}
FLAGS = ("--window", 32, "--halo", 0, "--batch-size", 1)


@contextmanager
def running(*args: object) -> Iterator[subprocess.Popen[bytes]]:
    """Run a part of Dask, in quiet, and end it after the block."""
    with subprocess.Popen(
        [sys.executable, "-m", "distributed.cli." + str(args[0]), *map(str, args[1:])],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    ) as process:
        try:
            yield process
        finally:
            process.kill()


@contextmanager
def cluster(folder: Path) -> Iterator[tuple[str, subprocess.Popen[bytes]]]:
    """Start a scheduler and two workers, and give its address and its process."""
    said = folder / "scheduler.json"
    here = ("--host", "127.0.0.1")
    with ExitStack() as stack:
        scheduler = stack.enter_context(
            running(
                *("dask_scheduler", *here, "--port", 0, "--no-dashboard"),
                *("--scheduler-file", said),
            )
        )
        deadline = time.monotonic() + 60
        while not said.exists():
            assert time.monotonic() < deadline
            time.sleep(0.1)
        address = json.loads(said.read_bytes())["address"]
        for _ in range(2):
            flags = ("--nthreads", 1, "--no-dashboard", "--local-directory", folder)
            stack.enter_context(running("dask_worker", address, *here, *flags))
        yield address, scheduler


@pytest.fixture
def job(tmp_path: Path, echo_model: Path) -> Path:
    """A job over two scenes."""
    for n in range(2):
        dn = random_dn(height=8192, width=96, seed=n)
        write_scene(tmp_path / f"s{n}.tif", dn)
    return write_job(
        tmp_path / "job.toml", "s*.tif", model=echo_model, settings=SETTINGS
    )


def test_a_cluster_that_goes_away(job: Path, echo_model: Path) -> None:
    """What is written is kept, the report is there, and the same command goes on."""
    folder = job.parent
    with cluster(folder) as (address, scheduler):
        args = ("batch", job, "--scheduler", address, "--json")
        with subprocess.Popen(
            command(*args), stderr=subprocess.PIPE, env=os.environ
        ) as process:
            deadline = time.monotonic() + 120
            while not list(folder.glob("stores/*.ledger")):
                assert time.monotonic() < deadline
                assert process.poll() is None
                time.sleep(0.01)
            scheduler.kill()
            _, said = process.communicate(timeout=120)
    assert process.returncode == 1
    assert "error: the scheduler is gone; what is written is kept" in said.decode()
    assert json.loads((folder / "job.report.json").read_bytes())["job"] == "job"

    (folder / "again").mkdir()
    with cluster(folder / "again") as (address, _):
        done = subprocess.run(
            command("batch", job, "--scheduler", address, "--json"),
            capture_output=True,
            check=True,
            timeout=300,
        )
    report = json.loads(done.stdout.splitlines()[-1])
    assert report["counts"]["failed"] == 0
    (folder / "single").mkdir()
    scenes = sorted(folder.glob("s*.tif"))
    flags = ("--model", echo_model, *FLAGS)
    assert digests(folder / "stores") == single_runs(scenes, folder / "single", *flags)
