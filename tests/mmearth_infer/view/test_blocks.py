"""Means of blocks do not depend on how a grid is cut."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmearth_infer.grid.window import Window
from mmearth_infer.view.blocks import block_means, block_sums
from mmearth_infer.write.open_store import open_store
from tests.mmearth_infer.view.stores import Made, Map, features, write_store


def blocks_by_hand(values_Khw: np.ndarray, side: int) -> np.ndarray:
    """Means of the valid cells of each block, one by one."""
    _, height, width = values_Khw.shape
    out = np.full((len(values_Khw), -(-height // side), -(-width // side)), np.nan)
    for i in range(out.shape[1]):
        for j in range(out.shape[2]):
            block = values_Khw[:, i * side : (i + 1) * side, j * side : (j + 1) * side]
            valid = np.isfinite(block).all(axis=0)
            if valid.any():
                out[:, i, j] = block[:, valid].mean(axis=1)
    return out


@given(data=st.data())
def test_sums_of_all_windows_are_those_of_the_grid(data: st.DataObject) -> None:
    """However a grid is cut into windows."""
    height, width, side = (data.draw(st.integers(1, 12)) for _ in range(3))
    chunk = data.draw(st.integers(1, 12))
    values = features(2, height, width, seed=data.draw(st.integers(0, 99)))
    whole = block_sums(values, Window(row=0, col=0, height=height, width=width), side)
    sums, counts = np.zeros_like(whole.sums), np.zeros_like(whole.counts)
    for row in range(0, height, chunk):
        for col in range(0, width, chunk):
            window = Window(row=row, col=col, height=chunk, width=chunk)
            window = window.clipped(height, width)
            part = block_sums(values[(slice(None), *window.slices)], window, side)
            sums[(slice(None), *part.blocks.slices)] += part.sums
            counts[part.blocks.slices] += part.counts
    np.testing.assert_allclose(sums, whole.sums, rtol=1e-12, atol=1e-12)
    np.testing.assert_array_equal(counts, whole.counts)
    assert counts.sum() == np.isfinite(values[0]).sum()


@pytest.mark.parametrize("side", [1, 2, 3, 5, 20])
@pytest.mark.parametrize("chunk", [2, 3, 64])
def test_means_of_a_store(side: int, chunk: int, tmp_path: Path) -> None:
    values = features(4, 11, 13)
    path = write_store(
        tmp_path / "s.zarr", Map(features_Dhw=values), made=Made(chunk_cells=chunk)
    )
    means = block_means(open_store(path), side, 4, lambda read_Dhw: read_Dhw)
    np.testing.assert_allclose(means, blocks_by_hand(values, side), rtol=1e-5)
