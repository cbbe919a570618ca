"""The plug is pulled, Ctrl-C is pressed, the disk is full: nothing is lost."""

from __future__ import annotations

import os
import shlex
import signal
import subprocess
import sys
import time
from typing import TYPE_CHECKING

import pytest

from mmearth_infer.cli.stop import farewell
from tests.helpers.digest import digest
from tests.helpers.killing import command, kill_after, left_in, seconds_of
from tests.helpers.scenes import random_dn, write_scene

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.conftest import Ran
from tests.helpers.models import UNTRAINED

MODEL = ("--model", UNTRAINED)
SLOW = (*MODEL, "--window", "32", "--halo", "0", "--batch-size", "1")


def embed(out: Path, *more: object) -> list[object]:
    return ["embed", "demo", "-o", out, *SLOW, *more]


def wait_for_a_strip(out: Path, process: subprocess.Popen[bytes]) -> None:
    """Wait until a strip is in the ledger."""
    ledger = out.with_name(f"{out.name}.ledger")
    deadline = time.monotonic() + 60
    while not (ledger.exists() and ledger.read_bytes().count(b"\n") > 1):
        assert process.poll() is None, "it ended before it could be stopped"
        assert time.monotonic() < deadline
        time.sleep(0.005)


def test_killed_and_resumed_is_the_same_store(tmp_path: Path) -> None:
    """A few of the hundred of `tests/benchmarks/kills.py`."""
    whole, out = tmp_path / "whole.zarr", tmp_path / "s.zarr"
    seconds = seconds_of(embed(whole))
    for share in (0.5, 0.7, 0.9):
        kill_after(embed(out, "--resume"), share * seconds, env={})
    seconds_of(embed(out, "--resume"))
    assert digest(out) == digest(whole)
    assert left_in(tmp_path) == ["s.zarr", "whole.zarr"]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_ctrl_c_ends_at_once_with_the_command_that_goes_on(
    number: signal.Signals, tmp_path: Path
) -> None:
    out = tmp_path / "s.zarr"
    with subprocess.Popen(
        command(*embed(out)), stderr=subprocess.PIPE, env=os.environ
    ) as process:
        wait_for_a_strip(out, process)
        began = time.monotonic()
        process.send_signal(number)
        _, said = process.communicate()
    assert time.monotonic() - began < 2
    assert process.returncode == 128 + number
    text = said.decode()
    assert "stopped: what is written is kept" in text
    (hint,) = (line for line in text.splitlines() if line.startswith("hint: "))
    words = shlex.split(hint.removeprefix("hint: "))
    assert words[-1] == "--resume"
    again = subprocess.run(
        [*command(*words[1:]), "--json"], check=True, capture_output=True, text=True
    )
    assert '"resumed_cells":0' not in again.stdout
    assert out.exists()


def test_the_farewell(tmp_path: Path) -> None:
    out = tmp_path / "s.zarr"
    assert farewell(out, ["mmearth", "embed"]) == "stopped: nothing was written yet"
    (tmp_path / "s.zarr.ledger").write_text("")
    said = farewell(out, ["/bin/mmearth", "embed", "a scene.tif", "--resume"])
    assert said.endswith("hint: mmearth embed 'a scene.tif' --resume")


def test_resume_says_what_changed(tmp_path: Path, mmearth: Callable[..., Ran]) -> None:
    """The scene, the model, a setting: each by name; and nothing is touched."""
    scene = write_scene(tmp_path / "s.tif", random_dn(height=4096, width=256))
    out = tmp_path / "s.zarr"
    base = ["embed", scene, "-o", out, *MODEL, "--window", 64]
    args = [*base, "--halo", 0]
    with subprocess.Popen(command(*args), stderr=subprocess.DEVNULL) as process:
        wait_for_a_strip(out, process)
        process.kill()
    before = digest(out.with_name("s.zarr.partial"))
    for changed, message in (
        ([*base, "--halo", 16], "tiling halo_px was 0, now it is 16"),
        ([*args, "--dtype", "float16"], 'output dtype was "float32"'),
        ([*args, "--product", "l1c"], "scene product_level"),
        ([*args, "--batch-size", "3"], "batch size was"),
    ):
        ran = mmearth(*changed, "--resume")
        assert ran.code == 1
        assert "cannot be resumed" in ran.stderr
        assert message in ran.stderr
        assert "hint: " in ran.stderr
    refused = mmearth(*args)
    assert refused.code == 1
    assert "--resume goes on with it" in refused.stderr
    assert digest(out.with_name("s.zarr.partial")) == before
    os.utime(scene, (1, 1))
    ran = mmearth(*args, "--resume")
    assert "files of the scene was" in ran.stderr


def test_resume_of_a_complete_store(
    tmp_path: Path, mmearth: Callable[..., Ran]
) -> None:
    out = tmp_path / "s.zarr"
    args = ["embed", "demo", "-o", out, "--resume"]
    assert mmearth(*args).code == 0  # it starts where nothing is
    before = digest(out)
    again = mmearth(*args)
    assert again.code == 0
    assert "is complete already" in again.stderr
    other = mmearth(*args, "--window", 448)
    assert other.code == 1
    assert "tiling window_px was 672, now it is 448" in other.stderr
    assert digest(out) == before


@pytest.mark.skipif(sys.platform == "win32", reason="there are no such limits")
def test_a_full_disk_is_the_end_and_can_be_resumed(tmp_path: Path) -> None:
    """The disk is full for files above a size, which is what a limit does."""
    out = tmp_path / "s.zarr"
    args = [*embed(out), "--dtype", "float32"]
    limited = f"ulimit -f 30; exec {shlex.join(command(*args))}"
    ran = subprocess.run(
        ["bash", "-c", limited], capture_output=True, text=True, check=False
    )
    assert ran.returncode == 1, ran.stderr
    assert "cannot write" in ran.stderr
    assert "hint: free space" in ran.stderr
    assert not out.exists()
    seconds_of([*args, "--resume"])
    assert out.exists()
