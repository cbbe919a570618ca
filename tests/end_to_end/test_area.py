"""`--bbox`, `--aoi` and `--mask`: what a store of a part of a scene holds."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import xarray
import zarr
from rasterio.crs import CRS
from rasterio.features import geometry_mask
from rasterio.warp import transform

from mmearth_infer.read.demo import DemoSource
from tests.conftest import Ran
from tests.helpers.scenes import random_dn, write_scene

Mmearth = Callable[..., Ran]
LEFT, TOP, STRIDE = 500_000, 5_400_000, 16
UTM_32 = CRS.from_epsg(32632)


def opened(path: Path) -> tuple[xarray.DataArray, np.ndarray]:
    """The embedding of a store and its `valid_hw`."""
    with xarray.open_zarr(path) as store:
        cells = store["embedding"].load()
    valid = zarr.open_group(path / "quality", mode="r", zarr_format=2)["valid"]
    return cells, np.asarray(valid[:])


def place(part: xarray.DataArray, whole: xarray.DataArray) -> tuple[slice, slice]:
    """Where the cells of a part are in the whole scene's store, to the bit."""
    row = int(np.flatnonzero(whole.y.to_numpy() == part.y.to_numpy()[0])[0])
    col = int(np.flatnonzero(whole.x.to_numpy() == part.x.to_numpy()[0])[0])
    rows, cols = slice(row, row + part.sizes["y"]), slice(col, col + part.sizes["x"])
    np.testing.assert_array_equal(whole.y[rows], part.y)
    np.testing.assert_array_equal(whole.x[cols], part.x)
    return rows, cols


def embed(mmearth: Mmearth, out: Path, model: Path, *args: object) -> Ran:
    ran = mmearth("embed", "demo", "-o", out, "--model", model, "--json", *args)
    assert ran.code == 0, ran.stderr
    return ran


def test_a_box_is_that_part_of_the_whole_store(
    tmp_path: Path, echo_model: Path, mmearth: Mmearth
) -> None:
    """With a model whose cells see themselves only, to the bit; cells that reach into
    the box are valid to the share that does.
    """
    embed(mmearth, tmp_path / "whole.zarr", echo_model)
    west, north, east, south = (LEFT + 1000, TOP - 2000, LEFT + 3000, TOP - 3330)
    box = f"{west},{south},{east},{north}"
    ran = embed(mmearth, tmp_path / "part.zarr", echo_model, "--bbox", box)
    whole, _ = opened(tmp_path / "whole.zarr")
    part, valid = opened(tmp_path / "part.zarr")
    rows, cols = place(part, whole)
    assert (rows, cols) == (slice(12, 24), slice(4, 20))
    assert part.attrs["spatial:transform"] == [160, 0, LEFT + 640, 0, -160, TOP - 1920]
    inside = np.zeros((12 * STRIDE, 16 * STRIDE))
    inside[200 - 192 : 333 - 192, 100 - 64 : 300 - 64] = 1
    share = inside.reshape(12, STRIDE, 16, STRIDE).mean((1, 3))
    np.testing.assert_allclose(valid, share)
    expected = np.where(share > 0, whole.to_numpy()[:, rows, cols], np.nan)
    np.testing.assert_array_equal(part.to_numpy(), expected)
    assert ran.report["valid_cells"] == (share > 0).sum()
    assert any("rows 192 to 384" in note for note in ran.report["notes"])


def lon_lat(col: float, row: float) -> list[float]:
    (x,), (y,) = transform(UTM_32, "OGC:CRS84", [LEFT + 10 * col], [TOP - 10 * row])
    return [x, y]


def triangle(path: Path) -> tuple[Path, np.ndarray]:
    """A polygon in lon/lat within the demo scene, and its pixels."""
    corners = [(150.2, 140.3), (480.7, 200.1), (260.4, 420.6)]
    ring = [lon_lat(*corner) for corner in (*corners, corners[0])]
    shape = {"type": "Polygon", "coordinates": [ring]}
    path.write_text(
        json.dumps({"type": "Feature", "properties": {}, "geometry": shape})
    )
    ring = [[LEFT + 10 * c, TOP - 10 * r] for c, r in (*corners, corners[0])]
    inside = geometry_mask(
        [{"type": "Polygon", "coordinates": [ring]}],
        (1024, 1024),
        DemoSource().scene.geobox.transform,
        invert=True,
    )
    return path, inside


