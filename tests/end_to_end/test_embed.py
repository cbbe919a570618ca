"""`mmearth embed` on real files: what goes in decides what comes out, nothing else."""

import hashlib
import os
import subprocess
import sys
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import psutil
import pytest
import rasterio
import xarray

import mmearth_infer
from mmearth_infer.contract.bands import L2A_BANDS, MMEARTH_BANDS
from mmearth_infer.run.pipeline import NoProgress
from mmearth_infer.run.report import Stopwatch
from tests.conftest import Ran
from tests.helpers.data import MAJORTOM, needs_data
from tests.helpers.digest import digest
from tests.helpers.models import (
    UNTRAINED,
    echo_manifest,
    two_stage_manifest,
    write_echo_model,
)
from tests.helpers.scenes import random_dn, write_scene

Mmearth = Callable[..., Ran]


def embedding(path: Path) -> np.ndarray:
    with xarray.open_zarr(path) as store:
        return store["embedding"].to_numpy()


def block_mean(dn_CHW: np.ndarray, stride: int = 16) -> np.ndarray:
    """What the echo model's store must hold, by hand."""
    pad = [(0, 0), *((0, -n % stride) for n in dn_CHW.shape[1:])]
    cells = np.pad(dn_CHW.astype(np.float64), pad)
    bands, height, width = cells.shape
    cells = cells.reshape(bands, height // stride, stride, width // stride, stride)
    return cells.mean((2, 4))


@pytest.mark.parametrize(("height", "width"), [(160, 96), (101, 203), (16, 16), (7, 9)])
@pytest.mark.parametrize("window", [32, 64, 672])
def test_a_store_computed_by_hand(
    height: int,
    width: int,
    window: int,
    tmp_path: Path,
    echo_model: Path,
    mmearth: Mmearth,
) -> None:
    """Every cell to the right and bottom edge, scenes smaller than a window too."""
    dn = random_dn(height=height, width=width)
    scene = write_scene(tmp_path / "s.tif", dn)
    out = tmp_path / "s.zarr"
    ran = mmearth(
        "embed", scene, "-o", out, "--model", echo_model, "--window", window, "--json"
    )
    assert ran.code == 0, ran.stderr
    expected = block_mean(dn)
    np.testing.assert_allclose(embedding(out), expected, rtol=1e-6)
    report = ran.report
    assert report["cells"] == report["valid_cells"] == expected[0].size
    assert report["store"] == str(out)
    assert set(report["stage_s"]) == {"open", "read", "compute", "stitch", "write"}
    assert report["megapixels_per_s"] > 0
    assert report["peak_rss_bytes"] > 2**20
    model = hashlib.sha256(echo_model.read_bytes()).hexdigest()
    assert report["model_digest"] == model


def test_band_order_and_extra_bands_do_not_matter(
    tmp_path: Path, echo_model: Path, mmearth: Mmearth
) -> None:
    dn = random_dn()
    plain = write_scene(tmp_path / "plain.tif", dn)
    extra = np.concatenate([dn[::-1], random_dn(2, seed=5)])
    names = [f"B0{b[1:]}" if len(b) == 2 else b for b in reversed(MMEARTH_BANDS)]
    mixed = write_scene(tmp_path / "mixed.tif", extra, bands=[*names, "SCL", "AOT"])
    unnamed = write_scene(tmp_path / "unnamed.tif", dn[::-1], bands=None)
    options = ("--bands", ",".join(names))
    for path, args in ((plain, ()), (mixed, ()), (unnamed, options)):
        ran = mmearth("embed", path, "-o", f"{path}.zarr", "--model", echo_model, *args)
        assert ran.code == 0, ran.stderr
    expected = embedding(tmp_path / "plain.tif.zarr")
    np.testing.assert_array_equal(embedding(tmp_path / "mixed.tif.zarr"), expected)
    np.testing.assert_array_equal(embedding(tmp_path / "unnamed.tif.zarr"), expected)


def test_unnamed_bands_are_in_product_order_and_warned_of(
    tmp_path: Path, echo_model: Path, mmearth: Mmearth
) -> None:
    """B8 before B8A in a file without names, as products have it."""
    dn = random_dn()
    named = write_scene(tmp_path / "named.tif", dn, bands=L2A_BANDS)
    unnamed = write_scene(tmp_path / "unnamed.tif", dn, bands=None)
    for path in (named, unnamed):
        ran = mmearth("embed", path, "-o", f"{path}.zarr", "--model", echo_model)
        assert ran.code == 0
    assert "warning: the bands of `unnamed.tif` have no names" in ran.stderr
    np.testing.assert_array_equal(
        embedding(tmp_path / "named.tif.zarr"), embedding(tmp_path / "unnamed.tif.zarr")
    )


@needs_data
def test_a_real_scene_with_shuffled_bands_is_bit_identical(
    tmp_path: Path, mmearth: Mmearth
) -> None:
    with rasterio.open(MAJORTOM) as file:
        pixels, names, profile = file.read(), file.descriptions, file.profile
    order = np.random.default_rng(0).permutation(len(names))
    shuffled = tmp_path / "shuffled.tif"
    with rasterio.open(shuffled, "w", **profile) as file:
        file.write(pixels[order])
        file.descriptions = [names[n] for n in order]
    for scene, out in ((MAJORTOM, "a.zarr"), (shuffled, "b.zarr")):
        assert mmearth("embed", scene, "-o", tmp_path / out).code == 0
    np.testing.assert_array_equal(
        embedding(tmp_path / "a.zarr"), embedding(tmp_path / "b.zarr")
    )


@needs_data
def test_batch_size_and_threads_do_not_matter(tmp_path: Path, mmearth: Mmearth) -> None:
    """Within 1e-6 of the largest value, on a real scene with window GRN."""
    maps = []
    for n, args in enumerate([(), ("--batch-size", 1), ("--batch-size", 7)]):
        for threads in (1, 2):
            out = tmp_path / f"{n}{threads}.zarr"
            ran = mmearth(
                *("embed", MAJORTOM, "-o", out, "--window", 160, "--halo", 16),
                *("--threads", threads, *args),
            )
            assert ran.code == 0, ran.stderr
            maps.append(embedding(out))
    for other in maps[1:]:
        assert np.abs(other - maps[0]).max() <= 1e-6 * np.abs(maps[0]).max()


def test_running_twice_gives_identical_stores(tmp_path: Path, mmearth: Mmearth) -> None:
    """To the byte, attributes and all: no clock and no path is in a store."""
    for name in ("a", "b"):
        assert mmearth("embed", "demo", "-o", tmp_path / name / "s.zarr").code == 0
    assert digest(tmp_path / "a") == digest(tmp_path / "b")


def test_a_model_without_training_says_so_loudly(
    tmp_path: Path, mmearth: Mmearth
) -> None:
    model = ("--model", UNTRAINED)
    ran = mmearth("embed", "demo", "-o", tmp_path / "d.zarr", *model, "--json")
    assert ran.code == 0
    assert "UNTRAINED" in ran.stderr
    assert any("UNTRAINED" in text for text in ran.report["warnings"])
    assert ran.report["valid_cells"] < ran.report["cells"]
    features = embedding(tmp_path / "d.zarr")
    blank = np.isnan(features).all(axis=0)
    assert blank.sum() == ran.report["cells"] - ran.report["valid_cells"]
    assert not np.isnan(features[:, ~blank]).any()
    quiet = mmearth("embed", "demo", "-o", tmp_path / "q.zarr", *model, "-q")
    assert (quiet.stdout, quiet.stderr) == ("", "")


def test_offset_scale_and_nodata_lead_to_the_same_store(
    tmp_path: Path, echo_model: Path, mmearth: Mmearth
) -> None:
    """DN, DN + 1000, reflectance, another nodata value: one scene, one embedding."""
    dn = random_dn()
    dn[:, :20, :20] = 0
    plain = write_scene(tmp_path / "plain.tif", dn)
    raised = write_scene(tmp_path / "raised.tif", np.where(dn > 0, dn + 1000, 0))
    real = write_scene(tmp_path / "real.tif", (dn / 10_000).astype("f4"))
    holes = np.where(dn > 0, dn, 65535).astype(np.uint16)
    other = write_scene(tmp_path / "other.tif", holes, nodata=65535)
    for path, args in (
        (plain, ()),
        (raised, ("--offset", "-1000")),
        (real, ("--scale", 10_000)),
        (other, ()),
    ):
        ran = mmearth("embed", path, "-o", f"{path}.zarr", "--model", echo_model, *args)
        assert ran.code == 0, ran.stderr
    expected = embedding(tmp_path / "plain.tif.zarr")
    assert np.isnan(expected[:, 0, 0]).all()
    for name in ("raised", "real", "other"):
        found = embedding(tmp_path / f"{name}.tif.zarr")
        np.testing.assert_array_equal(found, expected)


def test_levels_choose_the_statistics(tmp_path: Path, mmearth: Mmearth) -> None:
    scene = write_scene(tmp_path / "s.tif", random_dn())
    for level in ("l1c", "l2a"):
        out = tmp_path / f"{level}.zarr"
        assert mmearth("embed", scene, "-o", out, "--product", level).code == 0
    one, other = (embedding(tmp_path / f"{level}.zarr") for level in ("l1c", "l2a"))
    assert not np.allclose(one, other)


def test_stage_1_has_small_cells(tmp_path: Path, mmearth: Mmearth) -> None:
    """Strides other than 16, and chunks larger than the store."""
    model = write_echo_model(
        tmp_path / "m.onnx", echo_manifest(bands=["B2", "B3", "B4"], stride_px=2)
    )
    dn = random_dn(3, 51, 70)
    scene = write_scene(tmp_path / "s.tif", dn, bands=["blue", "green", "red"])
    out = tmp_path / "s.zarr"
    ran = mmearth(
        *("embed", scene, "-o", out, "--model", model, "--product", "l2a"),
        *("--window", 16, "--halo", 2),
    )
    assert ran.code == 0, ran.stderr
    np.testing.assert_allclose(embedding(out), block_mean(dn, 2), rtol=1e-6)


def test_the_python_interface_is_the_command(tmp_path: Path, mmearth: Mmearth) -> None:
    assert mmearth("embed", "demo", "-o", tmp_path / "cli.zarr").code == 0

    class Watching(NoProgress):
        reached: list[int]

        def start(self, *, cells: int, pixels: int, watch: Stopwatch) -> None:
            assert (cells, pixels) == (64 * 64, 1024 * 1024)
            assert watch.elapsed_s > 0
            self.reached = []

        def reach(self, cells: int) -> None:
            self.reached.append(cells)

    watching = Watching()
    config = mmearth_infer.EmbedConfig(scene="demo", out=tmp_path / "py.zarr")
    report = mmearth_infer.embed(config, watching)
    assert report.cells == 64 * 64
    assert watching.reached == sorted(watching.reached)
    assert watching.reached[-1] == report.cells
    assert digest(tmp_path / "cli.zarr") == digest(tmp_path / "py.zarr")


def test_memory_does_not_grow_with_the_scene(tmp_path: Path, echo_model: Path) -> None:
    """Eight times as many rows, at most 40 MiB more at the peak, in a new process.

    The longer scene has 12 x 8192 x 512 x 2 = 96 MiB of pixels, so that holding it
    would show.
    """
    peaks = []
    for rows in (1024, 8192):
        scene = tmp_path / f"{rows}.tif"
        tiled = {"tiled": True, "blockxsize": 256, "blockysize": 256}
        write_scene(scene, random_dn(height=rows, width=512), **tiled)
        out = tmp_path / f"{rows}.zarr"
        command = [sys.executable, "-m", "mmearth_infer.cli", "embed", scene, "-q"]
        command += ["-o", out]
        command += ["--model", echo_model, "--window", "256", "--halo", "0", "--json"]
        command += ["--read-ahead", "8"]
        small = {**os.environ, "GDAL_CACHEMAX": "16"}
        done = subprocess.run(
            [str(part) for part in command],
            check=True,
            capture_output=True,
            text=True,
            env=small,
        )
        report = mmearth_report(done.stdout)
        peaks.append(report["peak_rss_bytes"])
    assert peaks[1] - peaks[0] < 40 * 2**20, peaks


def mmearth_report(stdout: str) -> dict[str, int]:
    return Ran(0, stdout, "").report


def test_killed_in_the_middle_nothing_looks_complete(tmp_path: Path) -> None:
    """SIGKILL leaves no store under the name, and the next run clears up."""
    out = tmp_path / "s.zarr"
    command = [
        sys.executable,
        "-m",
        "mmearth_infer.cli",
        "embed",
        "demo",
        "-o",
        str(out),
        "--model",
        str(UNTRAINED),
    ]
    command += ["--window", "32", "--halo", "0", "--batch-size", "1", "-q"]
    with subprocess.Popen(command, env=os.environ) as process:
        partial = tmp_path / "s.zarr.partial"
        watched = psutil.Process(process.pid)
        while not (partial / "quality" / "y" / "0").exists():
            assert watched.is_running()
            assert process.poll() is None
        process.kill()
    assert not out.exists()
    assert partial.exists()
    subprocess.run(command, check=True)
    assert out.exists()
    assert not partial.exists()


def test_several_stages_and_types(tmp_path: Path, mmearth: Mmearth) -> None:
    """Side by side they are what each would be alone; half floats are near."""
    encoder = write_echo_model(tmp_path / "m.onnx", two_stage_manifest())
    for name, more in (
        ("both", ("--stage", "2", "--stage", "4")),
        ("two", ("--stage", "2")),
        ("half", ("--stage", "4", "--dtype", "float16", "--layout", "sharded")),
        ("four", ("--stage", "4")),
    ):
        out = tmp_path / f"{name}.zarr"
        ran = mmearth("embed", "demo", "-o", out, "--model", encoder, *more)
        assert ran.code == 0, ran.stderr
    for stage, alone in ((2, "two"), (4, "four")):
        with xarray.open_zarr(tmp_path / "both.zarr", group=f"stage{stage}") as both:
            expected = embedding(tmp_path / f"{alone}.zarr")
            np.testing.assert_array_equal(both["embedding"], expected)
    half, whole = embedding(tmp_path / "half.zarr"), embedding(tmp_path / "four.zarr")
    np.testing.assert_allclose(half, whole, rtol=1e-3, atol=1e-4)
    told = mmearth("info", tmp_path / "both.zarr", "--json").report
    assert told["stages"] == [2, 4]
    missing = mmearth("embed", "demo", "-o", tmp_path / "x.zarr", "--dtype", "int8")
    assert missing.code == 1
    assert "has no int8 scale for stage 4" in missing.stderr
    pixel = tmp_path / "pixel.zarr"
    assert mmearth("embed", "demo", "-o", pixel, "--dtype", "int8-pixel").code == 0


def test_the_report_of_seams(tmp_path: Path, mmearth: Mmearth) -> None:
    """The echo model has none; the picture is one; one window has no border."""
    model = write_echo_model(tmp_path / "m.onnx")
    args = ["--model", model, "--window", "256", "--halo", "16", "--json"]
    ran = mmearth("embed", "demo", "-o", tmp_path / "s.zarr", "--report", *args)
    assert ran.code == 0, ran.stderr
    seams = ran.report["seams"]
    assert seams["apart_from_larger_window"] < 1e-6
    assert 0.8 < seams["seam_index"] < 1.2
    out = tmp_path / "whole.zarr"
    whole = mmearth("embed", "demo", "-o", out, "--report", "--window", "1024")
    assert "no borders of tiles" in whole.stderr
    silent = mmearth("embed", "demo", "-o", tmp_path / "t.zarr", *args)
    assert silent.report["seams"] is None


@pytest.mark.skipif(find_spec("matplotlib") is None, reason="matplotlib is an extra")
def test_the_picture_of_seams(tmp_path: Path, mmearth: Mmearth) -> None:
    picture = tmp_path / "seams.png"
    args = ["--window", "256", "--halo", "16", "--report-picture", picture]
    assert mmearth("embed", "demo", "-o", tmp_path / "s.zarr", *args).code == 0
    assert picture.read_bytes().startswith(b"\x89PNG")
    assert picture.stat().st_size > 5000
