"""Laws of the tiling."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmearth_infer.errors import WindowError
from mmearth_infer.grid.plan import TilePlan, plan_tiles, spans


@st.composite
def axes(draw: st.DrawFn) -> tuple[int, int, int]:
    """Cells of an axis, of a tile, and of a halo that leaves a core."""
    halo = draw(st.integers(0, 5))
    return draw(st.integers(1, 90)), draw(st.integers(2 * halo + 1, 40)), halo


@given(axes())
def test_spans(axis: tuple[int, int, int]) -> None:
    """The cores partition the axis; every tile lies within it and all have the same
    length; a kept cell has `halo` cells of its tile on both sides, or the end.
    """
    cells, tile, halo = axis
    cut = spans(cells, tile=tile, halo=halo)
    kept = [cell for s in cut for cell in range(s.core_start, s.core_stop)]
    assert kept == list(range(cells))
    length = min(tile, cells)
    for span in cut:
        assert span.start >= 0
        assert span.start + length <= cells
        assert span.start == 0 or span.core_start - span.start >= halo
        end = span.start + length
        assert end == cells or end - span.core_stop >= halo


@st.composite
def plans(draw: st.DrawFn) -> tuple[TilePlan, int, int]:
    """A plan, and the size of its scene."""
    height, width = draw(st.integers(1, 400)), draw(st.integers(1, 400))
    multiple = draw(st.sampled_from([4, 8, 16]))
    halo = multiple * draw(st.integers(0, 2))
    plan = plan_tiles(
        height_px=height,
        width_px=width,
        stride_px=draw(st.sampled_from([2, 4])),
        multiple_px=multiple,
        window_px=2 * halo + multiple * draw(st.integers(1, 6)),
        halo_px=halo,
    )
    return plan, height, width


@given(plans())
def test_cores_partition_the_image(case: tuple[TilePlan, int, int]) -> None:
    """Every cell that holds a pixel is kept once, cells beyond the scene never."""
    plan, height, width = case
    times = np.zeros((-(-height // plan.stride_px), -(-width // plan.stride_px)), int)
    for row in plan.rows:
        for tile in plan.tiles(row):
            core = times[tile.core.slices]
            assert core.shape == (tile.core.height, tile.core.width)
            core += 1
            inside = tile.core.seen_from(tile.cells)
            assert inside.row >= 0
            assert inside.row + inside.height <= tile.cells.height
            assert inside.col + inside.width <= tile.cells.width
    assert (times == 1).all()
    assert plan.tile_count == len(plan.rows) * len(plan.cols)


def plan(**change: int) -> TilePlan:
    settings = {
        "height_px": 1068,
        "width_px": 1068,
        "stride_px": 16,
        "multiple_px": 16,
        "window_px": 448,
        "halo_px": 64,
    }
    return plan_tiles(**(settings | change))


@pytest.mark.parametrize(
    ("change", "message", "hint"),
    [
        ({"window_px": 100}, "--window 100 is not a multiple", "--window 96 or"),
        ({"halo_px": 20}, "--halo 20 is not a multiple", "--halo 16 or --halo 32"),
        ({"halo_px": -16}, "--halo -16", "--halo 0"),
        ({"window_px": 0}, "--window 0 leaves nothing", "at least"),
        ({"window_px": 128}, "--window 128 leaves nothing", "144"),
    ],
)
def test_tilings_that_cannot_be(
    change: dict[str, int], message: str, hint: str
) -> None:
    with pytest.raises(WindowError, match=message) as error:
        plan(**change)
    assert hint in str(error.value.hint)


def test_a_small_scene_is_one_small_tile() -> None:
    small = plan(height_px=50, width_px=33)
    assert (small.tile_height, small.tile_width, small.tile_count) == (4, 3, 1)
