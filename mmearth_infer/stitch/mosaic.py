"""Lays the cores of tiles side by side and hands out rows that are finished."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from mmearth_infer.grid.validity import valid_share
from mmearth_infer.grid.window import Window
from mmearth_infer.seams import Strip

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from mmearth_infer.grid.plan import TilePlan
    from mmearth_infer.seams import Batch, Swath


class Mosaic:
    """The rows of the grid that are not written yet.

    Cells no tile was computed for, and cells without data, are NaN. Memory is that
    of the rows between two strips, whatever the height of the scene.
    """

    def __init__(self, plan: TilePlan, *, channels: int, strip_rows: int) -> None:
        """Start at the northern edge.

        Args:
            plan: The tiling, or a panel of it.
            channels: D, values a cell.
            strip_rows: Rows of a strip; the last one may have fewer.

        """
        self._plan = plan
        self._strip_rows = strip_rows
        tallest = max(row.core_stop - row.core_start for row in plan.rows)
        self._rows = strip_rows + tallest
        self._channels = channels
        self._top = 0
        self._features, self._valid = self._blank()

    @property
    def _frame(self) -> Window:
        """The cells that are held."""
        return Window(
            row=self._top,
            col=self._plan.first_col,
            height=self._rows,
            width=self._plan.width,
        )

    def _blank(self) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        shape = (self._channels, self._rows, self._plan.width)
        features_DhW = np.full(shape, np.nan, dtype=np.float32)
        return features_DhW, np.zeros(shape[1:], dtype=np.float32)

    def place(self, batch: Batch, features_NDhw: NDArray[np.float32]) -> None:
        """Copy the core of each tile to where it belongs."""
        for tile, features_Dhw in zip(batch.tiles, features_NDhw, strict=True):
            rows, cols = tile.core.seen_from(tile.cells).slices
            place = tile.core.seen_from(self._frame)
            down, across = place.slices
            self._features[:, down, across] = features_Dhw[:, rows, cols]

    def finish(self, swath: Swath) -> Iterator[Strip]:
        """Take a swath as complete and yield the strips that are now finished."""
        start, stop = swath.row.core_start, swath.row.core_stop
        here = slice(start - self._top, stop - self._top)
        kept = Window(
            row=start,
            col=self._plan.first_col,
            height=stop - start,
            width=self._plan.width,
        ).seen_from(self._plan.swath_cells(swath.row))
        valid_hw = valid_share(swath.present_HW, self._plan.stride_px)
        valid_hW = valid_hw[kept.slices]
        self._valid[here] = valid_hW
        self._features[:, here][:, valid_hW == 0] = np.nan
        last = stop == self._plan.height
        ready = stop - self._top
        whole = ready if last else ready - ready % self._strip_rows
        if not whole:
            return
        features, valid, top = self._features, self._valid, self._top
        self._top += whole
        if not last:
            self._features, self._valid = self._blank()
            self._features[:, : ready - whole] = features[:, whole:ready]
            self._valid[: ready - whole] = valid[whole:ready]
        for row in range(0, whole, self._strip_rows):
            rows = slice(row, min(row + self._strip_rows, whole))
            yield Strip(
                row=top + row,
                col=self._plan.first_col,
                features_DhW=features[:, rows],
                valid_hW=valid[rows],
            )
