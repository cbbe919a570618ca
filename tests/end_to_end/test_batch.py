"""`mmearth batch`: the same stores as single runs make, whatever happens on the way."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from typing import TYPE_CHECKING

import psutil
import pystac
import pytest

from tests.helpers.batches import workers_of
from tests.helpers.digest import digest
from tests.helpers.killing import command, left_in
from tests.helpers.scenes import random_dn, write_scene

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.conftest import Ran

CHUNK_PX = 4096
"""Height of a row of chunks of the echo model's stores."""

SLOW = {"window_px": 32, "halo_px": 0, "batch_size": 1}


def write_job(
    folder: Path,
    model: Path,
    *,
    tries: int = 2,
    stac: bool = False,
    outputs: str = "",
    more: str = "",
) -> Path:
    """Write a job over every scene of a list, for two workers."""
    settings = "\n".join(f"{key} = {value}" for key, value in SLOW.items())
    path = folder / "job.toml"
    path.write_text(
        f'model = "{model}"\n'
        f'[scenes]\nlist = "scenes.csv"\n'
        f'[outputs]\nfolder = "stores"\nstac = {str(stac).lower()}\n'
        f"{outputs}\n"
        f"[settings]\n{settings}\n"
        f"[run]\nworkers = 2\ntries = {tries}\n{more}"
    )
    return path


def write_scenes(folder: Path, count: int, *, height: int = 128) -> list[str]:
    """Write scenes and a list of them, and return their names."""
    names = [f"s{n}" for n in range(count)]
    for n, name in enumerate(names):
        write_scene(folder / f"{name}.tif", random_dn(height=height, width=96, seed=n))
    rows = [f"{name}.tif" for name in names]
    (folder / "scenes.csv").write_text("\n".join(["scene", *rows]) + "\n")
    return names


def single_runs(
    mmearth: Callable[..., Ran], folder: Path, names: list[str], model: Path
) -> dict[str, str]:
    """Embed each scene by itself, and return the digests of the stores."""
    found = {}
    for name in names:
        out = folder / f"single-{name}.zarr"
        flags = ("--window", 32, "--halo", 0, "--batch-size", 1, "-q")
        ran = mmearth(
            "embed", folder / f"{name}.tif", "-o", out, "--model", model, *flags
        )
        assert ran.code == 0, ran.stderr
        found[name] = digest(out)
    return found


def stores(folder: Path) -> dict[str, str]:
    """Return the digests of the stores of a job."""
    return {path.stem: digest(path) for path in (folder / "stores").glob("*.zarr")}


def test_two_workers_make_the_stores_of_single_runs(
    mmearth: Callable[..., Ran], tmp_path: Path, echo_model: Path
) -> None:
    """Bit for bit; a catalogue of them holds; again, all is complete already."""
    names = write_scenes(tmp_path, 5)
    job = write_job(tmp_path, echo_model, stac=True)
    ran = mmearth("batch", job, "--json")
    assert ran.code == 0, ran.stderr
    assert ran.report["counts"] == {"done": 5, "complete": 0, "failed": 0}
    assert stores(tmp_path) == single_runs(mmearth, tmp_path, names, echo_model)
    catalogue = pystac.Catalog.from_file(str(tmp_path / "stores" / "catalog.json"))
    assert catalogue.validate()
    assert sorted(item.id for item in catalogue.get_items()) == names
    again = mmearth("batch", job, "--json")
    assert again.report["counts"] == {"done": 0, "complete": 5, "failed": 0}
    planned = mmearth("batch", job, "--plan", "--json").report
    assert (planned["there"], planned["windows"]) == (5, 0)


def test_what_is_bad_is_listed_and_the_rest_is_made(
    mmearth: Callable[..., Ran], tmp_path: Path, echo_model: Path
) -> None:
    """A corrupt and a missing scene; what is mended is run by itself."""
    names = write_scenes(tmp_path, 3)
    whole = (tmp_path / "s1.tif").read_bytes()
    (tmp_path / "s1.tif").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "s2.tif").rename(tmp_path / "elsewhere.tif")
    job = write_job(tmp_path, echo_model)
    ran = mmearth("batch", job)
    assert ran.code == 1
    assert "failed: s1: " in ran.stderr
    assert f"failed: s2: there is no file `{tmp_path / 's2.tif'}`" in ran.stderr
    assert "error: 2 of 3 scenes failed" in ran.stderr
    assert f"hint: mmearth batch {job} --only-failed" in ran.stderr
    assert set(stores(tmp_path)) == {"s0"}
    made = (tmp_path / "stores" / "s0.zarr" / "zarr.json").stat()

    (tmp_path / "elsewhere.tif").rename(tmp_path / "s2.tif")
    ran = mmearth("batch", job, "--only-failed", "--json")
    assert ran.code == 1
    assert ran.report["counts"] == {"done": 2, "complete": 0, "failed": 1}

    (tmp_path / "s1.tif").write_bytes(whole)
    ran = mmearth("batch", job, "--json")
    assert ran.code == 0, ran.stderr
    assert ran.report["counts"] == {"done": 1, "complete": 2, "failed": 0}
    assert stores(tmp_path) == single_runs(mmearth, tmp_path, names, echo_model)
    assert (tmp_path / "stores" / "s0.zarr" / "zarr.json").stat() == made
    assert "nothing failed" in mmearth("batch", job, "--only-failed").stderr


