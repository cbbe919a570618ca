"""`mmearth embed -o s3://...`: the store of a disk, whatever happens to the run."""

from __future__ import annotations

import os
import shlex
import signal
import subprocess
import time
from typing import TYPE_CHECKING

import numpy as np
import pytest
import rasterio

from mmearth_infer.write.open_store import open_store
from tests.helpers.buckets import BUCKET, Server, files, serving
from tests.helpers.killing import command, seconds_of
from tests.helpers.models import UNTRAINED
from tests.helpers.scenes import random_dn, write_scene

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.conftest import Ran

    Mmearth = Callable[..., Ran]

OUT = f"s3://{BUCKET}/s.zarr"
LEDGER = "s.zarr.ledger"


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A scene of four strips."""
    pixels = random_dn(height=8192, width=256)
    return write_scene(tmp_path_factory.mktemp("scene") / "s.tif", pixels)


def embed(scene: Path, out: object, *more: object) -> list[object]:
    tiling = ("--window", 64, "--halo", 0)
    return ["embed", scene, "-o", out, "--model", UNTRAINED, *tiling, *more]


def wait_for(process: subprocess.Popen[bytes], server: Server, lines: int) -> None:
    """Wait until a ledger has so many lines."""
    deadline = time.monotonic() + 60
    while server.read(LEDGER).count(b"\n") < lines:
        assert process.poll() is None, "it ended before it could be stopped"
        assert time.monotonic() < deadline
        time.sleep(0.005)


def test_killed_and_resumed_is_the_same_store(
    scene: Path, server: Server, tmp_path: Path
) -> None:
    """While it is created, and after each strip."""
    seconds_of(embed(scene, tmp_path / "s.zarr"))
    for lines in (1, 2, 3, 4):
        args = command(*embed(scene, OUT, "--resume"))
        with subprocess.Popen(args, stderr=subprocess.DEVNULL) as process:
            wait_for(process, server, lines)
            process.kill()
        assert server.read("s.zarr/zarr.json").count(b'"complete": true') == 0
    done = subprocess.run(
        [*command(*embed(scene, OUT, "--resume")), "--json"],
        check=True,
        capture_output=True,
        text=True,
    )
    assert '"resumed_cells":0' not in done.stdout
    assert server.content("s.zarr") == files(tmp_path / "s.zarr")
    assert not server.read(LEDGER)


def test_ctrl_c_ends_with_the_command_that_goes_on(scene: Path, server: Server) -> None:
    with subprocess.Popen(
        command(*embed(scene, OUT)), stderr=subprocess.PIPE, env=os.environ
    ) as process:
        wait_for(process, server, 2)
        process.send_signal(signal.SIGINT)
        _, said = process.communicate()
    text = said.decode()
    assert process.returncode == 128 + signal.SIGINT
    assert "stopped: what is written is kept" in text
    (hint,) = (line for line in text.splitlines() if line.startswith("hint: "))
    words = shlex.split(hint)
    assert OUT in words
    assert words[-1] == "--resume"


def test_every_command_reads_it(
    server: Server, tmp_path: Path, mmearth: Mmearth
) -> None:
    """And gives what it gives of the store on a disk."""
    here = tmp_path / "s.zarr"
    for out in (here, OUT):
        ran = mmearth("embed", "demo", "-o", out, "--report", "--json")
        assert ran.code == 0, ran.stderr
        assert ran.report["store"] == str(out)
    assert server.content("s.zarr") == files(here)
    assert mmearth("info", OUT).stdout == mmearth("info", here).stdout
    made = []
    for n, store in enumerate((here, OUT)):
        picture, table, cog = (
            tmp_path / f"{n}{suffix}" for suffix in (".png", ".parquet", ".tif")
        )
        for args in (
            ("view", store, "-o", picture),
            ("pool", store, "-o", table, "--window", 224),
            ("cog", store, "-o", cog, "--channels", "1-2"),
        ):
            ran = mmearth(*args)
            assert ran.code == 0, ran.stderr
        with rasterio.open(cog) as file:
            made.append((picture.read_bytes(), table.read_bytes(), file.read()))
    assert made[0][:2] == made[1][:2]
    np.testing.assert_array_equal(made[0][2], made[1][2])


def test_what_is_written_beside_a_store_needs_a_disk(
    server: Server, tmp_path: Path, mmearth: Mmearth
) -> None:
    for more, what in ((["--stac"], "STAC item"), (["--pool", "224"], "table")):
        ran = mmearth("embed", "demo", "-o", OUT, *more)
        assert ran.code == 1
        assert f"not written beside `{OUT}`" in ran.stderr
        assert what in ran.stderr
    assert server.names() == []
    table = tmp_path / "t.parquet"
    ran = mmearth("embed", "demo", "-o", OUT, "--pool", "224", "--pool-to", table)
    assert ran.code == 0, ran.stderr
    assert table.exists()
    ran = mmearth("stac", OUT)
    assert ran.code == 1
    assert f"not written beside `{OUT}`" in ran.stderr


def test_overwriting(
    server: Server, tmp_path: Path, mmearth: Mmearth, scene: Path
) -> None:
    """What is wrong with the scene or the flags is found before anything is lost."""
    assert mmearth("embed", "demo", "-o", OUT).code == 0
    before = server.content("s.zarr")
    for args in (
        ["embed", "demo", "-o", OUT],
        ["embed", tmp_path / "gone.tif", "-o", OUT, "--overwrite"],
        [*embed(scene, OUT), "--dtype", "int8", "--overwrite"],
    ):
        ran = mmearth(*args)
        assert ran.code == 1
        assert server.content("s.zarr") == before
    ran = mmearth("embed", "demo", "-o", OUT, "--dtype", "float16", "--overwrite")
    assert ran.code == 0, ran.stderr
    assert open_store(OUT).dtype == "float16"
    again = mmearth("embed", "demo", "-o", OUT, "--dtype", "float16", "--resume")
    assert "is complete already" in again.stderr


def two_lines(stderr: str) -> tuple[str, str]:
    """Return what is wrong, and the hint; without the warnings above them."""
    lines = [line for line in stderr.splitlines() if not line.startswith("warning: ")]
    error, hint = lines
    assert error.startswith("error: ")
    assert hint.startswith("hint: ")
    return error, hint


def test_a_bucket_that_is_not_there(server: Server, mmearth: Mmearth) -> None:
    del server
    ran = mmearth("embed", "demo", "-o", "s3://no-such-bucket/s.zarr")
    assert ran.code == 1
    error, hint = two_lines(ran.stderr)
    assert "there is no `s3://no-such-bucket`" in error
    assert "make it first" in hint


def test_credentials_that_are_refused(
    mmearth: Mmearth, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The server asks for some as soon as the bucket is made."""
    with serving(INITIAL_NO_AUTH_ACTION_COUNT="1") as server:
        for name, value in server.env.items():
            monkeypatch.setenv(name, value)
        for ran in (
            mmearth("embed", "demo", "-o", OUT),
            mmearth("view", OUT, "-o", "x.png"),
        ):
            assert ran.code == 1
            error, hint = two_lines(ran.stderr)
            assert "it is refused, the aws access key id you provided" in error
            assert "AWS_ACCESS_KEY_ID" in hint
