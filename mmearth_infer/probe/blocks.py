"""Blocks of cells in space: what cross-validation holds out together.

Shapes: S cells.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from mmearth_infer.grid.geobox import GeoBox

SIDES: Final = (64, 32, 16, 8, 4, 2, 1)
"""Sides of blocks in cells that are tried, the largest first."""


def blocks_of(
    boxes: Sequence[GeoBox],
    store_S: NDArray[np.int32],
    row_S: NDArray[np.int32],
    col_S: NDArray[np.int32],
    side: int,
) -> NDArray[np.int64]:
    """Return the number of the block that each cell is in.

    Blocks are squares of the CRS, not of a store: a place is in one block, whichever
    store of that CRS it is seen in.

    Args:
        boxes: Grid of each store.
        store_S: Store that each cell is of.
        row_S: Its row.
        col_S: Its column.
        side: Side of a block, in cells of the first store of each CRS.

    """
    systems: list[GeoBox] = []
    keys_S3 = np.zeros((len(store_S), 3), dtype=np.int64)
    for number, box in enumerate(boxes):
        alike = [n for n, other in enumerate(systems) if other.crs == box.crs]
        if not alike:
            systems.append(box)
        system = alike[0] if alike else len(systems) - 1
        wide, high = (
            side * abs(step)
            for step in (systems[system].transform.a, systems[system].transform.e)
        )
        own_S = store_S == number
        x_S, y_S = box.x[col_S[own_S]], box.y[row_S[own_S]]
        keys_S3[own_S, 0] = system
        keys_S3[own_S, 1] = np.floor(x_S / wide)
        keys_S3[own_S, 2] = np.floor(y_S / high)
    _, block_S = np.unique(keys_S3, axis=0, return_inverse=True)
    return block_S.reshape(-1).astype(np.int64)


def blocks_a_class(
    class_S: NDArray[np.int64], block_S: NDArray[np.int64], classes: int
) -> NDArray[np.int64]:
    """Return in how many blocks each class is."""
    pairs = np.unique(np.stack([class_S, block_S], axis=1), axis=0)
    return np.bincount(pairs[:, 0], minlength=classes)
