"""Laws of the weights along one axis."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mmearth_infer.grid.plan import Blend, Span, Tile, plan_tiles, spans
from mmearth_infer.grid.window import Window
from mmearth_infer.stitch.weights import axis_weights, needed, rows_needed

BLENDS = st.sampled_from(["none", "linear", "cosine"])


@st.composite
def axes(draw: st.DrawFn) -> tuple[tuple[Span, ...], int, int, int]:
    """Tiles of an axis; its cells, those of a tile, and those of a ramp."""
    halo = draw(st.integers(0, 9))
    cells = draw(st.integers(1, 90))
    tile = draw(st.integers(2 * halo + 1, 40))
    return (
        spans(cells, tile=tile, halo=halo),
        cells,
        min(tile, cells),
        draw(st.integers(0, halo)),
    )


@settings(deadline=None)
@given(axes(), BLENDS)
def test_weights(axis: tuple[tuple[Span, ...], int, int, int], blend: Blend) -> None:
    """In every cell the weights sum to one; where one tile alone counts, its weight is
    exactly one; a tile counts only in cells it sees, and in all of its core.
    """
    cut, cells, tile, ramp = axis
    total, counting = np.zeros(cells), np.zeros(cells, int)
    largest = np.zeros(cells, np.float32)
    for span, own in zip(cut, axis_weights(cut, ramp=ramp, blend=blend), strict=True):
        assert span.start <= own.start <= span.core_start
        assert span.core_stop <= own.stop <= span.start + tile
        assert (own.values > 0).all()
        here = slice(own.start, own.stop)
        total[here] += own.values
        counting[here] += 1
        largest[here] = np.maximum(largest[here], own.values)
    np.testing.assert_allclose(total, 1, rtol=3e-7)
    assert (largest[counting == 1] == 1).all()
    if blend == "none" or ramp == 0:
        assert (counting == 1).all()


@pytest.mark.parametrize(
    ("blend", "rising"),
    [
        ("linear", [1 / 8, 3 / 8, 5 / 8, 7 / 8]),
        ("cosine", [0.03806, 0.30866, 0.69134, 0.96194]),
    ],
)
def test_the_shape_of_a_ramp(blend: Blend, rising: list[float]) -> None:
    """It is as wide on both sides, and symmetric about the border of the cores."""
    west, east = axis_weights(spans(12, tile=8, halo=2), ramp=2, blend=blend)
    assert (west.start, east.start) == (0, 4)
    np.testing.assert_allclose(east.values, [*rising, 1, 1, 1, 1], atol=1e-5)
    np.testing.assert_allclose(west.values, east.values[::-1], atol=1e-7)


@settings(deadline=None)
@given(
    height=st.integers(1, 300),
    window=st.sampled_from([24, 32, 80]),
    halo=st.sampled_from([0, 4, 8]),
    start=st.integers(0, 80),
    count=st.integers(1, 80),
    blend=BLENDS,
)
def test_rows_needed(
    *, height: int, window: int, halo: int, start: int, count: int, blend: Blend
) -> None:
    """They are those with a weight in any of the rows of cells, one after another."""
    plan = plan_tiles(
        height_px=height,
        width_px=40,
        stride_px=4,
        multiple_px=4,
        window_px=window,
        halo_px=halo,
    )
    start = min(start, plan.height - 1)
    rows = range(start, min(start + count, plan.height))
    found = rows_needed(plan, rows, blend)
    first = plan.rows.index(found[0])
    assert found == plan.rows[first : first + len(found)]
    for row in plan.rows:
        extents = [tile.extent(blend) for tile in plan.tiles(row)]
        below = max(extent.row + extent.height for extent in extents) > rows.start
        above = min(extent.row for extent in extents) < rows.stop
        assert (row in found) == (below and above)


def test_a_tile_is_needed_for_cells_it_has_a_weight_for() -> None:
    """A cell in its ramp counts where tiles are blended, one beyond it never."""
    plan = plan_tiles(
        height_px=16, width_px=64, stride_px=4, multiple_px=4, window_px=32, halo_px=8
    )
    first, second, last = (replace(t, ramp=1) for t in plan.tiles(plan.rows[0]))
    assert last.core == Window(row=0, col=10, height=4, width=6)

    def asked(tile: Tile, col: int, blend: Blend) -> bool:
        valid_hw = np.zeros((4, 8), dtype=np.float32)
        valid_hw[0, col] = 0.5
        return needed(tile, valid_hw, blend)

    for tile, core, ramp, beyond in ((first, 5, 6, 7), (last, 2, 1, 0)):
        assert asked(tile, core, "none")
        assert not asked(tile, ramp, "none")
        assert asked(tile, ramp, "linear")
        assert asked(tile, ramp, "cosine")
        assert not asked(tile, beyond, "linear")
    assert not asked(second, 1, "none")
    assert asked(second, 1, "cosine")
    assert asked(second, 6, "cosine")