def test_a_mosaic_that_failed_is_run_by_itself(
    mmearth: Callable[..., Ran], tmp_path: Path, echo_model: Path
) -> None:
    """Its scenes stay as they are, and the command that is hinted at is the one."""
    write_scenes(tmp_path, 2)
    job = write_job(tmp_path, echo_model, outputs="mosaic = true")
    taken = tmp_path / "stores" / "zone-32633.zarr"
    taken.mkdir(parents=True)
    (taken / "thesis.txt").write_text("years of work")
    ran = mmearth("batch", job, "--workers", 1)
    assert ran.code == 1
    assert "error: 1 of 3 scenes and mosaics failed" in ran.stderr
    assert f"hint: mmearth batch {job} --workers 1 --only-failed" in ran.stderr
    assert (taken / "thesis.txt").read_text() == "years of work"
    made = {path: path.stat() for path in (tmp_path / "stores").rglob("zarr.json")}
    assert made

    (taken / "thesis.txt").unlink()
    taken.rmdir()
    ran = mmearth("batch", job, "--workers", 1, "--only-failed", "--json")
    assert ran.code == 0, ran.stderr
    assert [one["state"] for one in ran.report["mosaics"]] == ["done"]
    assert (taken / "zarr.json").exists()
    assert {path: path.stat() for path in made} == made
    assert "nothing failed" in mmearth("batch", job, "--only-failed").stderr


def wait_for_strips(folder: Path, process: subprocess.Popen[bytes], most: int) -> bool:
    """Wait until a scene is under way that few kills were seen of; False at the end."""
    deadline = time.monotonic() + 120
    while process.poll() is None:
        assert time.monotonic() < deadline
        for ledger in folder.glob("*.ledger*"):
            try:
                if ledger.read_bytes().count(b"\n") > most:
                    return True
            except FileNotFoundError:  # it was finished meanwhile
                continue
        time.sleep(0.005)
    return False


def test_killed_workers_leave_the_same_stores(
    mmearth: Callable[..., Ran], tmp_path: Path, echo_model: Path
) -> None:
    """All workers are killed while they write, twice; what was written is kept."""
    names = write_scenes(tmp_path, 4, height=8192)
    job = write_job(tmp_path, echo_model, tries=8)
    kills = 0
    with subprocess.Popen(
        command("batch", job, "--json"), stdout=subprocess.PIPE, env=os.environ
    ) as process:
        for strips in (1, 2):
            if wait_for_strips(tmp_path / "stores", process, strips):
                for worker in workers_of(process):
                    worker.kill()
                    kills += 1
        said, _ = process.communicate(timeout=300)
    assert process.returncode == 0
    report = json.loads(said.splitlines()[-1])
    assert kills >= 2
    assert report["worker_deaths"] >= 2
    assert report["counts"]["failed"] == 0
    assert stores(tmp_path) == single_runs(mmearth, tmp_path, names, echo_model)
    assert left_in(tmp_path / "stores") == [f"{name}.zarr" for name in names]


@pytest.mark.parametrize("kills", [0, 2])
def test_one_scene_on_two_workers(
    mmearth: Callable[..., Ran], tmp_path: Path, echo_model: Path, kills: int
) -> None:
    """It is the scene of a single run, whoever dies over which part."""
    names = write_scenes(tmp_path, 1, height=4 * CHUNK_PX)
    job = write_job(tmp_path, echo_model, tries=8, more="parts = 4\n" * bool(kills))
    with subprocess.Popen(
        command("batch", job, "--json"), stdout=subprocess.PIPE, env=os.environ
    ) as process:
        for _ in range(kills):
            if wait_for_strips(tmp_path / "stores", process, 1):
                workers_of(process)[0].kill()
                time.sleep(0.5)
        said, _ = process.communicate(timeout=300)
    report = json.loads(said.splitlines()[-1])
    assert report["counts"] == {"done": 1, "complete": 0, "failed": 0}
    (outcome,) = report["outcomes"]
    if not kills:
        assert len({work["worker"] for work in outcome["work"]}) == 2
        assert sum(work["pixels"] for work in outcome["work"]) == 4 * CHUNK_PX * 96
    assert stores(tmp_path) == single_runs(mmearth, tmp_path, names, echo_model)
    assert left_in(tmp_path / "stores") == ["s0.zarr"]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_the_client_ends_and_so_do_its_workers(
    mmearth: Callable[..., Ran],
    tmp_path: Path,
    echo_model: Path,
    number: signal.Signals,
) -> None:
    """The same command goes on, and makes the stores of single runs."""
    names = write_scenes(tmp_path, 2, height=8192)
    job = write_job(tmp_path, echo_model)
    with subprocess.Popen(
        command("batch", job), stderr=subprocess.PIPE, env=os.environ
    ) as process:
        assert wait_for_strips(tmp_path / "stores", process, 1)
        workers = workers_of(process)
        process.send_signal(number)
        _, said = process.communicate(timeout=60)
    assert workers
    _, alive = psutil.wait_procs(workers, timeout=60)
    assert not alive
    if number == signal.SIGINT:
        assert process.returncode == 128 + number
        assert f"hint: mmearth batch {job}" in said.decode()
        assert "html" in (tmp_path / "job.report.html").read_text()
        assert json.loads((tmp_path / "job.report.json").read_bytes())["job"] == "job"
    assert len(stores(tmp_path)) < 2
    assert mmearth("batch", job, "-q").code == 0
    assert stores(tmp_path) == single_runs(mmearth, tmp_path, names, echo_model)


def test_the_page_of_somebody_else_is_not_replaced(
    mmearth: Callable[..., Ran], tmp_path: Path, echo_model: Path
) -> None:
    """That is said before any work is done."""
    write_scenes(tmp_path, 1)
    job = write_job(tmp_path, echo_model)
    page = tmp_path / "job.report.html"
    page.write_text("mine")
    ran = mmearth("batch", job)
    assert ran.code == 1
    assert f"`{page}`" in ran.stderr
    assert page.read_text() == "mine"
    assert not (tmp_path / "stores").exists()
