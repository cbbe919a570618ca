"""Means of square blocks of cells, chunk by chunk.

Shapes: K values a cell, h w cells of a window, i j blocks.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from mmearth_infer.grid.window import Window

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from mmearth_infer.write.open_store import Embedding


@dataclass(frozen=True, slots=True, kw_only=True)
class BlockSums:
    """What one window of cells adds to the blocks that it touches."""

    blocks: Window
    """Which blocks, on the grid of blocks."""

    sums: NDArray[np.float64]
    """`(K, i, j)`, sum of the valid cells of each block that lie in the window."""

    counts: NDArray[np.int64]
    """`(i, j)`, number of them."""


def block_sums(values_Khw: NDArray[Any], window: Window, side: int) -> BlockSums:
    """Add up the valid cells of a window by blocks of `side` x `side` cells.

    Blocks are aligned to the grid's corner, and a cell is valid if all its values are
    finite. However a grid is cut into windows, the sums of all windows together are
    those of the grid.
    """
    valid_hw = np.isfinite(values_Khw).all(axis=0)
    filled_Khw = np.where(valid_hw, values_Khw, 0).astype(np.float64)
    rows, cols = (
        _starts(window.row, window.height, side),
        _starts(window.col, window.width, side),
    )
    by_rows = np.add.reduceat(filled_Khw, rows, axis=1)
    valid_by_rows = np.add.reduceat(valid_hw.astype(np.int64), rows, axis=0)
    return BlockSums(
        blocks=Window(
            row=window.row // side,
            col=window.col // side,
            height=len(rows),
            width=len(cols),
        ),
        sums=np.add.reduceat(by_rows, cols, axis=2),
        counts=np.add.reduceat(valid_by_rows, cols, axis=1),
    )


def _starts(first: int, count: int, side: int) -> NDArray[np.int64]:
    """Return where new blocks start among `count` cells from `first` on."""
    next_block = side - first % side
    return np.array([0, *range(next_block, count, side)], dtype=np.int64)


def block_means(
    embedding: Embedding,
    side: int,
    values: int,
    of: Callable[[NDArray[np.float32]], NDArray[np.float32]],
) -> NDArray[np.float32]:
    """Return `means_Kij` over the valid cells of each block, NaN where there is none.

    Held at a time: a chunk, and the blocks.

    Args:
        embedding: What is read.
        side: Cells a side of a block.
        values: K, values that `of` gives for each cell.
        of: From `features_Dhw` to `values_Khw`, NaN where there is no data.

    """
    box = embedding.geobox.cells(side)
    total_Kij = np.zeros((values, box.height, box.width), dtype=np.float32)
    count_ij = np.zeros((box.height, box.width), dtype=np.uint32)
    for window in embedding.chunks():
        part = block_sums(of(embedding.read(window)), window, side)
        total_Kij[(slice(None), *part.blocks.slices)] += part.sums
        count_ij[part.blocks.slices] += part.counts.astype(np.uint32)
    total_Kij[:, count_ij == 0] = np.nan
    total_Kij /= np.maximum(count_ij, 1)
    return total_Kij
