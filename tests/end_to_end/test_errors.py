"""Bad input: exit 1, one line that says what, one that helps, nothing half-written."""

import os
import pickle
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
import rasterio.shutil
from affine import Affine

from mmearth_infer.contract.manifest import manifest_to_json
from tests.conftest import Ran
from tests.helpers.models import (
    UNTRAINED,
    echo_manifest,
    newer_manifest_text,
    write_echo_model,
)
from tests.helpers.scenes import UTM, random_dn, write_scene

Mmearth = Callable[..., Ran]
Make = Callable[[Path], Path]


def missing(folder: Path) -> Path:
    return folder / "missing.tif"


def not_a_raster(folder: Path) -> Path:
    path = folder / "notes.tif"
    path.write_text("not a raster")
    return path


def truncated(share: float) -> Make:
    """A GeoTIFF that ends early, in its pixels or before its directory."""

    def make(folder: Path) -> Path:
        pixels = random_dn(height=300, width=300)
        draft = write_scene(folder / "draft.tif", pixels, compress="deflate")
        path = folder / "cut.tif"
        rasterio.shutil.copy(draft, path, driver="GTiff")  # directory first
        path.write_bytes(path.read_bytes()[: int(path.stat().st_size * share)])
        return path

    return make


def band_missing(folder: Path) -> Path:
    names = ["B1", "B2", "B3", "B4", "B5", "B6", "B7", "SCL", "B8", "B9", "B11", "B12"]
    return write_scene(folder / "s.tif", bands=names)


def unnamed_bands(folder: Path) -> Path:
    return write_scene(folder / "s.tif", random_dn(5), bands=None)


def nodata_everywhere(folder: Path) -> Path:
    return write_scene(folder / "s.tif", np.zeros((12, 64, 64), dtype=np.uint16))


def nan_everywhere(folder: Path) -> Path:
    return write_scene(folder / "s.tif", np.full((12, 64, 64), np.nan, dtype="f4"))


def reflectance(folder: Path) -> Path:
    return write_scene(folder / "s.tif", (random_dn() / 10_000).astype("f4"))


def no_crs(folder: Path) -> Path:
    return write_scene(folder / "s.tif", crs=None)


def no_transform(folder: Path) -> Path:
    return write_scene(folder / "s.tif", transform=None)


def rotated(folder: Path) -> Path:
    return write_scene(folder / "s.tif", transform=UTM @ Affine.rotation(12))


def south_up(folder: Path) -> Path:
    return write_scene(folder / "s.tif", transform=Affine(10, 0, 0, 0, 10, 0))


def coarse(folder: Path) -> Path:
    return write_scene(folder / "s.tif", transform=UTM @ Affine.scale(2))


def bright(folder: Path) -> Path:
    return write_scene(folder / "s.tif", random_dn() + 1000)


def fill_not_called_nodata(folder: Path) -> Path:
    dn = random_dn().astype(np.int16)
    dn[:, :9] = -9999
    return write_scene(folder / "s.tif", dn)


def nowhere_on_earth(folder: Path) -> Path:
    return write_scene(folder / "s.tif", crs='LOCAL_CS["site",UNIT["metre",1]]')


def reflectance_away_from_the_diagonals(folder: Path) -> Path:
    pixels = np.zeros((12, 1500, 1500), dtype="f4")
    pixels[:, :100, 600:800] = 0.3
    return write_scene(folder / "s.tif", pixels, compress="deflate")


def scaled_with_offset(folder: Path) -> Path:
    pixels = (random_dn() / 10_000).astype("f4")
    return write_scene(folder / "s.tif", pixels, tags={"BOA_ADD_OFFSET": "-1000"})


def rgb_without_level(folder: Path) -> Path:
    return write_scene(folder / "s.tif", random_dn(3), bands=["B2", "B3", "B4"])