def test_cells_outside_a_polygon_are_empty(
    tmp_path: Path, echo_model: Path, mmearth: Mmearth
) -> None:
    """NaN and 0 valid there; cells on its edge hold all their pixels' mean."""
    embed(mmearth, tmp_path / "whole.zarr", echo_model)
    path, inside = triangle(tmp_path / "aoi.geojson")
    ran = embed(mmearth, tmp_path / "part.zarr", echo_model, "--aoi", path)
    whole, _ = opened(tmp_path / "whole.zarr")
    part, valid = opened(tmp_path / "part.zarr")
    rows, cols = place(part, whole)
    assert (rows, cols) == (slice(8, 28), slice(8, 32))
    share = inside.reshape(64, STRIDE, 64, STRIDE).mean((1, 3))
    assert share.sum() == pytest.approx(share[rows, cols].sum())
    share = share[rows, cols]
    np.testing.assert_allclose(valid, share, atol=2.1 / STRIDE**2)  # edges, reprojected
    assert np.abs(valid - share).mean() < 1e-4
    expected = np.where(valid > 0, whole.to_numpy()[:, rows, cols], np.nan)
    np.testing.assert_array_equal(part.to_numpy(), expected)
    assert 0 < ran.report["valid_cells"] < ran.report["cells"]


def test_tiles_without_a_wanted_pixel_are_not_computed(
    tmp_path: Path, echo_model: Path, mmearth: Mmearth
) -> None:
    """Two small polygons in far corners: the tiles between them are skipped, their
    cells are empty.
    """
    squares = []
    for corner in (10, 600):
        ends = [(corner, corner), (corner + 30, corner), (corner + 30, corner + 30)]
        squares.append([[lon_lat(*end) for end in (*ends, ends[0])]])
    path = tmp_path / "two.json"
    path.write_text(json.dumps({"type": "MultiPolygon", "coordinates": squares}))
    small = ("--aoi", path, "--window", 64, "--halo", 0)
    ran = embed(mmearth, tmp_path / "two.zarr", echo_model, *small)
    _, valid = opened(tmp_path / "two.zarr")
    assert valid.shape == (40, 40)
    assert (valid > 0).sum() == ran.report["valid_cells"] < 20
    assert not valid[4:36].any()


def test_info_tells_what_a_part_takes(tmp_path: Path, mmearth: Mmearth) -> None:
    path, _ = triangle(tmp_path / "aoi.geojson")
    facts = mmearth("info", "demo", "--aoi", path, "--json").report
    assert facts["size"] == "320 x 384 px"
    assert facts["cells"] == "20 x 24 of 16 px"
    assert facts["bounds"] == [LEFT + 1280, TOP - 4480, LEFT + 5120, TOP - 1280]
    assert any(
        "for --aoi aoi.geojson (GeoJSON is in" in w for w in facts["chosen of it"]
    )
    degrees = ",".join(f"{x:.6f}" for x in (*lon_lat(100, 300), *lon_lat(300, 100)))
    facts = mmearth("info", "demo", "--bbox", degrees, "--json").report
    assert facts["size"] == "256 x 256 px"
    assert any("in longitude and latitude" in w for w in facts["chosen of it"])


def test_the_store_says_which_part_it_is(
    tmp_path: Path, echo_model: Path, mmearth: Mmearth
) -> None:
    box = f"{LEFT},{TOP - 640},{LEFT + 640},{TOP}"
    embed(mmearth, tmp_path / "s.zarr", echo_model, "--bbox", box)
    made = zarr.open_group(tmp_path / "s.zarr", mode="r").attrs["mmearth"]
    assert made["scene"]["shape_px"] == [64, 64]
    assert any(f"--bbox {box}" in note for note in made["scene"]["notes"])


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (("--bbox", "1,2,3"), "--bbox 1,2,3 is not four numbers"),
        (("--bbox", "1,2,3,4"), "lies outside the scene: it spans 1 to 3 and 2 to 4"),
        (("--bbox", "-3,2,3,-4"), "covers nothing"),
        (("--aoi", "absent.geojson"), "cannot read the area `absent.geojson`"),
        (("--aoi", "x.json", "--bbox", "1,2,3,4"), "are two areas"),
        (("--mask", "cloud"), "has no scene classes (SCL)"),
        (("--mask", "fog"), "--mask does not know `fog`"),
        (("--mask", ""), "--mask does not know ``"),
    ],
)
def test_what_cannot_be_is_refused_before_anything_is_computed(
    args: tuple[str, ...],
    message: str,
    tmp_path: Path,
    echo_model: Path,
    mmearth: Mmearth,
) -> None:
    scene = write_scene(tmp_path / "s.tif", random_dn())
    out = tmp_path / "s.zarr"
    for command in (
        ("embed", scene, "-o", out, "--model", echo_model),
        ("info", scene),
    ):
        ran = mmearth(*command, *args)
        assert ran.code == 1
        error, hint = ran.stderr.splitlines()[-2:]
        assert error.startswith("error: ")
        assert message in error
        assert hint.startswith("hint: ")
        assert not out.exists()
