"""Stores open georeferenced in every tool, and are never half there."""

import json
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
import rioxarray
import xarray
import zarr_cm
from affine import Affine
from rasterio.crs import CRS
from rasterio.errors import NotGeoreferencedWarning

from mmearth_infer.write.layout import CHUNK_BYTES, MOST_CHUNK_CELLS, chunk_side
from tests.conftest import Ran
from tests.helpers.data import MAJORTOM, SEN1FLOODS, needs_data
from tests.helpers.scenes import random_dn, write_scene

GDAL_READS_ZARR_3 = tuple(map(int, rasterio.__gdal_version__.split(".")[:2])) >= (3, 12)
needs_gdal_zarr_3 = pytest.mark.skipif(
    not GDAL_READS_ZARR_3,
    reason=f"GDAL {rasterio.__gdal_version__} opens no Zarr v3 array; 3.12 does",
)

PLACES = {
    "utm": ("EPSG:32633", Affine(10, 0, 600_000, 0, -10, 5_300_000)),
    "degrees": ("EPSG:4326", Affine(9e-5, 0, 12.5, 0, -9e-5, 41.75)),
    "no code": (
        "+proj=laea +lat_0=51 +lon_0=11 +datum=WGS84 +units=m",
        Affine(10, 0, 50, 0, -10, 70),
    ),
}


@pytest.fixture(params=PLACES)
def store_and_scene(
    request: pytest.FixtureRequest,
    tmp_path: Path,
    echo_model: Path,
    mmearth: Callable[..., Ran],
) -> tuple[Path, Path]:
    """A store, and the scene it was made from, 6 x 5 cells with a partial edge."""
    crs, transform = PLACES[request.param]
    scene = write_scene(
        tmp_path / "s.tif", random_dn(height=90, width=75), crs=crs, transform=transform
    )
    out = tmp_path / "s.zarr"
    ran = mmearth("embed", scene, "-o", out, "--model", echo_model)
    assert ran.code == 0, ran.stderr
    return out, scene


def check_place(crs: CRS, transform: Affine, scene: Path) -> None:
    """Compare with the scene: same CRS and corner, cells of 16 pixels."""
    with rasterio.open(scene) as file:
        assert crs == file.crs
        assert (transform.c, transform.f) == (file.bounds.left, file.bounds.top)
        assert transform.a == pytest.approx(16 * file.transform.a, rel=1e-12)
        assert transform.e == pytest.approx(16 * file.transform.e, rel=1e-12)
        assert transform.e < 0
        assert transform.b == transform.d == 0


def test_xarray_and_rioxarray(store_and_scene: tuple[Path, Path]) -> None:
    """Plain xarray gives coordinates at centres; rioxarray CRS and transform."""
    out, scene = store_and_scene
    with xarray.open_zarr(out) as store:
        embedding = store["embedding"]
        assert embedding.dims == ("band", "y", "x")
        assert embedding.shape == (12, 6, 5)
        assert list(store.data_vars) == ["embedding"]
        assert np.isnan(embedding.encoding["_FillValue"])
        transform = embedding.rio.transform()
        check_place(CRS.from_wkt(embedding.rio.crs.to_wkt()), transform, scene)
        x, y = embedding["x"].to_numpy(), embedding["y"].to_numpy()
        assert x[0] == transform.c + transform.a / 2
        assert y[0] == transform.f + transform.e / 2
        assert np.isfinite(embedding.to_numpy()).all()
    with xarray.open_zarr(out / "quality") as quality:
        assert quality["valid"].rio.crs == embedding.rio.crs
        share = quality["valid"].to_numpy()
        assert share[0, 0] == 1
        assert share[-1, -1] == pytest.approx((10 / 16) * (11 / 16))
        np.testing.assert_array_equal(quality["x"], x)


@needs_gdal_zarr_3
def test_rasterio(store_and_scene: tuple[Path, Path]) -> None:
    """GDAL opens the store as one raster, bands and nodata included."""
    out, scene = store_and_scene
    with rasterio.open(out) as raster:
        assert raster.count == 12
        assert raster.shape == (6, 5)
        assert raster.dtypes[0] == "float32"
        assert np.isnan(raster.nodata)
        check_place(raster.crs, raster.transform, scene)
        with xarray.open_zarr(out) as store:
            np.testing.assert_array_equal(raster.read(), store["embedding"])


@needs_gdal_zarr_3
def test_rioxarray_opens_it_through_gdal(store_and_scene: tuple[Path, Path]) -> None:
    out, scene = store_and_scene
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NotGeoreferencedWarning)
        opened: Any = rioxarray.open_rasterio(out)
    check_place(opened.rio.crs, opened.rio.transform(), scene)
    opened.close()


def test_conventions_are_valid(store_and_scene: tuple[Path, Path]) -> None:
    """zarr-cm accepts group and array; the group has all of geo-embeddings."""
    out, _ = store_and_scene
    group = json.loads((out / "zarr.json").read_text())["attributes"]
    array = json.loads((out / "embedding" / "zarr.json").read_text())["attributes"]
    for attributes in (group, array):
        zarr_cm.validate_many(attributes, ["proj", "spatial"])
        names = [entry["name"] for entry in attributes["zarr_conventions"]]
        assert {"proj", "proj:", "spatial", "spatial:"} <= set(names)
        assert attributes["spatial:shape"] == [6, 5]
    assert group["geoemb:type"] == "pixel"
    assert group["geoemb:dimensions"] == 12
    assert group["geoemb:data_type"] == "float32"
    assert "spatial:bbox" in group
    assert "spatial:bbox" not in array


def test_provenance_has_no_clock_and_no_path(
    store_and_scene: tuple[Path, Path],
) -> None:
    out, scene = store_and_scene
    made = json.loads((out / "zarr.json").read_text())["attributes"]["mmearth"]
    assert made["complete"] is True
    assert made["scene"]["name"] == scene.name
    assert made["tiling"]["halo_px"] == 0
    assert str(scene.parent) not in json.dumps(made)


@needs_data
@pytest.mark.parametrize("scene", [MAJORTOM, SEN1FLOODS], ids=lambda path: path.stem)
def test_stores_of_real_scenes(
    scene: Path, tmp_path: Path, mmearth: Callable[..., Ran]
) -> None:
    """One in UTM with a fractional origin, one in degrees: the place is the scene's."""
    out = tmp_path / "s.zarr"
    assert mmearth("embed", scene, "-o", out).code == 0
    with xarray.open_zarr(out) as store:
        place = store["embedding"].rio
        check_place(CRS.from_wkt(place.crs.to_wkt()), place.transform(), scene)
    if GDAL_READS_ZARR_3:
        with rasterio.open(out) as raster:
            check_place(raster.crs, raster.transform, scene)


def test_chunks() -> None:
    """(320, 64, 64): the largest power of two that fits, at most 512."""
    assert chunk_side(320) == 64
    assert chunk_side(1) == chunk_side(1, 1) == MOST_CHUNK_CELLS
    for channels in (40, 80, 768, 2816):
        side = chunk_side(channels)
        assert channels * side * side * 4 <= CHUNK_BYTES < channels * side * side * 16