SCENES: dict[str, tuple[Make, str, str]] = {
    "missing file": (missing, "there is no file", "check the path"),
    "not a raster": (not_a_raster, "is not a raster", "GeoTIFF"),
    "truncated pixels": (truncated(0.6), "cannot read rows", "cut off"),
    "truncated header": (truncated(0.0001), "is not a raster", "GeoTIFF"),
    "band missing": (band_missing, "lacks B8A", "it has B1, B2"),
    "bands unnamed": (unnamed_bands, "the 5 bands of `s.tif` have no", "--bands"),
    "all nodata": (nodata_everywhere, "every pixel is nodata", "mmearth info"),
    "all NaN": (nan_everywhere, "every pixel is nodata", "mmearth info"),
    "reflectance": (reflectance, "float32 values from", "--scale 10000"),
    "no CRS": (no_crs, "no coordinate reference system", "--crs"),
    "no transform": (no_transform, "is not north-up", "transform"),
    "rotated": (rotated, "is rotated", "gdalwarp"),
    "south up": (south_up, "is not north-up", "warp"),
    "20 m pixels": (coarse, "are 20 x 20 m", "--allow-resolution"),
    "offset unclear": (bright, "+1000 of baseline 04.00", "--offset -1000"),
    "fill value": (fill_not_called_nodata, "down to -9999", "--nodata -9999"),
    "local CRS": (nowhere_on_earth, "neither projected nor", "rio warp"),
    "hidden reflectance": (reflectance_away_from_the_diagonals, "0.3", "--scale"),
    "level unclear": (rgb_without_level, "lacks B1", "--bands"),
}


def check_two_lines(ran: Ran, message: str, hint: str) -> None:
    """Exit 1, `error: ...`, `hint: ...`, and not a line more."""
    assert ran.code == 1
    assert ran.stdout == ""
    lines = [line for line in ran.stderr.splitlines() if not line.startswith("warning")]
    assert len(lines) == 2, ran.stderr
    assert lines[0].startswith("error: ")
    assert message in lines[0]
    assert lines[1].startswith("hint: ")
    assert hint in lines[1]


@pytest.mark.parametrize("case", SCENES)
def test_scenes_that_cannot_be_embedded(
    case: str, tmp_path: Path, echo_model: Path, mmearth: Mmearth
) -> None:
    make, message, hint = SCENES[case]
    out = tmp_path / "out" / "s.zarr"
    out.parent.mkdir()
    ran = mmearth("embed", make(tmp_path), "-o", out, "--model", echo_model)
    check_two_lines(ran, message, hint)
    assert list(out.parent.iterdir()) == []


@pytest.mark.parametrize(
    ("make", "flags", "warning"),
    [
        (coarse, ("--allow-resolution",), "not 10 m"),
        (reflectance, ("--scale", 10_000), None),
        (bright, ("--offset", "none"), None),
        (bright, ("--offset", "-1000"), None),
    ],
)
def test_the_flag_in_the_hint_helps(
    make: Make,
    flags: tuple[object, ...],
    warning: str | None,
    tmp_path: Path,
    echo_model: Path,
    mmearth: Mmearth,
) -> None:
    scene, out = make(tmp_path), tmp_path / "s.zarr"
    ran = mmearth("embed", scene, "-o", out, "--model", echo_model, *flags)
    assert ran.code == 0, ran.stderr
    assert warning is None or warning in ran.stderr


def test_a_scaled_scene_with_an_offset_is_asked_about(
    tmp_path: Path, echo_model: Path, mmearth: Mmearth
) -> None:
    """Reflectance usually has the offset applied already, but its tags may not."""
    scene, out = scaled_with_offset(tmp_path), tmp_path / "s.zarr"
    args = ("embed", scene, "-o", out, "--model", echo_model, "--scale", 10_000)
    check_two_lines(mmearth(*args), "may be applied already", "--offset none")
    assert mmearth(*args, "--offset", "none").code == 0


def test_degrees_work_and_are_warned_of(
    tmp_path: Path, echo_model: Path, mmearth: Mmearth
) -> None:
    scene = write_scene(
        tmp_path / "s.tif", crs="EPSG:4326", transform=Affine(9e-5, 0, 9, 0, -9e-5, 60)
    )
    ran = mmearth("embed", scene, "-o", tmp_path / "s.zarr", "--model", echo_model)
    assert ran.code == 0
    assert "is in degrees: its pixels are 10.0 m high and 5.0 m wide" in ran.stderr


def test_a_scene_smaller_than_a_window_works(
    tmp_path: Path, echo_model: Path, mmearth: Mmearth
) -> None:
    scene = write_scene(tmp_path / "s.tif", random_dn(height=3, width=5))
    ran = mmearth("embed", scene, "-o", tmp_path / "s.zarr", "--model", echo_model)
    assert ran.code == 0, ran.stderr


