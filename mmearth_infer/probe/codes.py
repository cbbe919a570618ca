"""The class of a cell, from the labels of points within it.

Shapes: H W points of a fine grid, h w cells.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

NONE: Final = -(2**31)
"""Code of a point without a label, or with labels that contradict each other."""


def majority(
    codes_HW: NDArray[np.int32], fine: int
) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
    """Return the code that most points of each cell have, and its share of them.

    No code has as many points as another: where two have, the cell has `NONE`. The
    share counts all points of the cell, those without a label included.

    Args:
        codes_HW: Codes, `NONE` where there is no label.
        fine: Points a side of a cell; H and W are multiples of it.

    Returns:
        `codes_hw` and `share_hw`, 0 for `NONE`.

    """
    height, width = (side // fine for side in codes_HW.shape)
    best_hw = np.zeros((height, width), dtype=np.int64)
    code_hw = np.full((height, width), NONE, dtype=np.int32)
    for code in np.unique(codes_HW):
        if code == NONE:
            continue
        here = (codes_HW == code).reshape(height, fine, width, fine)
        count_hw = here.sum(axis=(1, 3))
        code_hw[(count_hw == best_hw) & (count_hw > 0)] = NONE
        code_hw[count_hw > best_hw] = code
        best_hw = np.maximum(best_hw, count_hw)
    share_hw = np.where(code_hw == NONE, 0, best_hw) / np.float32(fine**2)
    return code_hw, share_hw.astype(np.float32)
