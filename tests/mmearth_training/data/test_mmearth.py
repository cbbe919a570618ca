"""The published HDF5 layout, read against h5py itself."""

from multiprocessing import get_context
from pathlib import Path

import h5py
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mmearth_infer.errors import DataError
from mmearth_training.data.mmearth import H5Tiles
from mmearth_training.modalities import MODALITIES
from tests.helpers.mmearth_data import write_dataset

ALL = tuple(MODALITIES)
TILES = 6


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data") / "tiny"
    return write_dataset(folder, tiles=TILES, tile_px=64) / "tiny.h5"


@given(rows=st.lists(st.integers(0, TILES - 1), max_size=9))
@settings(max_examples=25, deadline=None)
def test_rows_come_in_the_order_asked_for(path: Path, rows: list[int]) -> None:
    """`read(rows)[name][i]` is row `rows[i]` of the file, repeats included."""
    tiles = H5Tiles(path)
    read = tiles.read(rows, ALL)
    levels = tiles.levels(rows)
    tiles.close()
    with h5py.File(path) as file:
        for name in ALL:
            whole = file[name][:]
            expected = whole[:, 0] if MODALITIES[name].codes else whole
            np.testing.assert_array_equal(read[name], expected[rows])
            assert read[name].dtype == MODALITIES[name].dtype
    assert levels == tuple(("l2a", "l1c")[row % 2] for row in rows)


@pytest.mark.parametrize("tile_px", [64, 128])
def test_shapes(tmp_path: Path, tile_px: int) -> None:
    folder = write_dataset(tmp_path / "tiny", tiles=3, tile_px=tile_px)
    tiles = H5Tiles(folder / "tiny.h5")
    assert (len(tiles), tiles.tile_px) == (3, tile_px)
    read = tiles.read([2, 0], ALL)
    assert read["sentinel2"].shape == (2, 13, tile_px, tile_px)
    assert read["sentinel1"].shape == (2, 8, tile_px, tile_px)
    assert read["dynamic_world"].shape == (2, tile_px, tile_px)
    assert read["eco_region"].shape == (2, 846)
    assert tiles.tile_id(1) == "tile_0_0001"
    tiles.close()


def test_classes_may_lack_the_channel_axis(tmp_path: Path, path: Path) -> None:
    with h5py.File(path) as file:
        flat = {name: file[name][:, 0] for name in ("dynamic_world", "esa_worldcover")}
    folder = write_dataset(tmp_path / "tiny", tiles=TILES, tile_px=64, arrays=flat)
    ours, theirs = H5Tiles(folder / "tiny.h5"), H5Tiles(path)
    for name in flat:
        np.testing.assert_array_equal(
            ours.read([4, 1], [name])[name], theirs.read([4, 1], [name])[name]
        )
    ours.close()
    theirs.close()


@pytest.mark.parametrize("row", [-1, TILES])
def test_a_row_that_is_not_there(path: Path, row: int) -> None:
    tiles = H5Tiles(path)
    for use in (lambda: tiles.read([row], ["lat"]), lambda: tiles.levels([row])):
        with pytest.raises(DataError, match=f"there is no tile {row} in `tiny.h5`"):
            use()
    tiles.close()


def _use(tiles: H5Tiles) -> None:
    try:
        tiles.read([0], ["lat"])
    except AssertionError:
        raise SystemExit(7) from None


@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")
def test_another_process_may_not_use_it(path: Path) -> None:
    tiles = H5Tiles(path)
    child = get_context("fork").Process(target=_use, args=(tiles,))
    child.start()
    child.join()
    tiles.close()
    assert child.exitcode == 7


def test_not_hdf5(tmp_path: Path) -> None:
    notes = tmp_path / "notes.h5"
    notes.write_text("not HDF5")
    with pytest.raises(DataError, match="cannot be opened as HDF5") as caught:
        H5Tiles(notes)
    assert "damaged" in (caught.value.hint or "")


def test_a_group_is_no_modality(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "x.h5", "w") as file:
        file.create_group("sentinel2")
    with pytest.raises(DataError, match=r"`x\.h5` has no `sentinel2`"):
        H5Tiles(tmp_path / "x.h5")


@pytest.mark.parametrize("way", ["storage", "link"])
def test_pixels_of_another_file_are_refused(tmp_path: Path, way: str) -> None:
    """They could be any file of whoever opens the data set."""
    path = write_dataset(tmp_path / "a", tiles=2, tile_px=64) / "a.h5"
    secret = tmp_path / "secret"
    secret.write_bytes(b"s" * 2 * 64 * 64)
    with h5py.File(path, "r+") as file:
        del file["dynamic_world"]
        if way == "storage":
            file.create_dataset(
                "dynamic_world",
                (2, 1, 64, 64),
                "uint8",
                external=[(str(secret), 0, h5py.h5f.UNLIMITED)],
            )
        else:
            with h5py.File(tmp_path / "other.h5", "w") as other:
                other["x"] = np.zeros((2, 1, 64, 64), "uint8")
            file["dynamic_world"] = h5py.ExternalLink(str(tmp_path / "other.h5"), "x")
    with pytest.raises(DataError, match="lies in another file") as caught:
        H5Tiles(path).read([0], ["dynamic_world"])
    assert caught.value.hint


def test_metadata_of_another_kind(tmp_path: Path) -> None:
    path = write_dataset(tmp_path / "a", tiles=2, tile_px=64) / "a.h5"
    kind = np.dtype([("tile_id", "S9"), ("S2_type", "i4")])
    with h5py.File(path, "r+") as file:
        del file["metadata"]
        file["metadata"] = np.zeros(2, kind)
    with pytest.raises(DataError, match="no `tile_id` and `S2_type`"):
        H5Tiles(path)
