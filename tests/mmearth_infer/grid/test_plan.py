"""Laws of the tiling."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mmearth_infer.errors import WindowError
from mmearth_infer.grid.plan import TilePlan, plan_tiles, spans


@st.composite
def axes(draw: st.DrawFn) -> tuple[int, int, int]:
    """Cells of an axis, of a tile, and of a halo that leaves a core."""
    halo = draw(st.integers(0, 5))
    return draw(st.integers(1, 90)), draw(st.integers(2 * halo + 1, 40)), halo


@settings(deadline=None)
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


@settings(deadline=None)
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


@settings(deadline=None)
@given(case=plans(), factor=st.sampled_from([1, 2]), widest=st.integers(1, 50))
def test_a_finer_grid(
    case: tuple[TilePlan, int, int], factor: int, widest: int
) -> None:
    """Everything counted in cells is `factor` times as much: tiles, cores and extents
    scale exactly, panels too; a tile covers the same pixels.
    """
    coarse, *_ = case
    fine = coarse.scaled(factor)
    assert fine.stride_px * factor == coarse.stride_px
    assert (fine.height, fine.width) == (coarse.height * factor, coarse.width * factor)
    assert fine.tile_px == coarse.tile_px
    for row, fine_row in zip(coarse.rows, fine.rows, strict=True):
        swath = coarse.swath_cells(row).times(factor)
        assert fine.swath_cells(fine_row) == swath
        tiles = zip(coarse.tiles(row), fine.tiles(fine_row), strict=True)
        for tile, finer in tiles:
            assert finer == tile.scaled(factor)
            assert finer.core == tile.core.times(factor)
            assert finer.extent("none") == finer.core
            assert finer.extent("linear") == tile.extent("linear").times(factor)
    panels = coarse.panels(widest=widest, multiple=1, blend="linear")
    step = widest * factor
    for panel, finer_panel in zip(
        panels, fine.panels(widest=step, multiple=factor, blend="linear"), strict=True
    ):
        assert panel.scaled(factor) == finer_panel


@settings(deadline=None)
@given(case=plans())
def test_a_finer_grid_of_whole_cells_is_planned_alike(
    case: tuple[TilePlan, int, int],
) -> None:
    """If the scene ends with a whole cell, scaling is planning with a finer stride."""
    coarse, height, width = case
    stride, halo = coarse.stride_px, coarse.halo_px
    lengths = {
        "height_px": -(-height // stride) * stride,
        "width_px": -(-width // stride) * stride,
        "multiple_px": 2 * halo or 8,
        "window_px": 4 * (2 * halo or 8),
        "halo_px": 2 * halo,
    }
    planned = plan_tiles(stride_px=stride, **lengths)
    assert planned.scaled(2) == plan_tiles(stride_px=stride // 2, **lengths)


@settings(deadline=None)
@given(case=plans(), widest=st.integers(1, 50), multiple=st.integers(1, 7))
def test_panels(case: tuple[TilePlan, int, int], widest: int, multiple: int) -> None:
    """The panels' cells partition the grid; a panel has every tile with a weight for
    any of its cells, and no other.
    """
    whole, *_ = case
    for blend in ("none", "linear"):
        column = 0
        for panel in whole.panels(widest=widest, multiple=multiple, blend=blend):
            assert panel.first_col == column
            column += panel.width
            assert column == whole.width or column % multiple == 0
            row = whole.rows[0]
            extents = {tile.core: tile.extent(blend) for tile in whole.tiles(row)}
            reaching = [
                core
                for core, extent in extents.items()
                if extent.col < column and extent.col + extent.width > panel.first_col
            ]
            assert [tile.core for tile in panel.tiles(row)] == reaching
        assert column == whole.width


def plan(**change: int) -> TilePlan:
    lengths = {
        "height_px": 1068,
        "width_px": 1068,
        "stride_px": 16,
        "multiple_px": 16,
        "window_px": 448,
        "halo_px": 64,
    }
    return plan_tiles(**(lengths | change))


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


@pytest.mark.parametrize(
    ("halo", "multiple", "ramp"),
    [(0, 16, 0), (16, 16, 16), (32, 16, 32), (96, 16, 32), (72, 24, 24), (128, 64, 64)],
)
def test_ramps(halo: int, multiple: int, ramp: int) -> None:
    """A ramp is the halo, but at most 32 px, or one multiple of the model."""
    found = plan(halo_px=halo, multiple_px=multiple, window_px=24 * multiple)
    assert found.ramp_px == ramp


def test_a_small_scene_is_one_small_tile() -> None:
    small = plan(height_px=50, width_px=33)
    assert (small.tile_height, small.tile_width, small.tile_count) == (4, 3, 1)
