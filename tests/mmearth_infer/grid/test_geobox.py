"""Where cells lie."""

import pytest
from affine import Affine
from hypothesis import given
from hypothesis import strategies as st
from rasterio.crs import CRS

from mmearth_infer.grid.geobox import GeoBox


def utm_box(height: int = 100, width: int = 70) -> GeoBox:
    return GeoBox(
        crs=CRS.from_epsg(32633),
        transform=Affine(10, 0, 600_000, 0, -10, 5_300_000),
        height=height,
        width=width,
    )


@given(st.integers(1, 500), st.integers(1, 500), st.sampled_from([1, 2, 4, 8, 16, 32]))
def test_cells_share_the_outer_corner(height: int, width: int, stride: int) -> None:
    """`transform.c == bounds.left`, `transform.f == bounds.top`, centres half a cell
    in, and every pixel covered.
    """
    box = utm_box(height, width)
    cells = box.cells(stride)
    left, bottom, right, top = cells.bounds
    assert (cells.transform.c, cells.transform.f) == (left, top) == (600_000, 5_300_000)
    assert cells.x[0] == cells.transform.c + cells.transform.a / 2
    assert cells.y[0] == cells.transform.f + cells.transform.e / 2
    assert cells.y[-1] - bottom == pytest.approx(5 * stride)
    assert right >= box.bounds[2]
    assert bottom <= box.bounds[1]
    assert right - box.bounds[2] < 10 * stride


def test_pixels_in_metres() -> None:
    assert utm_box().pixel_m() == (10, 10)
    degrees = GeoBox(
        crs=CRS.from_epsg(4326),
        transform=Affine(9e-5, 0, 10, 0, -9e-5, 60),
        height=10,
        width=10,
    )
    high, wide = degrees.pixel_m()
    assert high == pytest.approx(10, rel=0.01)
    assert wide == pytest.approx(5, rel=0.01)
    feet = GeoBox(
        crs=CRS.from_epsg(2263),
        transform=Affine(32.8084, 0, 0, 0, -32.8084, 0),
        height=1,
        width=1,
    )
    assert feet.pixel_m() == pytest.approx((10, 10), rel=1e-4)
