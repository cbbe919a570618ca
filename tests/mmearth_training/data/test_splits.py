"""Splits by ground: nothing held out is seen in training."""

from itertools import combinations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmearth_infer.errors import DataError
from mmearth_infer.grid.window import Window
from mmearth_training.data.splits import (
    Shares,
    cut_blocks,
    cut_windows,
    share_out,
    split_of,
)


def overlap(one: Window, other: Window) -> bool:
    down = one.row < other.row + other.height and other.row < one.row + one.height
    across = one.col < other.col + other.width and other.col < one.col + one.width
    return down and across


@given(
    height=st.integers(8, 90),
    width=st.integers(8, 90),
    stride=st.integers(3, 12),
    seed=st.integers(0, 99),
)
def test_no_tile_shares_a_pixel_with_a_tile_of_another_split(
    height: int, width: int, stride: int, seed: int
) -> None:
    blocks = cut_blocks(height, width, tile_px=8, stride_px=stride)
    splits = share_out(list(blocks), Shares(val=0.2, test=0.2), seed=seed)
    by_split: dict[str | None, list[Window]] = {}
    for window in cut_windows(height, width, tile_px=8, stride_px=stride):
        by_split.setdefault(split_of(window, blocks, splits), []).append(window)
    straddling = by_split.pop(None, [])
    for one, other in combinations(by_split.values(), 2):
        assert not any(overlap(a, b) for a in one for b in other)
    assert set(by_split) == set(splits.values())
    assert stride < 8 or not straddling


@given(
    length=st.integers(8, 200), tile_px=st.integers(8, 16), stride=st.integers(1, 40)
)
def test_every_block_holds_a_tile(length: int, tile_px: int, stride: int) -> None:
    """And a scene of at least four tiles and strides a side has several blocks."""
    blocks = cut_blocks(length, tile_px, tile_px=tile_px, stride_px=stride)
    windows = cut_windows(length, tile_px, tile_px=tile_px, stride_px=stride)
    if length >= tile_px:
        touched = [list(blocks.touched(window)) for window in windows]
        assert {one[0] for one in touched if len(one) == 1} == set(blocks)
    assert len(list(blocks)) > 1 or length < 4 * max(tile_px, stride)


@given(
    total=st.integers(1, 200),
    val=st.floats(0, 0.4),
    test=st.floats(0, 0.4),
    seed=st.integers(0, 99),
)
def test_shares_are_kept_and_train_is_never_empty(
    total: int, val: float, test: float, seed: int
) -> None:
    groups = list(range(total))
    splits = share_out(groups, Shares(val=val, test=test), seed=seed)
    assert splits == share_out(groups, Shares(val=val, test=test), seed=seed)
    assert set(splits) == set(groups)
    counts = {
        name: list(splits.values()).count(name) for name in ("train", "val", "test")
    }
    assert counts["train"] >= 1
    for name, share in (("val", val), ("test", test)):
        assert counts[name] <= max(share * total + 0.5, 1)
        if total >= 3:
            assert (counts[name] > 0) == (share > 0)


@pytest.mark.parametrize(("val", "test"), [(0.5, 0.5), (-0.1, 0), (0, float("nan"))])
def test_shares_that_leave_nothing(val: float, test: float) -> None:
    with pytest.raises(DataError, match="cannot be held out") as caught:
        Shares(val=val, test=test)
    assert "below 1" in (caught.value.hint or "")
