"""Areas in vector files other than GeoJSON, which take pyogrio."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import shapely

from mmearth_infer.errors import MissingExtraError, SceneError
from mmearth_infer.read import ogr
from tests.helpers.areas import (
    PlainSource,
    lon_lat_square,
    of_file,
    on_scene,
    write,
)


@pytest.mark.parametrize(("name", "driver"), [("a.gpkg", "GPKG"), ("a.fgb", None)])
def test_other_vector_files(name: str, driver: str | None, tmp_path: Path) -> None:
    """Through pyogrio, the same as GeoJSON."""
    pyogrio = pytest.importorskip("pyogrio", reason="the `probe` extra brings it")
    scene = PlainSource()
    square = lon_lat_square(scene)
    path = tmp_path / name
    shape = shapely.to_wkb(shapely.force_3d(shapely.geometry.shape(square), 5))
    pyogrio.raw.write(
        path,
        np.array([shape, shape], dtype=object),
        [],
        [],
        crs="EPSG:4326",
        geometry_type="Polygon Z",
        driver=driver,
    )
    as_json = of_file(write(tmp_path / "a.json", square), scene)
    part = of_file(path, scene)
    np.testing.assert_array_equal(on_scene(part, scene), on_scene(as_json, scene))
    assert "EPSG:4326" in part.evidence
    path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(SceneError, match=r"is no vector file|holds 0 layers"):
        of_file(path, scene)


def point_file(path: Path) -> None:
    write_vector(path, "POINT (16 47)", "Point")


def without_crs(path: Path) -> None:
    write_vector(path, "POLYGON ((0 0, 1 0, 1 1, 0 0))", "Polygon", crs=None)


def two_layers(path: Path) -> None:
    for layer in ("one", "two"):
        write_vector(path, "POINT (16 47)", "Point", layer=layer)


def write_vector(
    path: Path, wkt: str, kind: str, *, crs: str | None = "EPSG:4326", **kwargs: str
) -> None:
    pyogrio = pytest.importorskip("pyogrio", reason="the `probe` extra brings it")
    shape = np.array([shapely.to_wkb(shapely.from_wkt(wkt))], dtype=object)
    options = {"geometry_type": kind, "append": path.exists(), **kwargs}
    pyogrio.raw.write(path, shape, [], [], crs=crs, **options)


@pytest.mark.filterwarnings("ignore:'crs' was not provided")
@pytest.mark.parametrize(
    ("make", "message"),
    [
        (point_file, "holds a Point"),
        (without_crs, "has no coordinate reference system"),
        (two_layers, "holds 2 layers: one, two"),
        (lambda path: path.write_text("nonsense"), "is no vector file"),
    ],
)
def test_vector_files_that_hold_no_area(
    make: Callable[[Path], None], message: str, tmp_path: Path
) -> None:
    path = tmp_path / "a.gpkg"
    if make is without_crs:
        path = tmp_path / "a.shp"
    make(path)
    with pytest.raises(SceneError, match=message) as caught:
        of_file(path, PlainSource())
    assert caught.value.hint


def test_without_pyogrio_the_extra_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ogr, "pyogrio", None)
    with pytest.raises(MissingExtraError, match=r"--aoi a\.gpkg` needs the `probe`"):
        of_file(tmp_path / "a.gpkg", PlainSource())
