"""Laws of the mosaic, against one that holds the whole map in memory."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from mmearth_infer.grid.plan import Blend, Tile, TilePlan, plan_tiles
from mmearth_infer.grid.validity import valid_share
from mmearth_infer.seams import Strip, Swath
from mmearth_infer.stitch.mosaic import Mosaic
from mmearth_infer.stitch.weights import axis_weights, needed, rows_needed

BLENDS = st.sampled_from(["none", "linear", "cosine"])
STRIDE = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """A scene, how it is cut, and how it comes together."""

    plan: TilePlan
    """The tiling."""

    present: np.ndarray
    """Pixels that hold data, to the end of the last tiles."""

    strip_rows: int
    """Rows of a strip."""

    blend: Blend
    """How tiles make one map."""

    @property
    def valid_hw(self) -> np.ndarray:
        """Share of each cell of the grid, and of the tiles' cells beyond it."""
        return valid_share(self.present, STRIDE)


@st.composite
def cases(draw: st.DrawFn) -> Case:
    """Cases of up to a hundred tiles, with holes of data."""
    height, width = draw(st.integers(1, 70)), draw(st.integers(1, 70))
    multiple = draw(st.sampled_from([2, 4, 6]))
    halo = multiple * draw(st.integers(0, 3))
    plan = plan_tiles(
        height_px=height,
        width_px=width,
        stride_px=STRIDE,
        multiple_px=multiple,
        window_px=2 * halo + multiple * draw(st.integers(1, 4)),
        halo_px=halo,
    )
    reach = plan.swath_cells(plan.rows[-1])
    shape = ((reach.row + reach.height) * STRIDE, reach.width * STRIDE)
    rng = np.random.default_rng(draw(st.integers(0, 999)))
    present_HW = rng.random(shape) < draw(st.sampled_from([0.002, 0.05, 1]))
    present_HW[height:] = False
    present_HW[:, width:] = False
    return Case(
        plan=plan,
        present=present_HW,
        strip_rows=draw(st.integers(1, 9)),
        blend=draw(BLENDS),
    )


def features_of(tile: Tile) -> np.ndarray:
    """What an engine made of a tile: every tile says something else everywhere."""
    rng = np.random.default_rng((tile.cells.row, tile.cells.col))
    shape = (3, tile.cells.height, tile.cells.width)
    return rng.standard_normal(shape).astype(np.float32)


def computed(case: Case, tile: Tile) -> bool:
    """Tell whether a run computes a tile."""
    return needed(tile, case.valid_hw[tile.cells.slices], case.blend)


def strips(
    case: Case,
    plan: TilePlan,
    *,
    rows: range | None = None,
    compute: Callable[[Case, Tile], bool] = computed,
) -> list[Strip]:
    """Return what comes out of a mosaic; the tiles of a row come two at a time."""
    wanted = rows or range(plan.height)
    mosaic = Mosaic(
        plan,
        channels=3,
        strip_rows=case.strip_rows,
        blend=case.blend,
        rows=rows,
    )
    found: list[Strip] = []
    for row in rows_needed(plan, wanted, case.blend):
        tiles = [tile for tile in plan.tiles(row) if compute(case, tile)]
        for first in range(0, len(tiles), 2):
            some = tiles[first : first + 2]
            mosaic.place(some, np.stack([features_of(tile) for tile in some]))
        seen = plan.swath_cells(row).times(STRIDE).slices
        found += mosaic.finish(
            Swath(
                row=row,
                dn_CHW=np.zeros((1, 1, 1), dtype=np.uint16),
                present_HW=case.present[seen],
            )
        )
        check_how_far(case, plan, row.core_stop, wanted, found)
    return found


def check_how_far(
    case: Case, plan: TilePlan, stop: int, wanted: range, found: list[Strip]
) -> None:
    """Hold that every strip is out that no later row of tiles touches."""
    later = [
        tile.extent(case.blend).row
        for row in plan.rows
        if row.core_start >= stop
        for tile in plan.tiles(row)
    ]
    done = min(later, default=plan.height)
    if done < wanted.stop:
        done = done // case.strip_rows * case.strip_rows
    reached = found[-1].row + len(found[-1].valid_hW) if found else wanted.start
    assert reached == min(max(done, wanted.start), wanted.stop)


def joined(found: list[Strip]) -> tuple[np.ndarray, np.ndarray]:
    """Lay strips below each other; they follow each other."""
    rows = [len(strip.valid_hW) for strip in found]
    starts = found[0].row + np.cumsum([0, *rows[:-1]])
    assert [strip.row for strip in found] == starts.tolist()
    return (
        np.concatenate([strip.features_DhW for strip in found], axis=1),
        np.concatenate([strip.valid_hW for strip in found]),
    )


