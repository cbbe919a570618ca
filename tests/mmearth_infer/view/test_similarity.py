"""Likeness is the cosine to the cell that lies where the user points."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rasterio.warp import transform

from mmearth_infer.errors import StoreError
from mmearth_infer.view.similarity import Place, cosine, find_cell, unit_vector
from mmearth_infer.write.open_store import Embedding, open_store
from tests.mmearth_infer.view.stores import CORNER, Map, features, write_store


@pytest.fixture(scope="module")
def embedding(tmp_path_factory: pytest.TempPathFactory) -> Embedding:
    """7 x 9 cells of 160 m in UTM zone 33; the upper left ones are empty."""
    path = tmp_path_factory.mktemp("store") / "s.zarr"
    return open_store(write_store(path, Map(features_Dhw=features())))


@given(row=st.integers(0, 6), col=st.integers(0, 8), data=st.data())
def test_a_place_inside_a_cell_finds_it(
    embedding: Embedding, row: int, col: int, data: st.DataObject
) -> None:
    """In the store's CRS, and as longitude and latitude."""
    inside = st.floats(0.01, 0.99)
    x = CORNER.c + 160 * (col + data.draw(inside))
    y = CORNER.f - 160 * (row + data.draw(inside))
    assert find_cell(embedding, Place(x=x, y=y, lonlat=False)) == (row, col)
    (lon,), (lat,) = transform("EPSG:32633", "EPSG:4326", [x], [y])
    assert find_cell(embedding, Place(x=lon, y=lat, lonlat=True)) == (row, col)


def test_corners(embedding: Embedding) -> None:
    """The upper left corner lies inside, the lower right one does not."""
    left, bottom, right, top = embedding.geobox.bounds
    assert find_cell(embedding, Place(x=left, y=top, lonlat=False)) == (0, 0)
    for x, y in ((right, top), (left, bottom)):
        with pytest.raises(StoreError, match="lies outside"):
            find_cell(embedding, Place(x=x, y=y, lonlat=False))


@pytest.mark.parametrize(
    ("place", "hint"),
    [
        (Place(x=16.3, y=47.8, lonlat=False), "--lonlat takes longitude, latitude"),
        (Place(x=47.8, y=16.3, lonlat=True), "longitude comes first"),
        (Place(x=16.3, y=95.0, lonlat=True), "longitude comes first"),
        (Place(x=1e9, y=float("nan"), lonlat=False), "coordinates are X,Y in EPSG:32"),
    ],
)
def test_places_outside(embedding: Embedding, place: Place, hint: str) -> None:
    with pytest.raises(StoreError, match="lies outside") as caught:
        find_cell(embedding, place)
    assert hint in str(caught.value.hint)


def test_a_cell_without_data(embedding: Embedding) -> None:
    with pytest.raises(StoreError, match=r"row 0, column 0 .* holds no data"):
        unit_vector(embedding, 0, 0)


def test_cosines_by_hand(embedding: Embedding) -> None:
    values = features()
    found = cosine(values, unit_vector(embedding, 5, 4))
    reference = values[:, 5, 4]
    for row, col in ((6, 8), (0, 8), (5, 4)):
        cell = values[:, row, col]
        expected = cell @ reference / np.linalg.norm(cell) / np.linalg.norm(reference)
        assert found[0, row, col] == pytest.approx(expected, rel=1e-5)
    assert found[0, 5, 4] == pytest.approx(1)
    np.testing.assert_array_equal(np.isnan(found[0]), np.isnan(values[0]))
    assert np.nanmax(np.abs(found)) <= 1 + 1e-6


def test_a_cell_of_zeros_resembles_nothing(embedding: Embedding) -> None:
    values = np.zeros((5, 1, 1), dtype=np.float32)
    assert np.isnan(cosine(values, unit_vector(embedding, 5, 4))).all()
