"""Stored values to what is learnt, each by hand."""

from __future__ import annotations

import numpy as np
import pytest

from mmearth_infer.contract.normalize import Statistics
from mmearth_training.data.standardise import Standardiser

NAN = np.nan
STORED_S2 = [100, 200, 300, 400, 500, 600, 700, 850, 800, 900, 1000, 1100, 0]
"""B1 to B7, B8A, B8, B9 to B12: 100 times the number, 850 for B8A; B12 missing."""


def standardiser() -> Standardiser:
    two = Statistics(mean=(10.0, 1.0), std=(2.0, 0.5))
    circle = Statistics(mean=(0.5, 0.0), std=(0.5, 2.0))
    return Standardiser(
        bands=("B8", "B8A", "B12"),
        optical={
            "l1c": Statistics(mean=(700.0, 750.0, 0.0), std=(100.0, 50.0, 1.0)),
            "l2a": Statistics(mean=(900.0, 950.0, 0.0), std=(50.0, 20.0, 1.0)),
        },
        others={
            "sentinel1": Statistics(mean=(-10.0,) * 8, std=(2.0,) * 8),
            "aster": two,
            "canopy_height_eth": two,
            "era5": Statistics(mean=(280.0,) * 12, std=(10.0,) * 12),
            "lat": circle,
            "lon": circle,
            "month": circle,
        },
    )


def test_sentinel2_takes_bands_by_name_and_statistics_by_level() -> None:
    stored = np.array([STORED_S2, STORED_S2], np.uint16)[:, :, None, None]
    found = standardiser()("sentinel2", stored, ["l1c", "l2a"])[:, :, 0, 0]
    np.testing.assert_array_equal(found, [[1.0, 2.0, NAN], [-2.0, -5.0, NAN]])


@pytest.mark.parametrize(
    ("name", "dtype", "stored", "expected"),
    [
        (
            "sentinel1",
            "float32",
            [-12, -8, -np.inf, NAN, -10, -6, -14, 0],
            [-1, 1, NAN, NAN, 0, 2, -2, 5],
        ),
        ("aster", "int16", [14, 2], [2, 2]),
        ("aster", "int16", [-32768, 0], [NAN, -2]),
        ("canopy_height_eth", "int8", [20, 2], [5, 2]),
        ("canopy_height_eth", "int8", [127, -1], [NAN, NAN]),
        ("era5", "float32", [290, NAN, *[280] * 10], [1, NAN, *[0] * 10]),
        ("lat", "float32", [1.0, -1.0], [1.0, -0.5]),
        ("month", "float32", [-np.inf, 1.0], [NAN, 0.5]),
    ],
)
def test_quantities(
    name: str, dtype: str, stored: list[float], expected: list[float]
) -> None:
    found = standardiser()(name, np.array([stored], dtype), ["l2a"])
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found[0], np.array(expected, np.float32))


@pytest.mark.parametrize(
    ("name", "stored", "expected"),
    [
        ("dynamic_world", [0, 1, 2, 9, 10, 255], [-1, 0, 1, 8, -1, -1]),
        (
            "esa_worldcover",
            [10, 20, 30, 40, 50, 60, 70, 80, 90, 95, 100, 0, 255, 15],
            [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, -1, -1, -1],
        ),
    ],
)
def test_classes_of_pixels(name: str, stored: list[int], expected: list[int]) -> None:
    found = standardiser()(name, np.array([[stored]], np.uint8), ["l2a"])
    assert found.dtype == np.int64
    assert found[0, 0].tolist() == expected


@pytest.mark.parametrize(
    ("hot", "expected"), [([3], 3), ([0], 0), ([13], 13), ([], -1), ([2, 5], -1)]
)
def test_one_hot_rows(hot: list[int], expected: int) -> None:
    stored = np.zeros((1, 14), np.uint8)
    stored[0, hot] = 1
    assert standardiser()("biome", stored, ["l2a"]).tolist() == [expected]


def test_a_row_of_nodata_has_no_class() -> None:
    stored = np.full((1, 846), 65535, np.uint16)
    assert standardiser()("eco_region", stored, ["l1c"]).tolist() == [-1]
