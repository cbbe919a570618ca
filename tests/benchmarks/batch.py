"""Batch jobs: two workers against one, kills of workers, memory of the client, plans.

    python -m tests.benchmarks.batch scaling [--scenes 24] [--side 1024] [--turns 3]
    python -m tests.benchmarks.batch kills [--kills 50]
    python -m tests.benchmarks.batch client
    python -m tests.benchmarks.batch plan [--scenes 10000]

Scenes are squares cut out of a real one. The last line of each is JSON.
"""

from __future__ import annotations

import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import click
import numpy as np

from tests.helpers.batches import (
    cut_scenes,
    digests,
    run_watched,
    single_runs,
    workers_of,
    write_job,
)
from tests.helpers.killing import command
from tests.helpers.models import UNTRAINED

SMALL = {"window_px": 64, "halo_px": 16, "batch_size": 1, "threads": 1}
"""Settings of many windows, so that kills fall into every moment of a run."""


@click.group()
def main() -> None:
    """Measure batch jobs."""


@main.command()
@click.option("--scenes", default=24, show_default=True)
@click.option("--side", default=1024, show_default=True)
@click.option("--turns", default=3, show_default=True)
def scaling(*, scenes: int, side: int, turns: int) -> None:
    """Compare two workers with one, a thread each, and both with single runs."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        paths = cut_scenes(folder, count=scenes, side=side)
        job = write_job(folder / "job.toml", "s*.tif", settings={"threads": 1})
        (folder / "single").mkdir()
        expected = single_runs(paths, folder / "single", "--threads", 1)
        seconds: dict[int, list[float]] = {1: [], 2: []}
        equal = True
        for turn in range(turns):
            for workers in (1, 2) if turn % 2 == 0 else (2, 1):
                report, _ = run_watched(job, "--workers", workers)
                seconds[workers].append(report["elapsed_s"])
                equal &= digests(folder / "stores") == expected
                shutil.rmtree(folder / "stores")
                print(f"{workers} workers: {seconds[workers][-1]:.1f} s", flush=True)
    one, two = (statistics.median(found) for found in seconds.values())
    ratio = one / two
    print(json.dumps({"seconds": seconds, "ratio": ratio, "equal": equal}))


@main.command()
@click.option("--kills", default=50, show_default=True)
@click.option("--scenes", default=8, show_default=True)
@click.option("--seed", default=0, show_default=True)
def kills(*, kills: int, scenes: int, seed: int) -> None:
    """Kill workers at random moments, in job after job, and compare the stores.

    From the first store on: a job whose workers are killed as they start for the first
    time, three times in a row, gives up.
    """
    rng = np.random.default_rng(seed)
    killed = jobs = equal = deaths = 0
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        paths = cut_scenes(folder, count=scenes, side=512)
        (folder / "single").mkdir()
        flags = ("--window", 64, "--halo", 16, "--batch-size", 1, "--threads", 1)
        expected = single_runs(paths, folder / "single", "--model", UNTRAINED, *flags)
        while killed < kills:
            job = write_job(
                folder / "job.toml",
                "s*.tif",
                model=UNTRAINED,
                settings=SMALL,
                run={"workers": 2, "tries": 100, "parts": int(rng.integers(1, 4))},
            )
            with subprocess.Popen(
                command("batch", job, "--json"),
                stdout=subprocess.PIPE,
                stderr=sys.stderr,
                env=os.environ,
            ) as process:
                while process.poll() is None and killed < kills:
                    time.sleep(rng.uniform(0.5, 4))
                    found = workers_of(process) if process.poll() is None else []
                    begun = list((folder / "stores").glob("*.zarr*"))
                    if found and begun:
                        found[int(rng.integers(len(found)))].kill()
                        killed += 1
                said, _ = process.communicate()
            report = json.loads(said.splitlines()[-1])
            jobs += 1
            deaths += report["worker_deaths"]
            stores = digests(folder / "stores")
            left = {path.stem for path in (folder / "stores").iterdir()}
            same = stores == expected and left == set(expected)
            equal += same
            print(f"job {jobs}: {killed} kills, {'equal' if same else 'DIFFERENT'}")
            if not same:
                apart = [n for n in expected if stores.get(n) != expected[n]]
                reasons = {one["reason"] for one in report["outcomes"]}
                print(f"apart: {apart}, left: {sorted(left)}, reasons: {reasons}")
            shutil.rmtree(folder / "stores")
    said_at_last = {"jobs": jobs, "kills": killed, "deaths": deaths, "equal": equal}
    print(json.dumps(said_at_last))
    if equal != jobs:
        raise SystemExit(1)


@main.command()
def client() -> None:
    """Measure the client's memory for few windows and for sixteen times as many."""
    found: dict[int, tuple[int, int]] = {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        cut_scenes(folder, count=8, side=512)
        for window_px in (256, 64):
            settings = {**SMALL, "window_px": window_px, "halo_px": 0}
            job = write_job(
                folder / "job.toml", "s*.tif", model=UNTRAINED, settings=settings
            )
            windows = 8 * (512 // window_px) ** 2
            _, most = run_watched(job, "--workers", 2)
            found[window_px] = windows, most
            shutil.rmtree(folder / "stores")
    print(json.dumps([{"windows": n, "MiB": b / 2**20} for n, b in found.values()]))


@main.command()
@click.option("--scenes", default=10_000, show_default=True)
def plan(*, scenes: int) -> None:
    """Plan a job of many scenes that state their size."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        rows = [f"there/{n}.tif,10980,10980" for n in range(scenes)]
        (folder / "list.csv").write_text(
            "\n".join(["scene,height_px,width_px", *rows]) + "\n"
        )
        job = folder / "job.toml"
        job.write_text('[scenes]\nlist = "list.csv"\n[outputs]\nfolder = "o"\n')
        began = time.perf_counter()
        planned, most = run_watched(job, "--plan", "--rate", 1)
    print(
        json.dumps(
            {
                "scenes": planned["scenes"],
                "windows": planned["windows"],
                "seconds": time.perf_counter() - began,
                "MiB": most / 2**20,
            }
        )
    )


if __name__ == "__main__":
    main()
