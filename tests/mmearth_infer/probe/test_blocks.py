"""Blocks are squares of the CRS: a place is in one block, whatever store shows it."""

import numpy as np
from affine import Affine
from hypothesis import given
from hypothesis import strategies as st
from rasterio.crs import CRS

from mmearth_infer.grid.geobox import GeoBox
from mmearth_infer.probe.blocks import blocks_a_class, blocks_of
from tests.mmearth_infer.probe.fields import CELLS


def grid(down: int = 0, right: int = 0, *, epsg: int = 32633) -> GeoBox:
    corner = CELLS @ Affine.translation(right, down)
    return GeoBox(crs=CRS.from_epsg(epsg), transform=corner, height=30, width=30)


def every_cell(stores: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    store, row, col = (part.ravel() for part in np.mgrid[:stores, :30, :30])
    return store, row, col


@given(st.integers(1, 9), st.integers(0, 20), st.integers(0, 20))
def test_a_place_is_in_one_block(side: int, down: int, right: int) -> None:
    store, row, col = every_cell(2)
    block = blocks_of([grid(), grid(down, right)], store, row, col, side)
    first, second = block.reshape(2, 30, 30)
    np.testing.assert_array_equal(
        first[down:, right:], second[: 30 - down, : 30 - right]
    )


@given(st.integers(1, 40))
def test_blocks_are_squares(side: int) -> None:
    """No block spans more cells than its side; only those at the edge span fewer."""
    store, row, col = every_cell(1)
    block = blocks_of([grid()], store, row, col, side)
    spans = [np.ptp(row[block == n]) + 1 for n in np.unique(block)]
    assert max(spans) <= side
    assert spans.count(side) >= max(30 // side - 1, 0) ** 2
    assert len(spans) <= (30 // side + 2) ** 2


def test_other_systems_have_other_blocks() -> None:
    store, row, col = every_cell(2)
    block = blocks_of([grid(), grid(epsg=32632)], store, row, col, 30)
    assert not set(block[store == 0]) & set(block[store == 1])


def test_blocks_a_class() -> None:
    found = blocks_a_class(np.array([0, 0, 0, 2]), np.array([5, 5, 6, 5]), 4)
    assert found.tolist() == [2, 0, 1, 0]