def text_model(folder: Path) -> Path:
    path = folder / "m.onnx"
    path.write_text("not a model")
    return path


def empty_model(folder: Path) -> Path:
    path = folder / "m.onnx"
    path.touch()
    return path


def no_manifest(folder: Path) -> Path:
    return write_echo_model(folder / "m.onnx", with_manifest=False)


def newer_manifest(folder: Path) -> Path:
    return write_echo_model(folder / "m.onnx", manifest_text=newer_manifest_text())


def broken_manifest(folder: Path) -> Path:
    return write_echo_model(folder / "m.onnx", manifest_text='{"schema": 1}')


def other_channels(folder: Path) -> Path:
    """A manifest that promises more channels than the graph gives."""
    manifest = echo_manifest()
    more = replace(manifest, outputs=(replace(manifest.outputs[0], channels=24),))
    return write_echo_model(folder / "m.onnx", manifest_text=manifest_to_json(more))


def nan_in_manifest(folder: Path) -> Path:
    text = manifest_to_json(echo_manifest()).replace("0.0", "NaN", 1)
    return write_echo_model(folder / "m.onnx", manifest_text=text)


def weights_elsewhere(folder: Path) -> Path:
    """An ONNX file that names another file for its weights."""
    path = write_echo_model(folder / "m.onnx")
    model = onnx.load(path)
    axes = model.graph.initializer[0]
    raw = onnx.numpy_helper.to_array(axes).tobytes()
    axes.ClearField("int64_data")
    axes.raw_data = raw
    onnx.external_data_helper.set_external_data(axes, location="w.bin")
    axes.ClearField("raw_data")
    (folder / "w.bin").write_bytes(raw)
    path.write_bytes(model.SerializeToString())
    return path


def foreign_manifest(folder: Path) -> Path:
    """A manifest that names an output the graph does not have."""
    path = write_echo_model(folder / "other.onnx")
    text = path.read_bytes().replace(b'"name": "stage4"', b'"name": "stage9"')
    path.write_bytes(text)
    return path


@pytest.mark.parametrize(
    ("make", "message", "hint"),
    [
        (missing, "there is no model file", "mmearth export"),
        (text_model, "is not an ONNX model", "mmearth export"),
        (empty_model, "is not an ONNX model", "mmearth export"),
        (no_manifest, "has no manifest", "mmearth export"),
        (newer_manifest, "schema version 99", "upgrade"),
        (broken_manifest, "is not valid", "mmearth export"),
        (foreign_manifest, "does not describe", "mmearth export"),
        (nan_in_manifest, "is not valid", "mmearth export"),
        (weights_elsewhere, "keeps weights in other files", "mmearth export"),
    ],
)
@pytest.mark.parametrize("command", ["embed", "info"])
def test_models_that_cannot_be_used(
    make: Make,
    message: str,
    hint: str,
    command: str,
    tmp_path: Path,
    mmearth: Mmearth,
) -> None:
    model, out = make(tmp_path), tmp_path / "s.zarr"
    if command == "embed":
        ran = mmearth("embed", "demo", "-o", out, "--model", model)
    else:
        ran = mmearth("info", "demo", "--model", model)
    check_two_lines(ran, message, hint)
    assert not list(tmp_path.glob("*.zarr*"))


def test_a_manifest_that_promises_other_channels(
    tmp_path: Path, mmearth: Mmearth
) -> None:
    out = tmp_path / "s.zarr"
    ran = mmearth("embed", "demo", "-o", out, "--model", other_channels(tmp_path))
    check_two_lines(ran, "its manifest promises (1, 24,", "mmearth export")
    assert not list(tmp_path.glob("*.zarr*"))


def test_the_demo_lacks_b10(tmp_path: Path, mmearth: Mmearth) -> None:
    model = write_echo_model(tmp_path / "m.onnx", echo_manifest(bands=["B9", "B10"]))
    ran = mmearth("embed", "demo", "-o", tmp_path / "s.zarr", "--model", model)
    check_two_lines(ran, "lacks B10", "another --model")


