"""Batches hold the pixels of their tiles, copied or not."""

from __future__ import annotations

import numpy as np
import pytest

from mmearth_infer.feed.batches import cut_batches
from mmearth_infer.grid.plan import plan_tiles
from mmearth_infer.seams import Swath
from tests.helpers.scenes import random_dn


@pytest.mark.parametrize(
    ("size", "are_views"), [(1, [True] * 7), (4, [True, False]), (9, [False])]
)
def test_batches_are_their_tiles_pixels(size: int, are_views: list[bool]) -> None:
    """The last tile of a row is moved inwards, so that it is not evenly apart."""
    plan = plan_tiles(
        height_px=96, width_px=232, stride_px=8, multiple_px=8, window_px=64, halo_px=16
    )
    row = plan.rows[0]
    seen = plan.swath_cells(row).times(8)
    dn_CHW = random_dn(height=seen.height, width=seen.width)
    present_HW = np.ones(dn_CHW.shape[1:], dtype=bool)
    swath = Swath(row=row, dn_CHW=dn_CHW, present_HW=present_HW)
    batches = list(cut_batches(swath, plan, size=size, blend="none"))
    assert [tile for batch in batches for tile in batch.tiles] == list(plan.tiles(row))
    for batch in batches:
        assert len(batch.tiles) <= size
        for tile, tile_CHW in zip(batch.tiles, batch.dn_NCHW, strict=True):
            rows, cols = tile.cells.times(8).seen_from(seen).slices
            np.testing.assert_array_equal(tile_CHW, dn_CHW[:, rows, cols])
    views = [np.shares_memory(batch.dn_NCHW, dn_CHW) for batch in batches]
    assert views == are_views
