"""`mmearth segment`, with a model whose map can be computed by hand."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pyogrio
import pytest
import rasterio
import zarr

from mmearth_infer.run.segment import written_to
from mmearth_infer.write.address import locate
from tests.helpers.killing import kill_after, left_in, seconds_of
from tests.helpers.models import classes_manifest, write_echo_model
from tests.helpers.scenes import UTM, random_dn, write_scene

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from numpy.typing import NDArray

    from tests.conftest import Ran

STRIDE = 4
SMALL = ("--window", "32", "--halo", "8")


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_echo_model(
        tmp_path_factory.mktemp("model") / "m.onnx", classes_manifest(stride_px=STRIDE)
    )


@pytest.fixture
def dn() -> NDArray[np.uint16]:
    pixels = random_dn(height=70, width=90)
    pixels[:, :8, :20] = 0
    pixels[:, 40:48, 40:48] = 7  # all bands alike: the first class
    return pixels


@pytest.fixture
def scene(tmp_path: Path, dn: NDArray[np.uint16]) -> Path:
    return write_scene(tmp_path / "scene.tif", dn)


def logits(dn: NDArray[np.uint16]) -> NDArray[np.float32]:
    """Return the mean of each cell's pixels; what is beyond the scene is 0."""
    bands, height, width = dn.shape
    padded = np.pad(dn, ((0, 0), (0, -height % STRIDE), (0, -width % STRIDE)))
    shape = (bands, padded.shape[1] // STRIDE, STRIDE, -1, STRIDE)
    return padded.reshape(shape).mean((2, 4), dtype=np.float32)


def expected_classes(dn: NDArray[np.uint16]) -> NDArray[np.uint8]:
    means = logits(dn)
    found = means.argmax(0).astype(np.uint8)
    found[means.max(0) == 0] = 255
    return found


def test_a_map_in_a_geotiff(
    mmearth: Callable[..., Ran],
    tmp_path: Path,
    model: Path,
    scene: Path,
    dn: NDArray[np.uint16],
) -> None:
    """Classes, palette, names, nodata and georeference, exact to the pixel."""
    out = tmp_path / "map.tif"
    ran = mmearth("segment", scene, "-o", out, "--model", model, *SMALL, "--json")
    assert ran.code == 0, ran.stderr
    expected = expected_classes(dn)
    with rasterio.open(out) as file:
        np.testing.assert_array_equal(file.read(1), expected)
        assert file.transform == UTM @ UTM.scale(STRIDE)
        assert (file.crs, file.nodata) == (rasterio.open(scene).crs, 255)
        assert file.colormap(1)[3] == (3, 60, 252, 255)
        assert file.colormap(1)[255][3] == 0
        assert file.tags(1)["CLASS_0"] == "brightest in B1"
        layout = file.tags(ns="IMAGE_STRUCTURE")["LAYOUT"]
    assert layout == "COG"
    report = ran.report
    assert report["files"] == {"class": str(out)}
    assert report["valid_cells"] == (expected != 255).sum()
    assert sum(report["cells"].values()) == report["valid_cells"]
    assert report["cells"]["brightest in B1"] == (expected == 0).sum()
    cell_km2 = (10 * STRIDE) ** 2 / 1e6
    for name, cells in report["cells"].items():
        assert report["square_km"][name] == pytest.approx(cells * cell_km2, rel=2e-3)
    assert left_in(tmp_path) == ["map.tif", "scene.tif"]


def test_probabilities(
    mmearth: Callable[..., Ran],
    tmp_path: Path,
    model: Path,
    scene: Path,
    dn: NDArray[np.uint16],
) -> None:
    """They are the softmax of the logits, add up to one, and say the same class."""
    for name in ("map.tif", "map.zarr"):
        args = ("-o", tmp_path / name, "--model", model, *SMALL, "--probabilities")
        assert mmearth("segment", scene, *args, "-q").code == 0
    with rasterio.open(tmp_path / "map.probability.tif") as file:
        shares = file.read()
        assert file.descriptions[0] == "brightest in B1"
    store = zarr.open_group(tmp_path / "map.zarr", mode="r")
    np.testing.assert_array_equal(store["probability/probability"][...], shares)
    classes = store["class/class"][...][0]
    present = classes != 255
    np.testing.assert_array_equal(classes, expected_classes(dn))
    np.testing.assert_allclose(shares.sum(0)[present], 1, rtol=1e-6)
    np.testing.assert_array_equal(shares.argmax(0)[present], classes[present])
    assert np.isnan(shares[:, ~present]).all()
    means = logits(dn).astype(np.float64)[:, present]
    softmax = np.exp(means - means.max(0))
    softmax /= softmax.sum(0)
    np.testing.assert_allclose(shares[:, present], softmax, atol=1e-6)


def test_a_map_in_a_store(
    mmearth: Callable[..., Ran],
    tmp_path: Path,
    model: Path,
    scene: Path,
    dn: NDArray[np.uint16],
) -> None:
    out = tmp_path / "map.zarr"
    ran = mmearth("segment", scene, "-o", out, "--model", model, *SMALL, "--json")
    assert ran.report["files"] == {"store": str(out)}
    array = zarr.open_array(out / "class", mode="r")
    np.testing.assert_array_equal(array[0], expected_classes(dn))
    assert array.attrs["classes"][1] == {"name": "brightest in B2", "rgb": [1, 20, 254]}
    again = mmearth("segment", scene, "-o", out, "--model", model, *SMALL, "--resume")
    assert "complete already" in again.stderr
    facts = mmearth("info", out, "--json").report
    assert facts["shape"] == [1, *expected_classes(dn).shape]
    assert facts["kept as"] == "probabilities False"
    ran = mmearth("view", out, "-o", tmp_path / "v.png")
    assert ran.code == 1
    assert "holds a map of classes" in ran.stderr


def test_polygons(
    mmearth: Callable[..., Ran], tmp_path: Path, model: Path, dn: NDArray[np.uint16]
) -> None:
    """Their areas are those of the classes; small patches join a neighbour."""
    dn = np.full_like(dn, 5)
    dn[2, :40] = 9
    dn[1, 60:64, 60:64] = 11
    scene = write_scene(tmp_path / "s.tif", dn)
    args = ("segment", scene, "--model", model, *SMALL, "--json")
    one, two = tmp_path / "one.gpkg", tmp_path / "two.gpkg"
    ran = mmearth(*args, "-o", tmp_path / "1.tif", "--polygons", one)
    assert ran.report["polygons"] == 3
    found = pyogrio.read_dataframe(one)
    assert sorted(found["name"]) == [f"brightest in B{n}" for n in (1, 2, 3)]
    assert found.set_index("name").area["brightest in B3"] == 40 * 92 * 100
    assert found.crs == rasterio.open(scene).crs
    mmearth(*args, "-o", tmp_path / "2.tif", "--polygons", two, "--least-cells", "2")
    assert sorted(pyogrio.read_dataframe(two)["class"]) == [0, 2]


def test_killed_and_resumed_is_the_same_map(
    tmp_path: Path, model: Path, scene: Path
) -> None:
    """Killed at any moment, also while the GeoTIFF is made; nothing is left over."""
    tiny = ("--window", "8", "--halo", "0", "--batch-size", "1", "--probabilities")
    args = ["segment", scene, "--model", model, *tiny, "--resume", "-o"]
    whole, out = tmp_path / "whole.tif", tmp_path / "m.tif"
    seconds = seconds_of([*args, whole])
    for share in (0.6, 0.75, 0.85, 0.95):
        kill_after([*args, out], share * seconds, env={})
    seconds_of([*args, out])
    for name in ("{}.tif", "{}.probability.tif"):
        with (
            rasterio.open(tmp_path / name.format("m")) as resumed,
            rasterio.open(tmp_path / name.format("whole")) as undisturbed,
        ):
            np.testing.assert_array_equal(resumed.read(), undisturbed.read())
    assert not list(tmp_path.glob("*.zarr*"))


def test_resume_says_complete_or_what_is_there(
    mmearth: Callable[..., Ran], tmp_path: Path, model: Path, scene: Path
) -> None:
    out = tmp_path / "map.tif"
    args = ("segment", scene, "-o", out, "--model", model)
    assert mmearth(*args, *SMALL, "-q").code == 0
    before = out.read_bytes()
    refused = mmearth(*args, *SMALL)
    assert refused.code == 1
    assert "exists already" in refused.stderr
    done = mmearth(*args, *SMALL, "--resume")
    assert done.code == 0
    assert "complete already" in done.stderr
    other = mmearth(*args, "--window", "48", "--halo", "8", "--resume")
    assert other.code == 1
    assert "of another scene, model or settings" in other.stderr
    assert out.read_bytes() == before
    assert mmearth(*args, *SMALL, "--overwrite", "-q").code == 0


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (("--polygons", "x.shp"), "`x.shp` does not end in .gpkg"),
        (("--least-cells", "0"), "--least-cells 0 is no size"),
    ],
)
def test_bad_input(
    mmearth: Callable[..., Ran],
    tmp_path: Path,
    model: Path,
    scene: Path,
    more: tuple[str, ...],
    message: str,
) -> None:
    ran = mmearth("segment", scene, "-o", tmp_path / "m.tif", "--model", model, *more)
    assert ran.code == 1
    assert message in ran.stderr
    assert left_in(tmp_path) == ["scene.tif"]


def test_models_for_something_else_are_refused(
    mmearth: Callable[..., Ran],
    tmp_path: Path,
    model: Path,
    echo_model: Path,
    scene: Path,
) -> None:
    ran = mmearth("segment", scene, "-o", tmp_path / "m.tif", "--model", echo_model)
    assert "model `echo` is for embedding, not for segmentation" in ran.stderr
    assert "hint: `mmearth embed` runs it" in ran.stderr
    ran = mmearth("embed", scene, "-o", tmp_path / "e.zarr", "--model", model)
    assert "hint: `mmearth segment` runs it" in ran.stderr
    assert left_in(tmp_path) == ["scene.tif"]


def test_what_is_written_first(tmp_path: Path) -> None:
    """A GeoTIFF on a disk comes of a store beside it; any other name is the store's."""
    assert written_to(tmp_path / "m.TIF") == tmp_path / "m.TIF.zarr"
    for name in (str(tmp_path / "m.zarr"), "s3://bucket/m.tif"):
        assert written_to(locate(name)) == locate(name)