def test_a_stage_the_model_does_not_give(tmp_path: Path, mmearth: Mmearth) -> None:
    ran = mmearth("embed", "demo", "-o", tmp_path / "s.zarr", "--stage", 2)
    check_two_lines(ran, "does not give stage 2", "it gives stage 4")


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (("--window", 100), "--window 100"),
        (("--window", 64, "--halo", 32), "leaves nothing"),
        (("--halo", -16), "--halo -16"),
        (("--batch-size", 0), "--batch-size 0"),
        (("--threads", -1), "--threads -1"),
        (("--threads", 10**12), "--threads 1000000000000"),
        (("--bands", "B2,B3"), "names 2 bands"),
        (("--bands", "B2,X9"), "`X9`"),
        (("--scale", "-1"), "--scale -1"),
    ],
)
def test_flags_that_cannot_be(
    flags: tuple[object, ...], message: str, tmp_path: Path, mmearth: Mmearth
) -> None:
    scene = write_scene(tmp_path / "s.tif")
    ran = mmearth("embed", scene, "-o", tmp_path / "s.zarr", *flags)
    assert ran.code == 1
    assert message in ran.stderr
    assert not list(tmp_path.glob("*.zarr*"))


def test_an_output_that_exists(tmp_path: Path, mmearth: Mmearth) -> None:
    out = tmp_path / "s.zarr"
    assert mmearth("embed", "demo", "-o", out).code == 0
    check_two_lines(
        mmearth("embed", "demo", "-o", out), "exists already", "--overwrite"
    )
    assert mmearth("embed", "demo", "-o", out, "--overwrite").code == 0
    note = tmp_path / "note.txt"
    note.write_text("keep me")
    ran = mmearth("embed", "demo", "-o", note, "--overwrite")
    check_two_lines(ran, "is not a store made by mmearth", "choose another")
    assert note.read_text() == "keep me"


def test_outputs_that_cannot_be_written(tmp_path: Path, mmearth: Mmearth) -> None:
    """Below a file; and in a folder without permission, where that means anything."""
    (tmp_path / "file").touch()
    for out in (tmp_path / "file" / "s.zarr", tmp_path / ("x" * 300)):
        ran = mmearth("embed", "demo", "-o", out)
        check_two_lines(ran, "cannot write", "choose another place")
        assert mmearth("info", out).code == 1
    sealed = tmp_path / "sealed"
    sealed.mkdir(mode=0o500)
    if os.geteuid() == 0:
        return  # to root every folder is writable
    ran = mmearth("embed", "demo", "-o", sealed / "s.zarr")
    check_two_lines(ran, "Permission denied", "choose another place")


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 300 kB, mounted for real where this user may."""
    place = tmp_path / "disk"
    place.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=300k", "tmpfs", str(place)]
    if subprocess.run(mount, check=False, capture_output=True).returncode:
        pytest.skip("mounting a small file system needs root")
    yield place
    subprocess.run(["umount", str(place)], check=True)


def test_a_full_disk(small_disk: Path, mmearth: Mmearth) -> None:
    """The store needs 1 MB: a clear end, and the space is free again."""
    ran = mmearth("embed", "demo", "-o", small_disk / "s.zarr")
    check_two_lines(ran, "No space left on device", "free space")
    assert list(small_disk.iterdir()) == []


def test_a_limit_on_file_sizes(tmp_path: Path) -> None:
    """Likewise where the system refuses a file in the middle, for any user."""
    program = (
        "import resource, signal; signal.signal(signal.SIGXFSZ, signal.SIG_IGN); "
        "resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000)); "
        "from mmearth_infer.cli.main import cli; "
        f"cli(['embed', 'demo', '-o', 's.zarr', '--model', '{UNTRAINED}'])"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        check=False,
        capture_output=True,
        text=True,
        cwd=tmp_path,
    )
    check_two_lines(
        Ran(done.returncode, done.stdout, done.stderr), "File too large", "free space"
    )
    assert list(tmp_path.iterdir()) == []


def test_a_malicious_checkpoint(tmp_path: Path, mmearth: Mmearth) -> None:
    """Refused by the command, and nothing of it was run."""
    pytest.importorskip("torch", reason="exporting needs torch")
    trace = tmp_path / "trace"

    class Malicious:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return os.system, (f"touch {trace}",)

    path = tmp_path / "checkpoint-199.pth"
    path.write_bytes(pickle.dumps({"model": Malicious()}, protocol=2))
    ran = mmearth("export", path, "-o", tmp_path / "m.onnx")
    check_two_lines(ran, "asks for `", "get the checkpoint from its authors")
    assert not trace.exists()
    assert not (tmp_path / "m.onnx").exists()
