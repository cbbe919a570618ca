"""The class of a cell is that of most of its points."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from mmearth_infer.probe.codes import NONE, majority


@given(
    arrays(np.int32, (6, 9), elements=st.sampled_from([NONE, -1, 0, 7])),
)
def test_no_other_code_has_as_many_points(codes_HW: np.ndarray) -> None:
    """And the share counts all points, those without a label included."""
    code_hw, share_hw = majority(codes_HW, 3)
    for row, col in np.ndindex(2, 3):
        cell = codes_HW[3 * row : 3 * row + 3, 3 * col : 3 * col + 3]
        counts = {code: int((cell == code).sum()) for code in (-1, 0, 7)}
        most = max(counts.values())
        winners = [code for code, count in counts.items() if count == most]
        if most == 0 or len(winners) > 1:
            assert code_hw[row, col] == NONE
            assert share_hw[row, col] == 0
        else:
            assert [code_hw[row, col]] == winners
            assert share_hw[row, col] == pytest.approx(most / 9)
