"""The laws of bringing bands to the 10 m grid."""

from collections.abc import Callable

import numpy as np
import pytest
from affine import Affine
from hypothesis import given, settings
from hypothesis import strategies as st
from rasterio.crs import CRS
from rasterio.enums import Resampling
from rasterio.io import MemoryFile
from rasterio.vrt import WarpedVRT

from mmearth_infer.errors import SceneError
from mmearth_infer.grid.geobox import GeoBox
from mmearth_infer.grid.window import Window
from mmearth_infer.read.resample import Axis, Fit, bilinear, fit_grid, nearest
from tests.helpers.scenes import UTM

UTM33 = CRS.from_epsg(32633)
SIZES = st.integers(1, 20)


def box(
    height: int, width: int, side: float = 1, *, east: float = 0, south: float = 0
) -> GeoBox:
    """Return a grid, its pixels and its shift counted in those of 10 m."""
    transform = UTM @ Affine.translation(east, south) @ Affine.scale(side)
    return GeoBox(crs=UTM33, transform=transform, height=height, width=width)


@st.composite
def bands(draw: st.DrawFn) -> tuple[np.ndarray, Fit]:
    """Draw a band with holes, many equal neighbours, and where it lies."""
    factor = draw(st.sampled_from([1, 2, 3, 6]))
    shifts = st.one_of(st.just(0), st.integers(1 - 4 * factor, 4 * factor - 1))
    height, width = draw(SIZES), draw(SIZES)
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    largest = draw(st.sampled_from([2, 10, 10_000, 65_535]))
    native = rng.integers(1, largest + 1, (height, width), dtype=np.uint16)
    native[rng.random(native.shape) < draw(st.sampled_from([0, 0.2, 0.9]))] = 0
    rows = Axis(factor=factor, shift_quarters=draw(shifts), count=height)
    cols = Axis(factor=factor, shift_quarters=draw(shifts), count=width)
    return native, Fit(rows=rows, cols=cols, covers=False)


def fine(
    native: np.ndarray,
    fit: Fit,
    window: Window,
    how: Callable[..., np.ndarray] = bilinear,
) -> np.ndarray:
    top, bottom = fit.rows.span(window.row, window.height)
    left, right = fit.cols.span(window.col, window.width)
    return how(np.ascontiguousarray(native[top:bottom, left:right]), fit, window)


def whole(fit: Fit) -> Window:
    factor = fit.rows.factor
    height, width = factor * fit.rows.count, factor * fit.cols.count
    return Window(row=0, col=0, height=height, width=width)


@settings(deadline=None)
@given(bands(), st.data())
def test_a_pixel_does_not_depend_on_the_window_it_is_read_through(
    band: tuple[np.ndarray, Fit], data: st.DataObject
) -> None:
    """`read(window) == read(whole)[window]`, to the bit, for both ways."""
    native, fit = band
    everything = whole(fit)
    for how in (bilinear, nearest):
        reference = fine(native, fit, everything, how)
        for _ in range(3):
            row = data.draw(st.integers(0, everything.height - 1))
            col = data.draw(st.integers(0, everything.width - 1))
            window = Window(
                row=row,
                col=col,
                height=data.draw(st.integers(1, everything.height - row)),
                width=data.draw(st.integers(1, everything.width - col)),
            )
            part = fine(native, fit, window, how)
            np.testing.assert_array_equal(part, reference[window.slices])


@settings(deadline=None)
@given(bands())
def test_nodata_stays_and_does_not_bleed(band: tuple[np.ndarray, Fit]) -> None:
    """0 exactly where the band's pixel is 0, or none; else between its neighbours."""
    native, fit = band
    window = whole(fit)
    dn = fine(native, fit, window)
    own = fine(native, fit, window, nearest)
    np.testing.assert_array_equal(dn == 0, own == 0)
    padded = np.pad(native, 1).astype(int)
    around = np.lib.stride_tricks.sliding_window_view(padded, (3, 3))
    low = np.where(around == 0, 2**16, around).min((2, 3)).astype(np.int64)
    high = around.max((2, 3)).astype(np.int64)
    valid = dn != 0
    assert (dn >= fine(low, fit, window, nearest))[valid].all()
    assert (dn <= fine(high, fit, window, nearest))[valid].all()


@settings(deadline=None)
@given(bands(), st.integers(0, 1000))
def test_a_constant_added_is_a_constant_added(
    band: tuple[np.ndarray, Fit], more: int
) -> None:
    """Resampling is linear, so that an offset before or after it is the same."""
    native, fit = band
    native = np.minimum(native, 60_000)
    raised = np.where(native == 0, 0, native + more).astype(np.uint16)
    dn = fine(native, fit, whole(fit))
    expected = np.where(dn == 0, 0, dn + more)
    np.testing.assert_array_equal(fine(raised, fit, whole(fit)), expected)


@pytest.mark.parametrize("factor", [2, 6])
def test_it_is_what_gdal_warps(factor: int) -> None:
    """The oracle: a WarpedVRT of the whole band; halves may round the other way."""
    native = np.random.default_rng(0).integers(1, 9000, (30, 40), dtype=np.uint16)
    coarse = box(30, 40, factor)
    fit = fit_grid(box(30 * factor, 40 * factor), coarse, name="b", reference="r")
    with MemoryFile() as memory:
        with memory.open(
            driver="GTiff",
            height=30,
            width=40,
            count=1,
            dtype="uint16",
            crs=UTM33,
            transform=coarse.transform,
        ) as file:
            file.write(native, 1)
        with (
            memory.open() as file,
            WarpedVRT(
                file,
                crs=UTM33,
                transform=UTM,
                height=30 * factor,
                width=40 * factor,
                resampling=Resampling.bilinear,
            ) as warped,
        ):
            oracle = warped.read(1).astype(int)
    dn = fine(native, fit, whole(fit)).astype(int)
    assert np.abs(dn - oracle).max() <= 1
    assert (dn != oracle).mean() < 0.2


def test_grids_that_fit() -> None:
    """Native grids, edges that miss by less than a pixel, shifts by half a pixel."""
    fit = fit_grid(box(1068, 1068), box(178, 178, 6), name="b", reference="r")
    assert fit.covers
    assert fit.rows == Axis(factor=6, shift_quarters=0, count=178)
    fit = fit_grid(box(1000, 1000), box(167, 167, 6), name="b", reference="r")
    assert fit.covers
    fit = fit_grid(box(1000, 1000), box(166, 166, 6), name="b", reference="r")
    assert not fit.covers
    coarse = box(132, 132, 2, east=-0.5, south=-0.5)
    fit = fit_grid(box(264, 264), coarse, name="b", reference="r")
    assert fit.cols.shift_quarters == -2
    assert fit_grid(box(5, 5), box(5, 5), name="b", reference="r").same


@pytest.mark.parametrize(
    ("band", "message"),
    [
        (box(100, 100, 1.5), "a pixel of `b` is 1.5 of `r`, not a whole number"),
        (box(10, 10, 10), "is 10 of `r`"),
        (box(50, 40, 2), "`b` and `r` cover different ground"),
        (box(50, 50, 2, east=2), "edges lie up to 2 pixels of the finer grid apart"),
        (
            GeoBox(crs=CRS.from_epsg(32634), transform=UTM, height=100, width=100),
            "`b` is in EPSG:32634, `r` in EPSG:32633",
        ),
    ],
)
def test_grids_that_do_not(band: GeoBox, message: str) -> None:
    with pytest.raises(SceneError, match=message) as error:
        fit_grid(box(100, 100), band, name="b", reference="r")
    assert error.value.hint
