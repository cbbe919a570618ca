"""Stores open georeferenced in every tool, and are never half there."""

import json
import shutil
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

from mmearth_infer.errors import StoreError
from mmearth_infer.grid.geobox import GeoBox
from mmearth_infer.seams import Strip
from mmearth_infer.write.zarr_store import CHUNK_BYTES, ZarrSink, chunk_side
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
    assert made["tiling"]["halo_px"] == 64
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
    """(320, 64, 64), the largest power of two within the bytes of a chunk."""
    assert chunk_side(320) == 64
    for channels in (1, 40, 80, 768, 2816):
        side = chunk_side(channels)
        assert channels * side * side * 4 <= CHUNK_BYTES < channels * side * side * 16


def open_sink(path: Path, *, overwrite: bool = False) -> ZarrSink:
    crs, transform = PLACES["utm"]
    box = GeoBox(crs=CRS.from_string(crs), transform=transform, height=3, width=4)
    return ZarrSink(
        path, box=box, channels=2, geoemb={}, provenance={}, overwrite=overwrite
    )


def fill(sink: ZarrSink, value: float) -> None:
    features = np.full((2, 3, 4), value, dtype=np.float32)
    sink.write(Strip(row=0, col=0, features_DhW=features, valid_hW=features[0]))


def value_in(path: Path) -> float:
    with xarray.open_zarr(path) as store:
        return float(store["embedding"][0, 0, 0])


def test_an_unfinished_store_has_no_name_and_leaves_nothing(tmp_path: Path) -> None:
    out = tmp_path / "s.zarr"
    with open_sink(out) as sink:
        fill(sink, 1)
        assert not out.exists()
        partial = json.loads((tmp_path / "s.zarr.partial" / "zarr.json").read_text())
        assert partial["attributes"]["mmearth"]["complete"] is False
    assert list(tmp_path.iterdir()) == []


def test_overwriting_keeps_the_old_store_until_the_new_is_complete(
    tmp_path: Path,
) -> None:
    out = tmp_path / "s.zarr"
    with open_sink(out) as sink:
        fill(sink, 1)
        sink.finish()
    with pytest.raises(StoreError, match="exists already"):
        open_sink(out)
    with open_sink(out, overwrite=True) as sink:
        fill(sink, 2)
        assert value_in(out) == 1
    assert value_in(out) == 1
    with open_sink(out, overwrite=True) as sink:
        fill(sink, 3)
        sink.finish()
    assert value_in(out) == 3
    assert [path.name for path in tmp_path.iterdir()] == ["s.zarr"]


def test_an_interrupt_between_two_renames_costs_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The old store is back under its name."""
    out = tmp_path / "s.zarr"
    with open_sink(out) as sink:
        fill(sink, 1)
        sink.finish()
    rename = Path.rename

    def interrupted(self: Path, target: Path) -> Path:
        if self.name.endswith(".partial"):
            raise KeyboardInterrupt
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", interrupted)
    with open_sink(out, overwrite=True) as sink:
        fill(sink, 2)
        with pytest.raises(KeyboardInterrupt):
            sink.finish()
    assert value_in(out) == 1
    assert [path.name for path in tmp_path.iterdir()] == ["s.zarr"]


def test_a_backup_beside_the_store_is_left_alone(tmp_path: Path) -> None:
    out = tmp_path / "s.zarr"
    with open_sink(out) as sink:
        fill(sink, 1)
        sink.finish()
    shutil.copytree(out, tmp_path / "s.zarr.old")
    with open_sink(out, overwrite=True) as sink:
        fill(sink, 2)
        sink.finish()
    assert value_in(tmp_path / "s.zarr.old") == 1
    assert value_in(out) == 2


def test_what_a_kill_at_the_very_start_leaves_is_cleared_away(tmp_path: Path) -> None:
    out = tmp_path / "s.zarr"
    (tmp_path / "s.zarr.partial" / "embedding").mkdir(parents=True)
    with open_sink(out) as sink:
        fill(sink, 1)
        sink.finish()
    assert value_in(out) == 1


def test_a_link_to_a_store_stays_a_link(tmp_path: Path) -> None:
    """And what it points to is replaced."""
    target, link = tmp_path / "target.zarr", tmp_path / "link.zarr"
    with open_sink(target) as sink:
        fill(sink, 1)
        sink.finish()
    link.symlink_to(target)
    with open_sink(link, overwrite=True) as sink:
        fill(sink, 2)
        sink.finish()
    assert link.is_symlink()
    assert value_in(target) == 2


def test_a_killed_run_is_cleared_away(tmp_path: Path) -> None:
    out = tmp_path / "s.zarr"
    sink = open_sink(out)
    fill(sink, 1)
    del sink  # as a kill leaves it: no __exit__
    with open_sink(out) as again:
        fill(again, 2)
        again.finish()
    assert value_in(out) == 2


@pytest.mark.parametrize("name", ["s.zarr", "s.zarr.partial"])
def test_nothing_but_our_own_stores_is_ever_removed(tmp_path: Path, name: str) -> None:
    """A folder of photos, a foreign store, a file: refused, and still there."""
    precious = tmp_path / name / "photo.jpg"
    precious.parent.mkdir()
    precious.write_text("precious")
    (precious.parent / "zarr.json").write_text('{"attributes": {}}')
    with pytest.raises(StoreError, match="not a store made by mmearth"):
        open_sink(tmp_path / "s.zarr", overwrite=True)
    assert precious.read_text() == "precious"
    shutil.rmtree(precious.parent)
