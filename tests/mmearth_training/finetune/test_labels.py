"""Labels on the grid of a scene: rasters, polygons, and what is refused."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import numpy as np
import pytest
import rasterio
from affine import Affine

from mmearth_infer.errors import DataError, SceneError
from mmearth_infer.grid.geobox import GeoBox
from mmearth_infer.grid.window import Window
from mmearth_infer.read.georeference import read_geobox
from mmearth_training.finetune.labels import open_labels
from tests.helpers.data import DATA, RSTOOLBOX, needs_data
from tests.helpers.scenes import UTM, write_scene

if TYPE_CHECKING:
    from pathlib import Path

UTM_33 = rasterio.crs.CRS.from_epsg(32633)
BOX = GeoBox(crs=UTM_33, transform=UTM, height=40, width=60)
WINDOW = Window(row=8, col=16, height=24, width=32)
CODES = {1: 0, 2: 1, "3": 2}


def numbers(height: int = 40, width: int = 60) -> np.ndarray:
    rng = np.random.default_rng(5)
    return rng.integers(1, 3, (1, height, width), dtype=np.uint8)


def read(path: Path, window: Window = WINDOW, field: str = "") -> np.ndarray:
    labels = open_labels(path, BOX, codes=CODES, ignored=(9,), field=field)
    return labels.read(window)


def test_a_raster_on_the_grid_is_taken_as_it_is(tmp_path: Path) -> None:
    """Ignored values and nodata are -1."""
    values = numbers()
    values[0, 10, 20], values[0, 11, 21] = 9, 255
    path = write_scene(tmp_path / "l.tif", values, bands=None, nodata=255)
    found = read(path)
    expected = values[0, 8:32, 16:48].astype(int) - 1
    expected[2, 4] = expected[3, 5] = -1
    np.testing.assert_array_equal(found, expected)


def test_a_finer_raster_gives_the_value_at_each_centre(tmp_path: Path) -> None:
    """And nothing beyond its edge, though it says no nodata."""
    finer = numbers(60, 90)
    fine = UTM @ Affine.translation(20, 10) @ Affine.scale(1 / 3)
    path = write_scene(tmp_path / "l.tif", finer, bands=None, transform=fine)
    expected = np.full((24, 32), -1)
    expected[2:22, 4:] = finer[0, 1::3, 1::3][:, :28] - 1
    np.testing.assert_array_equal(read(path), expected)


def square(left: float, top: float, side: float) -> dict[str, object]:
    ring = [(0, 0), (1, 0), (1, 1), (0, 1), (0, 0)]
    corners = [
        [600_000 + 10 * (left + x * side), 5_300_000 - 10 * (top + y * side)]
        for x, y in ring
    ]
    return {"type": "Polygon", "coordinates": [corners]}


def write_polygons(path: Path, *entries: tuple[object, dict[str, object]]) -> Path:
    features = [
        {"type": "Feature", "geometry": shape, "properties": {"kind": kind}}
        for kind, shape in entries
    ]
    crs = {"type": "name", "properties": {"name": "urn:ogc:def:crs:EPSG::32633"}}
    content = {"type": "FeatureCollection", "crs": crs, "features": features}
    path.write_text(json.dumps(content))
    return path


def test_polygons_cover_the_pixels_whose_centre_they_hold(tmp_path: Path) -> None:
    """Where two classes overlap, and in ignored ones, nothing is known."""
    path = write_polygons(
        tmp_path / "l.geojson",
        (1, square(16, 8, 10)),
        (1, square(20, 8, 10)),  # the same class: no contradiction
        (2, square(28, 10, 6)),
        (9, square(40, 20, 5)),
    )
    expected = np.full((24, 32), -1)
    expected[:10, :14] = 0
    expected[2:8, 12:18] = 1
    expected[2:8, 12:14] = -1
    np.testing.assert_array_equal(read(path, field="kind"), expected)


@pytest.mark.parametrize(
    ("entries", "field", "message"),
    [
        ([(1, square(16, 8, 10))], "class", "no field `class`"),
        ([(7, square(16, 8, 10))], "kind", "hold `7`"),
    ],
)
def test_polygons_that_are_no_labels(
    entries: list[tuple[object, dict[str, object]]],
    field: str,
    message: str,
    tmp_path: Path,
) -> None:
    path = write_polygons(tmp_path / "l.geojson", *entries)
    with pytest.raises(DataError, match=message) as caught:
        read(path, field=field)
    assert caught.value.hint


def test_rasters_that_are_no_labels(tmp_path: Path) -> None:
    two = write_scene(tmp_path / "2.tif", np.ones((2, 40, 60), np.uint8), bands=None)
    with pytest.raises(DataError, match="2 bands of uint8"):
        read(two)
    real = write_scene(tmp_path / "f.tif", np.ones((1, 40, 60), np.float32), bands=None)
    with pytest.raises(DataError, match="1 bands of float32"):
        read(real)
    nowhere = write_scene(tmp_path / "n.tif", numbers(), bands=None, crs=None)
    with pytest.raises(DataError, match="do not say where on Earth"):
        read(nowhere)
    other = write_scene(tmp_path / "o.tif", numbers() + 4, bands=None)
    with pytest.raises(DataError, match="hold `5`") as caught:
        read(other)
    assert caught.value.hint == "list it as a class, or in data.ignored"
    (tmp_path / "t.tif").write_text("text")
    with pytest.raises(SceneError, match="not a raster"):
        read(tmp_path / "t.tif")


@needs_data
def test_polygons_of_a_real_scene_are_the_raster_made_of_them() -> None:
    """Reference: the labels that come with the scene, drawn by others."""
    with rasterio.open(RSTOOLBOX) as file:
        box = read_geobox(file, source="scene")
    whole = Window(row=0, col=0, height=box.height, width=box.width)
    folder = DATA / "rstoolbox"
    raster = open_labels(
        folder / "rstoolbox_sen2_labels.tif",
        box,
        codes={n: n - 1 for n in range(1, 5)},
        ignored=(),
        field="",
    ).read(whole)
    names = {"dryout": 0, "forest": 1, "village": 2, "water": 3}
    drawn = open_labels(
        folder / "rstoolbox_trainingPolygons_sen2.geojson",
        box,
        codes=names,
        ignored=(),
        field="class",
    ).read(whole)
    assert (raster >= 0).sum() > 2000
    assert ((raster >= 0) == (drawn >= 0)).mean() > 0.999
    both = (raster >= 0) & (drawn >= 0)
    pairs = {(int(a), int(b)) for a, b in zip(raster[both], drawn[both], strict=True)}
    assert len(pairs) == 4  # one name for each number
