"""Lays tiles side by side, or blends them, and hands out rows that are finished."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from mmearth_infer.grid.validity import valid_share
from mmearth_infer.grid.window import Window
from mmearth_infer.seams import Strip
from mmearth_infer.stitch.weights import Weights, axis_weights

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

    from mmearth_infer.grid.plan import Blend, Span, Tile, TilePlan
    from mmearth_infer.seams import Swath


class Mosaic:
    """The rows of the grid that are not written yet.

    A cell is the mean of the tiles that were placed over it, by their weights, which
    is one tile's value where one alone counts. Cells no tile was computed for, and
    cells without data, are NaN. Memory is that of the rows between two strips,
    whatever the height of the scene.

    Tiles are placed in the order of the plan, so that equal tiles give equal bits.
    Strips of some rows are bit for bit those of a mosaic of all rows.
    """

    def __init__(
        self,
        plan: TilePlan,
        *,
        channels: int,
        strip_rows: int,
        blend: Blend = "none",
        rows: range | None = None,
    ) -> None:
        """Start at the northern edge, or further south.

        Args:
            plan: The tiling, or a panel of it that was cut with the same `blend`.
            channels: D, values a cell.
            strip_rows: Rows of a strip; the last one may have fewer.
            blend: How tiles that overlap make one map.
            rows: Rows of cells that are handed out, None for all; they begin at a
                multiple of `strip_rows`, and end at one or where the plan does. What
                tiles hold of other rows is dropped.

        """
        rows = range(plan.height) if rows is None else rows
        assert rows.start % strip_rows == 0, "strips begin at multiples of their rows"
        assert rows.stop % strip_rows == 0 or rows.stop == plan.height, "and end there"
        self._plan = plan
        self._channels = channels
        self._strip_rows = strip_rows
        self._top, self._stop = rows.start, rows.stop
        down = axis_weights(plan.rows, ramp=plan.ramp, blend=blend)
        across = axis_weights(plan.cols, ramp=plan.ramp, blend=blend)
        self._down = _by_core(plan.rows, down)
        self._across = _by_core(plan.cols, across)
        self._blends = blend != "none" and plan.ramp > 0
        self._done = _done_after(plan.rows, down)
        before = [0, *self._done.values()]
        deepest = max(
            own.stop - done for own, done in zip(down, before[:-1], strict=True)
        )
        self._rows = strip_rows + deepest
        self._blank()

    def _blank(self) -> None:
        """Hold nothing."""
        shape = (self._rows, self._plan.width)
        self._features = np.zeros((self._channels, *shape), dtype=np.float32)
        self._weight = np.zeros(shape, dtype=np.float32)
        self._valid = np.zeros(shape, dtype=np.float32)

    def place(self, tiles: Sequence[Tile], features_NDhw: NDArray[np.float32]) -> None:
        """Add what tiles say to the cells they have a weight for.

        Args:
            tiles: Where each tile sits.
            features_NDhw: What the engine made of them, as many.

        """
        left = self._plan.first_col
        right = left + self._plan.width
        for tile, features_Dhw in zip(tiles, features_NDhw, strict=True):
            down, across = self._down[tile.core.row], self._across[tile.core.col]
            top, first = max(down.start, self._top), max(across.start, left)
            last = min(across.stop, right)
            if top >= down.stop or first >= last:
                continue
            place = Window(
                row=top, col=first, height=down.stop - top, width=last - first
            )
            rows, cols = place.seen_from(tile.cells).slices
            here = (
                slice(top - self._top, down.stop - self._top),
                slice(first - left, last - left),
            )
            values_Dhw = features_Dhw[:, rows, cols]
            if not self._blends:
                self._features[:, *here] = values_Dhw
                self._weight[here] = 1
                continue
            weight_hw = np.multiply.outer(
                down.values[top - down.start :],
                across.values[first - across.start : last - across.start],
            )
            self._features[:, *here] += values_Dhw * weight_hw
            self._weight[here] += weight_hw

    def finish(self, swath: Swath) -> Iterator[Strip]:
        """Take a swath as complete and yield the strips that are now finished."""
        self._take_valid(swath)
        ready = min(self._done[swath.row.core_start], self._stop) - self._top
        last = self._top + ready == self._stop
        whole = ready if last else ready - ready % self._strip_rows
        if whole <= 0:
            return
        features_DhW, weight_hW = self._features[:, :whole], self._weight[:whole]
        valid_hW, top = self._valid[:whole], self._top
        if not last:
            self._move_down(whole)
        if self._blends:
            # Where no tile was placed both are 0: NaN, as it should be.
            with np.errstate(invalid="ignore"):
                features_DhW /= weight_hW
        features_DhW[:, (weight_hW == 0) | (valid_hW == 0)] = np.nan
        for row in range(0, whole, self._strip_rows):
            rows = slice(row, min(row + self._strip_rows, whole))
            yield Strip(
                row=top + row,
                col=self._plan.first_col,
                features_DhW=features_DhW[:, rows],
                valid_hW=valid_hW[rows],
            )

    def _take_valid(self, swath: Swath) -> None:
        """Keep the valid shares of the rows of cells a swath answers for."""
        start = max(swath.row.core_start, self._top)
        if start >= swath.row.core_stop:
            return
        kept = Window(
            row=start,
            col=self._plan.first_col,
            height=swath.row.core_stop - start,
            width=self._plan.width,
        ).seen_from(self._plan.swath_cells(swath.row))
        valid_hw = valid_share(swath.present_HW, self._plan.stride_px)
        here = slice(start - self._top, swath.row.core_stop - self._top)
        self._valid[here] = valid_hw[kept.slices]

    def _move_down(self, rows: int) -> None:
        """Forget the first rows; their arrays are someone else's now."""
        features, weight, valid = self._features, self._weight, self._valid
        self._blank()
        self._top += rows
        self._features[:, :-rows] = features[:, rows:]
        self._weight[:-rows] = weight[rows:]
        self._valid[:-rows] = valid[rows:]


def _by_core(
    spans: tuple[Span, ...], weights: tuple[Weights, ...]
) -> dict[int, Weights]:
    """Return the weights by the first cell of the core."""
    return {span.core_start: own for span, own in zip(spans, weights, strict=True)}


def _done_after(rows: tuple[Span, ...], weights: tuple[Weights, ...]) -> dict[int, int]:
    """Return, by the first cell of each row's core, how many rows of cells are done.

    They are the rows that no later row of tiles has a weight for.
    """
    following = [own.start for own in weights[1:]]
    return {
        row.core_start: done
        for row, done in zip(rows, [*following, rows[-1].core_stop], strict=True)
    }
