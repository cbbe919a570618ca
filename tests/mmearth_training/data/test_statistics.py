"""Statistics in one pass equal numpy's over everything."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmearth_training.data.mmearth import H5Tiles
from mmearth_training.data.statistics import RunningStatistics, compute_statistics
from mmearth_training.modalities import MODALITIES, STORED_BANDS
from tests.helpers.mmearth_data import band_statistics, tile_values, write_dataset


@given(
    seed=st.integers(0, 999),
    cuts=st.lists(st.integers(0, 60), max_size=5),
    offset=st.sampled_from([0.0, 1e7]),
)
def test_any_cut_of_the_data_gives_the_same(
    seed: int, cuts: list[int], offset: float
) -> None:
    rng = np.random.default_rng(seed)
    values = offset + rng.normal(0, 3, (2, 60))
    valid = rng.random((2, 60)) > 0.3
    valid[:, 0] = True
    running = RunningStatistics(2)
    for part in np.split(np.arange(60), sorted(cuts)):
        running.add(values[:, part], valid[:, part])
    kept = np.where(valid, values, np.nan)
    figures = running.figures()
    for name, function in (
        ("mean", np.nanmean),
        ("min", np.nanmin),
        ("max", np.nanmax),
    ):
        np.testing.assert_allclose(figures[name], function(kept, axis=1), rtol=1e-12)
    many = valid.sum(axis=1) > 1
    expected = np.where(many, np.nanstd(kept, axis=1), 1)
    np.testing.assert_allclose(figures["std"], expected, rtol=1e-6)


def test_what_never_varies_and_what_never_is() -> None:
    running = RunningStatistics(2)
    running.add(
        np.array([[5, 5, 9], [1, 2, 3]]), np.array([[1, 1, 0], [0, 0, 0]], bool)
    )
    figures = running.figures()
    assert (figures["mean"][0], figures["std"][0]) == (5, 1)
    assert np.isnan([figures[name][1] for name in ("mean", "std", "min", "max")]).all()


@pytest.mark.parametrize("rows", [range(9), [0, 2, 8]])
def test_a_file_gives_what_numpy_gives(tmp_path: Path, rows: list[int]) -> None:
    """Over the rows asked for alone, without missing values, a level at a time."""
    folder = write_dataset(tmp_path / "tiny", tiles=9, tile_px=64)
    tiles = H5Tiles(folder / "tiny.h5")
    found = compute_statistics(tiles, list(rows))
    tiles.close()
    levels = [("l2a", "l1c")[row % 2] for row in range(9)]
    values = tile_values(9, 64, levels, seed=0)
    expected = band_statistics(
        {name: array[list(rows)] for name, array in values.items()},
        [levels[row] for row in rows],
    )
    assert set(found) == set(expected)
    for key, figures in expected.items():
        for name in ("mean", "std"):
            np.testing.assert_allclose(found[key][name], figures[name], rtol=1e-6)
    if "sentinel2_l2a" in found:
        assert np.isnan(found["sentinel2_l2a"]["mean"][STORED_BANDS.index("B10")])
    assert not {m for m in found if m in MODALITIES and MODALITIES[m].one_hot}
