"""Which pixels and cells hold data."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray


def present(
    dn_CHW: NDArray[np.uint16], wanted_HW: NDArray[np.bool_] | None = None
) -> NDArray[np.bool_]:
    """Return the pixels that hold data in any band and are wanted.

    Args:
        dn_CHW: Digital numbers, 0 where there are none.
        wanted_HW: Pixels that are asked for; None for all.

    """
    found: NDArray[np.bool_] = dn_CHW.max(axis=0) > 0
    return found if wanted_HW is None else found & wanted_HW


def valid_share(present_HW: NDArray[np.bool_], stride_px: int) -> NDArray[np.float32]:
    """Return the share of each cell's pixels that are present.

    Args:
        present_HW: Pixels that hold data; H and W multiples of the stride.
        stride_px: Pixels a side of a cell.

    Returns:
        `valid_hw`, 0 to 1.

    """
    height, width = present_HW.shape
    cells = present_HW.reshape(height // stride_px, stride_px, -1, stride_px)
    assert cells.shape[2] * stride_px == width
    share: NDArray[np.float32] = cells.mean(axis=(1, 3), dtype=np.float32)
    return share