def dense(
    case: Case, compute: Callable[[Case, Tile], bool] = computed
) -> tuple[np.ndarray, np.ndarray]:
    """Return the map and the sum of weights, all of it at once, in float64."""
    plan = case.plan
    shape = (plan.rows[-1].start + plan.tile_height, plan.cols[-1].start)
    shape = (shape[0], shape[1] + plan.tile_width)
    total, weight = np.zeros((3, *shape)), np.zeros(shape)
    down = axis_weights(plan.rows, ramp=plan.ramp, blend=case.blend)
    across = axis_weights(plan.cols, ramp=plan.ramp, blend=case.blend)
    for row, north in zip(plan.rows, down, strict=True):
        for tile, west in zip(plan.tiles(row), across, strict=True):
            if not compute(case, tile):
                continue
            own = np.zeros(shape)
            own[north.start : north.stop, west.start : west.stop] = np.outer(
                north.values, west.values
            )
            whole = np.zeros((3, *shape))
            whole[(slice(None), *tile.cells.slices)] = features_of(tile)
            total += own * whole
            weight += own
    kept = np.s_[: plan.height, : plan.width]
    with np.errstate(invalid="ignore"):
        mean = total / weight
    mean[:, case.valid_hw == 0] = np.nan
    return mean[:, kept[0], kept[1]], weight[kept]


@settings(deadline=None)
@given(cases())
def test_a_mosaic_is_the_weighted_mean_of_its_tiles(case: Case) -> None:
    """Every cell with data is the mean by weights that sum to one, the others are NaN;
    strips come as soon as no later row of tiles touches them.
    """
    features, valid = joined(strips(case, case.plan))
    expected, weight = dense(case)
    np.testing.assert_allclose(features, expected, rtol=1e-5, atol=1e-6)
    kept = case.valid_hw[: case.plan.height, : case.plan.width]
    np.testing.assert_array_equal(valid, kept)
    np.testing.assert_array_equal(np.isnan(features[0]), kept == 0)
    np.testing.assert_allclose(weight[kept > 0], 1, rtol=1e-6)


@settings(deadline=None)
@given(cases())
def test_tiles_that_were_not_computed_leave_no_holes(case: Case) -> None:
    """If only tiles with data in their core are placed, weights are those of them."""

    def sparing(case: Case, tile: Tile) -> bool:
        return needed(tile, case.valid_hw[tile.cells.slices], "none")

    features, valid = joined(strips(case, case.plan, compute=sparing))
    expected, _ = dense(case, sparing)
    np.testing.assert_allclose(features, expected, rtol=1e-4, atol=1e-5)
    np.testing.assert_array_equal(np.isnan(features[0]), valid == 0)


@settings(deadline=None)
@given(case=cases(), shares=st.tuples(st.floats(0, 1), st.floats(0, 1)))
def test_a_mosaic_of_some_rows(case: Case, shares: tuple[float, float]) -> None:
    """Its strips are bit for bit those of a mosaic of all rows."""
    most = -(-case.plan.height // case.strip_rows)
    first, last = sorted(min(int(share * most), most - 1) for share in shares)
    stop = min((last + 1) * case.strip_rows, case.plan.height)
    rows = range(first * case.strip_rows, stop)
    features, valid = joined(strips(case, case.plan))
    some, some_valid = joined(strips(case, case.plan, rows=rows))
    np.testing.assert_array_equal(some, features[:, rows.start : rows.stop])
    np.testing.assert_array_equal(some_valid, valid[rows.start : rows.stop])


@settings(deadline=None)
@given(case=cases(), widest=st.integers(1, 20))
def test_panels_change_no_bit(case: Case, widest: int) -> None:
    """Panels side by side are bit for bit the map of the plan as a whole."""
    parts = [
        joined(strips(case, panel))
        for panel in case.plan.panels(widest=widest, multiple=1, blend=case.blend)
    ]
    features, valid = joined(strips(case, case.plan))
    found = np.concatenate([part[0] for part in parts], axis=2)
    np.testing.assert_array_equal(found, features)
    np.testing.assert_array_equal(np.concatenate([p[1] for p in parts], axis=1), valid)


def test_memory_is_that_of_the_rows_between_two_strips() -> None:
    """It does not grow with the height of the scene."""
    held = []
    for height_px in (400, 4000):
        plan = plan_tiles(
            height_px=height_px,
            width_px=40,
            stride_px=2,
            multiple_px=2,
            window_px=40,
            halo_px=8,
        )
        mosaic = Mosaic(plan, channels=1, strip_rows=8, blend="linear")
        held.append(mosaic._rows)
    assert held == [8 + 12 + 8, 8 + 12 + 8]
