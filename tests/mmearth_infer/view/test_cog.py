"""A COG holds what the store holds, where the store holds it."""

from pathlib import Path

import numpy as np
import pytest
import rasterio

from mmearth_infer.errors import StoreError
from mmearth_infer.grid.window import Window
from mmearth_infer.view.cog import write_cog
from mmearth_infer.write.cog_file import OVERVIEW_PX, overview_factors
from mmearth_infer.write.encode import DtypeChoice
from mmearth_infer.write.open_store import Embedding, open_store
from tests.mmearth_infer.view.stores import SCALE, Made, Map, features, write_store

WHOLE = Window(row=0, col=0, height=7, width=9)


def stored(folder: Path, dtype: DtypeChoice = "float32") -> Path:
    made = Made(dtype=dtype, chunk_cells=3)
    return write_store(folder / "s.zarr", Map(features_Dhw=features()), made=made)


@pytest.mark.parametrize("dtype", ["float32", "float16", "int8-pixel"])
def test_floats(dtype: DtypeChoice, tmp_path: Path) -> None:
    """The features of the store, NaN for no data; also where each cell has a scale."""
    path, out = stored(tmp_path, dtype), tmp_path / "e.tif"
    done = write_cog(path, out)
    expected = open_store(path).read(WHOLE)
    with rasterio.open(out) as file:
        assert set(file.dtypes) == {"float32"}
        assert np.isnan(file.nodata)
        np.testing.assert_array_equal(file.read(), expected)
    assert (done.dtype, done.scale) == ("float32", None)


def test_int8_stays_int8(tmp_path: Path) -> None:
    """-128 for no data, the scale in the file; what is read is scaled by the reader."""
    path, out = stored(tmp_path, "int8"), tmp_path / "e.tif"
    done = write_cog(path, out)
    embedding = open_store(path)
    with rasterio.open(out) as file:
        assert set(file.dtypes) == {"int8"}
        assert file.nodata == -128
        assert file.scales == (SCALE,) * 5
        assert file.offsets == (0.0,) * 5
        values = file.read(masked=True)
        np.testing.assert_array_equal(values.data, embedding.read_stored(WHOLE))
        scaled = values.astype(np.float32) * np.float32(SCALE)
    np.testing.assert_array_equal(scaled.filled(np.nan), embedding.read(WHOLE))
    assert (done.dtype, done.scale) == ("int8", SCALE)


def test_place_names_and_layout(tmp_path: Path) -> None:
    path, out = stored(tmp_path), tmp_path / "e.tif"
    done = write_cog(path, out)
    box = open_store(path).geobox
    with rasterio.open(out) as file:
        assert file.crs == box.crs
        assert file.transform == box.transform
        assert file.bounds[:] == box.bounds
        assert file.descriptions[0] == "stage 4, channel 1"
        assert file.descriptions[-1] == "stage 4, channel 5"
        assert file.tags(ns="IMAGE_STRUCTURE")["LAYOUT"] == "COG"
        assert file.tags()["MMEARTH_MODEL"] == "made-up"
        assert file.profile["tiled"]
    assert (done.bands, done.height_px, done.width_px) == (5, 7, 9)
    assert done.size_bytes == out.stat().st_size
    assert sorted(file.name for file in tmp_path.iterdir()) == ["e.tif", "s.zarr"]


def test_overviews_of_a_large_store(tmp_path: Path) -> None:
    """Means of 2 x 2 cells, inside the file."""
    values = features(2, 40, 2 * OVERVIEW_PX)
    path = write_store(tmp_path / "s.zarr", Map(features_Dhw=values))
    write_cog(path, tmp_path / "e.tif")
    with rasterio.open(tmp_path / "e.tif") as file:
        assert file.overviews(1) == [2]
    with rasterio.open(tmp_path / "e.tif", overview_level=0) as half:
        assert half.shape == (20, OVERVIEW_PX)
        blocks = values.reshape(2, 20, 2, OVERVIEW_PX, 2)[:, 10:, :, 500:]
        np.testing.assert_allclose(
            half.read()[:, 10:, 500:], blocks.mean((2, 4)), rtol=1e-4, atol=1e-5
        )


@pytest.mark.parametrize(
    ("longer", "factors"), [(9, []), (512, []), (513, [2]), (1025, [2, 4])]
)
def test_overview_factors(longer: int, factors: list[int]) -> None:
    assert overview_factors(longer) == factors


def test_some_channels(tmp_path: Path) -> None:
    """In the order that was asked for."""
    path, out = stored(tmp_path), tmp_path / "e.tif"
    write_cog(path, out, channels=[4, 1])
    with rasterio.open(out) as file:
        np.testing.assert_array_equal(file.read(), features()[[3, 0]])
        assert file.descriptions == ("stage 4, channel 4", "stage 4, channel 1")
    for channel in (0, 6):
        with pytest.raises(StoreError, match=f"no channel {channel}") as caught:
            write_cog(path, tmp_path / "f.tif", channels=[channel])
        assert "channels 1 to 5" in str(caught.value.hint)


def test_never_more_than_a_chunk_is_read_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read, sizes = Embedding.read, []

    def watched(self: Embedding, window: Window) -> np.ndarray:
        sizes.append((window.height, window.width))
        return read(self, window)

    monkeypatch.setattr(Embedding, "read", watched)
    write_cog(stored(tmp_path), tmp_path / "e.tif")
    assert len(sizes) == 9
    assert max(max(size) for size in sizes) == 3


def test_an_output_that_exists(tmp_path: Path) -> None:
    path, out = stored(tmp_path), tmp_path / "e.tif"
    out.write_text("mine")
    with pytest.raises(StoreError, match="exists already"):
        write_cog(path, out)
    assert out.read_text() == "mine"
    write_cog(path, out, overwrite=True)
    with pytest.raises(StoreError, match="does not end in"):
        write_cog(path, tmp_path / "e.png")


def test_what_breaks_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = stored(tmp_path)

    def broken(_self: Embedding, _window: Window) -> np.ndarray:
        raise StoreError("broken")

    monkeypatch.setattr(Embedding, "read", broken)
    with pytest.raises(StoreError, match="broken"):
        write_cog(path, tmp_path / "e.tif")
    assert [file.name for file in tmp_path.iterdir()] == ["s.zarr"]
