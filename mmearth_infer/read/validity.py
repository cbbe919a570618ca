"""Which pixels and cells hold data."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray


def valid_share(dn_CHW: NDArray[np.uint16], stride_px: int) -> NDArray[np.float32]:
    """Return the share of each cell's pixels that hold data in any band.

    Args:
        dn_CHW: Digital numbers, 0 where there are none; H and W multiples of the
            stride.
        stride_px: Pixels a side of a cell.

    Returns:
        `valid_hw`, 0 to 1.

    """
    _, height, width = dn_CHW.shape
    valid_HW = dn_CHW.max(axis=0) > 0
    cells = valid_HW.reshape(height // stride_px, stride_px, -1, stride_px)
    assert cells.shape[2] * stride_px == width
    share: NDArray[np.float32] = cells.mean(axis=(1, 3), dtype=np.float32)
    return share
