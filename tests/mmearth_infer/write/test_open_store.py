"""A finished store is read as it was written; any other is refused with a reason."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import get_args

import numpy as np
import pytest
import xarray
import zarr
from hypothesis import given
from hypothesis import strategies as st
from zarr.storage import LocalStore

from mmearth_infer.errors import StoreError, WindowError
from mmearth_infer.grid.window import Window
from mmearth_infer.write.encode import DtypeChoice
from mmearth_infer.write.layout import LayoutChoice
from mmearth_infer.write.open_store import open_store
from tests.conftest import Ran
from tests.mmearth_infer.view.stores import (
    CORNER,
    SCALE,
    Made,
    Map,
    features,
    mark,
    write_store,
)

ALL = Window(row=0, col=0, height=7, width=9)


@pytest.mark.parametrize("layout", get_args(LayoutChoice))
@pytest.mark.parametrize("dtype", get_args(DtypeChoice))
def test_features_are_those_that_were_written(
    dtype: DtypeChoice, layout: LayoutChoice, tmp_path: Path
) -> None:
    """float32 exactly, float16 rounded, int8 within half a step; NaN stays NaN."""
    written = features()
    made = Made(dtype=dtype, layout=layout)
    store = open_store(
        write_store(tmp_path / "s.zarr", Map(features_Dhw=written), made=made)
    )
    read = store.read(ALL)
    assert read.dtype == np.float32
    np.testing.assert_array_equal(np.isnan(read), np.isnan(written))
    largest = np.nan_to_num(np.abs(written)).max(axis=0)
    step = {
        "float32": 0,
        "float16": largest * 2**-11 * 2,
        "int8": SCALE,
        "int8-pixel": largest / 127,
    }[dtype]
    off = np.nan_to_num(np.abs(read - written)).max(axis=0)
    assert (off <= np.asarray(step) / 2 * 1.001).all()
    assert store.dtype == dtype.partition("-")[0]
    assert store.scaled_per_pixel == (dtype == "int8-pixel")
    assert store.scale == (SCALE if dtype == "int8" else None)


@pytest.fixture(scope="module")
def small_chunks(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store of 7 x 9 cells in chunks of 3 x 3."""
    path = tmp_path_factory.mktemp("small") / "s.zarr"
    return write_store(path, Map(features_Dhw=features()), made=Made(chunk_cells=3))


@given(data=st.data())
def test_any_window_is_that_part_of_the_whole(
    small_chunks: Path, data: st.DataObject
) -> None:
    store = open_store(small_chunks)
    row, col = data.draw(st.integers(0, 6)), data.draw(st.integers(0, 8))
    window = Window(
        row=row,
        col=col,
        height=data.draw(st.integers(1, 7 - row)),
        width=data.draw(st.integers(1, 9 - col)),
    )
    expected = features()[(slice(None), *window.slices)]
    np.testing.assert_array_equal(store.read(window), expected)


def test_chunks_partition_the_grid(small_chunks: Path) -> None:
    store = open_store(small_chunks)
    assert store.chunk_cells == 3
    covered = np.zeros((7, 9), dtype=int)
    for window in store.chunks():
        covered[window.slices] += 1
        assert max(window.height, window.width) <= store.chunk_cells
    assert (covered == 1).all()


@pytest.mark.parametrize(("row", "height"), [(-1, 2), (6, 2), (7, 1)])
def test_a_window_beyond_the_grid(small_chunks: Path, row: int, height: int) -> None:
    window = Window(row=row, col=0, height=height, width=1)
    with pytest.raises(WindowError, match=r"is not inside|covers nothing"):
        open_store(small_chunks).read(window)


def test_what_a_store_says(small_chunks: Path) -> None:
    store = open_store(small_chunks)
    assert (store.stage, store.channels, store.stride_px) == (4, 5, 16)
    assert (store.geobox.height, store.geobox.width) == (7, 9)
    assert store.geobox.crs.to_epsg() == 32633
    assert store.geobox.transform.a == 160
    assert (store.geobox.transform.c, store.geobox.transform.f) == (CORNER.c, CORNER.f)
    assert store.model_name == "made-up"
    assert store.attributes["spatial:shape"] == [7, 9]


