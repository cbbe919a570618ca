"""One vector a square: the mean of its valid cells, in a table that others read."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest

from mmearth_infer.errors import MissingExtraError, StoreError
from mmearth_infer.view.pool import pool
from tests.mmearth_infer.view.stores import CORNER, Made, Map, features, write_store
from tests.mmearth_infer.view.test_blocks import blocks_by_hand

geopandas = pytest.importorskip("geopandas")
parquet = pytest.importorskip("pyarrow.parquet")


def stored(folder: Path, made: Made | None = None) -> Path:
    return write_store(folder / "s.zarr", Map(features_Dhw=features()), made=made)


@pytest.mark.parametrize("side", [1, 2, 3, 4, 7, 9, 20])
@pytest.mark.parametrize("chunk", [2, 3, 64])
def test_vectors_by_hand(side: int, chunk: int, tmp_path: Path) -> None:
    """Whatever the chunks; squares without data have no row."""
    path, out = stored(tmp_path, Made(chunk_cells=chunk)), tmp_path / "v.parquet"
    done = pool(path, out, window_px=16 * side)
    expected = blocks_by_hand(features(), side)
    table = geopandas.read_parquet(out)
    found = np.full_like(expected, np.nan)
    for row in table.itertuples():
        found[:, row.row, row.col] = row.embedding
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)
    assert done.rows == len(table) == np.isfinite(expected[0]).sum()
    assert done.rows + done.empty == expected[0].size
    assert list(zip(table.row, table.col, strict=True)) == sorted(
        zip(table.row, table.col, strict=True)
    )


def test_squares_lie_where_their_cells_lie(tmp_path: Path) -> None:
    """Together they are the grid; the last ones end where it ends."""
    path, out = stored(tmp_path), tmp_path / "v.parquet"
    pool(path, out, window_px=64)
    table = geopandas.read_parquet(out)
    assert table.crs.to_epsg() == 32633
    assert table.geometry.is_valid.all()
    assert all(shape.exterior.is_ccw for shape in table.geometry)
    right, bottom = CORNER.c + 9 * 160, CORNER.f - 7 * 160
    assert table.total_bounds.tolist() == [CORNER.c, bottom, right, CORNER.f]
    assert table.geometry.area.sum() == 63 * 160**2
    by_place = table.set_index(["row", "col"])
    assert by_place.geometry[0, 0].bounds == (
        CORNER.c,
        CORNER.f - 640,
        CORNER.c + 640,
        CORNER.f,
    )
    assert by_place.geometry[1, 2].bounds == (right - 160, bottom, right, bottom + 480)


def test_the_share_of_valid_cells(tmp_path: Path) -> None:
    """Of the cells that a square has, also where it is cut off."""
    pool(stored(tmp_path), tmp_path / "v.parquet", window_px=64)
    table = geopandas.read_parquet(tmp_path / "v.parquet").set_index(["row", "col"])
    assert table.valid[0, 0] == pytest.approx((16 - 6) / 16)
    assert table.valid[1, 2] == 1


def test_what_the_file_says(tmp_path: Path) -> None:
    pool(stored(tmp_path), tmp_path / "v.parquet", window_px=64)
    metadata = parquet.read_schema(tmp_path / "v.parquet").metadata
    geo = json.loads(metadata[b"geo"])
    assert geo["version"] == "1.1.0"
    column = geo["columns"][geo["primary_column"]]
    assert column["encoding"] == "WKB"
    assert column["crs"]["id"] == {"authority": "EPSG", "code": 32633}
    said = json.loads(metadata[b"mmearth"])
    assert (said["model"], said["stage"]) == ("made-up", 4)


def test_other_kinds_of_stores(tmp_path: Path) -> None:
    """A finer stage by its own cells; int8 by its scale; a CRS without a code."""
    path = write_store(
        tmp_path / "s.zarr",
        Map(features_Dhw=features(3, 14, 18), stage=2, stride_px=8),
        Map(features_Dhw=features(), stage=4),
        made=Made(dtype="int8", crs="+proj=laea +lat_0=51 +lon_0=11 +datum=WGS84"),
    )
    out = tmp_path / "v.parquet"
    done = pool(path, out, window_px=16, stage=2)
    assert (done.window_cells, done.stage, done.channels) == (2, 2, 3)
    table = geopandas.read_parquet(out).set_index(["row", "col"])
    expected = blocks_by_hand(features(3, 14, 18), 2)
    np.testing.assert_allclose(table.embedding[6, 8], expected[:, 6, 8], atol=0.026)
    assert table.crs.coordinate_operation.method_name.startswith("Lambert Azimuthal")


@pytest.mark.parametrize(("window", "take"), [(15, 16), (40, 32), (1, 16)])
def test_a_square_that_cuts_cells(window: int, take: int, tmp_path: Path) -> None:
    with pytest.raises(StoreError, match=f"--window {window} is not a mult") as caught:
        pool(stored(tmp_path), tmp_path / "v.parquet", window_px=window)
    assert caught.value.hint == f"take {take}"
    assert [path.name for path in tmp_path.iterdir()] == ["s.zarr"]


def test_an_output_that_exists(tmp_path: Path) -> None:
    path, out = stored(tmp_path), tmp_path / "v.parquet"
    out.write_text("mine")
    with pytest.raises(StoreError, match="exists already"):
        pool(path, out, window_px=64)
    assert out.read_text() == "mine"
    pool(path, out, window_px=64, overwrite=True)
    assert len(geopandas.read_parquet(out)) == 6


def test_without_pyarrow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(MissingExtraError, match="needs the `view` extra") as caught:
        pool(stored(tmp_path), tmp_path / "v.parquet", window_px=64)
    assert caught.value.hint == 'pip install "mmearth-infer[view]"'
