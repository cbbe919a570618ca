"""How much each tile counts in each cell, along one axis at a time.

On both sides of the border of two cores, weights ramp over the inner part of the halos,
at most `MOST_RAMP_PX` wide. The rest is dropped: cells so near a tile's edge are worse
than none (docs/benchmarks/seams.md). Along one axis, with two cores of 6 cells, ramps
of 2 cells and linear weights:

    cells   0    1    2    3    4    5    6    7    8    9   10   11
    core    a    a    a    a    a    a    b    b    b    b    b    b
    a       1    1    1    1   7/8  5/8  3/8  1/8
    b                          1/8  3/8  5/8  7/8   1    1    1    1

The weight of a tile in a cell is the product of both axes' weights.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, assert_never

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from mmearth_infer.grid.plan import Blend, Span, Tile, TilePlan


class Weights(NamedTuple):
    """What one tile counts along one axis."""

    start: int
    """First cell it counts in."""

    values: NDArray[np.float32]
    """Weight in that cell and those that follow, above 0 and at most 1."""

    @property
    def stop(self) -> int:
        """Cell after the last one it counts in."""
        return self.start + len(self.values)


def axis_weights(
    spans: tuple[Span, ...], *, ramp: int, blend: Blend
) -> tuple[Weights, ...]:
    """Return the weights of all tiles of an axis.

    In every cell the weights sum to one; where one tile alone counts, its weight is
    exactly one; a tile counts only in cells it sees.

    The ramp of the border between two tiles rises from 0 to 1, and a tile's weight is
    the ramp at its first border less the ramp at its second: the sum telescopes, also
    where ramps overlap because a core is narrower than two of them.

    Args:
        spans: Tiles in order; the first and the last end where the axis does.
        ramp: Cells on each side of a border over which weights rise and fall, no more
            than the halo.
        blend: Shape of the ramps; `none` for none.

    """
    if blend == "none" or ramp == 0:
        return tuple(
            Weights(span.core_start, np.ones(span.core_stop - span.core_start, "f4"))
            for span in spans
        )
    weights = []
    for number, span in enumerate(spans):
        first, last = number == 0, number == len(spans) - 1
        start = span.core_start - (0 if first else ramp)
        stop = span.core_stop + (0 if last else ramp)
        centres = np.arange(start, stop) + 0.5
        values = np.ones(len(centres))
        if not first:
            values = _rise((centres - span.core_start) / (2 * ramp) + 0.5, blend)
        if not last:
            values -= _rise((centres - span.core_stop) / (2 * ramp) + 0.5, blend)
        weights.append(Weights(start, values.astype(np.float32)))
    return tuple(weights)


def _rise(along: NDArray[np.float64], blend: Blend) -> NDArray[np.float64]:
    """Return 0 before 0, 1 after 1, and what the shape has between."""
    clipped = along.clip(0, 1)
    if blend == "linear":
        return clipped
    if blend == "cosine":
        rising: NDArray[np.float64] = (1 - np.cos(np.pi * clipped)) / 2
        return rising
    if blend == "none":
        raise AssertionError(blend)
    assert_never(blend)


def needed(tile: Tile, valid_hw: NDArray[np.float32], blend: Blend) -> bool:
    """Tell whether any cell that holds data has a weight for a tile.

    If all such tiles are computed, the weights in a cell with data sum to one,
    whichever other cells hold data or are wanted.

    Args:
        tile: The tile.
        valid_hw: Share of valid pixels of each of the tile's cells.
        blend: How tiles that overlap make one map.

    """
    seen = tile.extent(blend).seen_from(tile.cells)
    return bool(valid_hw[seen.slices].any())


def rows_needed(plan: TilePlan, rows: range, blend: Blend) -> tuple[Span, ...]:
    """Return the rows of tiles that some rows of cells need; they are consecutive.

    Args:
        plan: The tiling.
        rows: Rows of cells that are wanted.
        blend: How tiles that overlap make one map.

    """
    weights = axis_weights(plan.rows, ramp=plan.ramp, blend=blend)
    return tuple(
        row
        for row, own in zip(plan.rows, weights, strict=True)
        if own.stop > rows.start and own.start < rows.stop
    )