def test_a_store_of_the_real_command(
    tmp_path: Path, mmearth: Callable[..., Ran]
) -> None:
    """The same numbers as xarray."""
    out = tmp_path / "s.zarr"
    assert mmearth("embed", "demo", "-o", out).code == 0
    store = open_store(out)
    with xarray.open_zarr(out) as opened:
        for window in store.chunks():
            expected = opened["embedding"][(slice(None), *window.slices)]
            np.testing.assert_array_equal(store.read(window), expected)
    assert store.stage == 4


def test_stages(tmp_path: Path) -> None:
    """The deepest by default; each has its own grid; others are refused by name."""
    fine, coarse = features(3, 14, 18, seed=1), features(5, 7, 9, seed=2)
    path = write_store(
        tmp_path / "s.zarr",
        Map(features_Dhw=fine, stage=2, stride_px=8),
        Map(features_Dhw=coarse, stage=4),
    )
    assert open_store(path).stage == 4
    store = open_store(path, 2)
    assert (store.stage, store.channels, store.stride_px) == (2, 3, 8)
    assert store.geobox.transform.a == 80
    whole = Window(row=0, col=0, height=14, width=18)
    np.testing.assert_array_equal(store.read(whole), fine)
    np.testing.assert_array_equal(open_store(path, 4).read(ALL), coarse)
    with pytest.raises(StoreError, match="does not hold stage 3") as caught:
        open_store(path, 3)
    assert "it holds stage 2, 4" in str(caught.value.hint)


def test_the_only_stage_of_a_store(small_chunks: Path) -> None:
    assert open_store(small_chunks, 4).stage == 4
    with pytest.raises(StoreError, match="does not hold stage 1") as caught:
        open_store(small_chunks, 1)
    assert "it holds stage 4" in str(caught.value.hint)


def test_an_incomplete_store(tmp_path: Path) -> None:
    path = tmp_path / "s.zarr"
    write_store(path, Map(features_Dhw=features()), made=Made(complete=False))
    with pytest.raises(StoreError, match="is not complete") as caught:
        open_store(path)
    assert "embed" in str(caught.value.hint)


@pytest.mark.parametrize("kind", ["nothing", "file", "foreign store"])
def test_what_is_not_a_store(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "s.zarr"
    if kind == "file":
        path.touch()
    elif kind == "foreign store":
        zarr.create_group(LocalStore(path))
    with pytest.raises(StoreError, match="is not a store made by mmearth") as caught:
        open_store(path)
    assert "mmearth embed" in str(caught.value.hint)


def no_array(path: Path) -> None:
    """Remove the embedding, and the copy of its metadata."""
    shutil.rmtree(path / "embedding")
    metadata = json.loads((path / "zarr.json").read_text())
    del metadata["consolidated_metadata"]
    (path / "zarr.json").write_text(json.dumps(metadata))


def no_transform(path: Path) -> None:
    metadata = json.loads((path / "zarr.json").read_text())
    metadata["attributes"]["spatial:transform"] = [1, 2]
    (path / "zarr.json").write_text(json.dumps(metadata))


def no_crs(path: Path) -> None:
    metadata = json.loads((path / "zarr.json").read_text())
    metadata["attributes"]["proj:code"] = "EPSG:0"
    (path / "zarr.json").write_text(json.dumps(metadata))


def strange_origin(path: Path) -> None:
    mark(path, model=3)


@pytest.mark.parametrize("damage", [no_array, no_transform, no_crs, strange_origin])
def test_damaged_metadata(damage: Callable[[Path], None], tmp_path: Path) -> None:
    path = write_store(tmp_path / "s.zarr", Map(features_Dhw=features()))
    damage(path)
    with pytest.raises(StoreError, match="is damaged") as caught:
        open_store(path)
    assert caught.value.hint == "embed the scene again"


def test_a_damaged_chunk(tmp_path: Path) -> None:
    path = write_store(tmp_path / "s.zarr", Map(features_Dhw=features()))
    (chunk,) = [
        file for file in (path / "embedding" / "c").rglob("*") if file.is_file()
    ]
    chunk.write_bytes(chunk.read_bytes()[:-9])
    with pytest.raises(StoreError, match="is damaged"):
        open_store(path).read(ALL)
