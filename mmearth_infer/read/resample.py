"""From a band's own grid to the 10 m grid it covers, bilinear through GDAL.

The law: what a pixel becomes does not depend on the window it is read through.
GDAL's numbers differ between windows by some 1e-7, which decides halves; grids are
therefore related in quarters of a pixel, where halves are exact in float32 and all
else is far enough from them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from affine import Affine
from rasterio.crs import CRS
from rasterio.enums import Resampling
from rasterio.warp import reproject

from mmearth_infer.errors import SceneError
from mmearth_infer.grid.window import Window

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from mmearth_infer.grid.geobox import GeoBox

MAX_FACTOR: Final = 6
"""60 m over 10 m: the coarsest band."""

_PART_PX: Final = 2**22
_QUARTERS: Final = 4
_RATIO_TOLERANCE: Final = 1e-3
_BESIDE_PX: Final = 65_536.0
"""Where windows lie when GDAL sees them: away from 0, which it takes for no place."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Axis:
    """How the pixels of a band lie along the rows, or columns, of a finer grid."""

    factor: int
    """Fine pixels to a pixel of the band."""

    shift_quarters: int
    """First edge of the band from that of the fine grid, in quarters of a pixel."""

    count: int
    """Pixels of the band."""

    def nearest(self, start: int, size: int) -> NDArray[np.intp]:
        """Return the band's pixel that each fine pixel's centre lies in.

        Outside the band the number is below 0, or `count` and more.
        """
        centres = _QUARTERS * np.arange(start, start + size) + _QUARTERS // 2
        return (centres - self.shift_quarters) // (_QUARTERS * self.factor)

    def span(self, start: int, size: int) -> tuple[int, int]:
        """Return first and last + 1 of the band's pixels that fine pixels see.

        One more on each side than bilinear weights reach; equal if they see none.
        """
        ends = self.nearest(start, size)[[0, -1]]
        low, high = max(int(ends[0]) - 2, 0), min(int(ends[1]) + 3, self.count)
        return low, max(low, high)


@dataclass(frozen=True, slots=True, kw_only=True)
class Fit:
    """How a band's grid lies on the 10 m grid."""

    rows: Axis
    """From north to south."""

    cols: Axis
    """From west to east."""

    covers: bool
    """Whether every fine pixel's centre lies in the band."""

    @property
    def same(self) -> bool:
        """Whether both are one grid."""
        return self.covers and all(
            axis.factor == 1 and axis.shift_quarters == 0 for axis in self._axes
        )

    @property
    def _axes(self) -> tuple[Axis, Axis]:
        return self.rows, self.cols


def fit_grid(fine: GeoBox, band: GeoBox, *, name: str, reference: str) -> Fit:
    """Relate a band's grid to the fine one.

    Its edges may miss those of the fine grid by less than a pixel of its own, as
    where 60 m do not divide the scene's side. The shift is rounded to a quarter of
    a fine pixel.

    Args:
        fine: The 10 m grid.
        band: The band's grid.
        name: Name of the band's file, for messages.
        reference: Name of the file with the fine grid.

    Raises:
        SceneError: If CRS or extent differ, or pixels that do not divide.

    """
    if band.crs != fine.crs:
        raise SceneError(
            f"`{name}` is in {_crs_name(band)}, `{reference}` in {_crs_name(fine)}",
            hint="give bands of one product; warp them to one CRS with `rio warp`",
        )
    (left, _, _, top), (fine_left, _, _, fine_top) = band.bounds, fine.bounds
    rows = _axis(
        band.transform.e / fine.transform.e,
        (top - fine_top) / fine.transform.e,
        band.height,
    )
    cols = _axis(
        band.transform.a / fine.transform.a,
        (left - fine_left) / fine.transform.a,
        band.width,
    )
    if rows is None or cols is None:
        ratio = band.transform.a / fine.transform.a
        raise SceneError(
            f"a pixel of `{name}` is {ratio:.4g} of `{reference}`, "
            f"not a whole number from 1 to {MAX_FACTOR}",
            hint="give bands at their native 10, 20 and 60 m, or all on one grid",
        )
    for axis, size in ((rows, fine.height), (cols, fine.width)):
        ends = axis.shift_quarters, axis.shift_quarters + 4 * axis.factor * axis.count
        off = max(abs(ends[0]), abs(ends[1] - _QUARTERS * size)) / _QUARTERS
        if off >= axis.factor:
            raise SceneError(
                f"`{name}` and `{reference}` cover different ground: their edges lie "
                f"up to {off:.4g} pixels of the finer grid apart",
                hint="give bands of one product, or cut all to one extent",
            )
    return Fit(
        rows=rows,
        cols=cols,
        covers=_covers(rows, fine.height) and _covers(cols, fine.width),
    )


def _axis(ratio: float, shift_px: float, count: int) -> Axis | None:
    """Return how one axis fits, None if pixels do not divide."""
    factor = round(ratio)
    drift = abs(ratio - factor) * count
    if not 1 <= factor <= MAX_FACTOR or drift > 1 / _QUARTERS:
        return None
    quarters = round(min(max(shift_px, -1e9), 1e9) * _QUARTERS)
    return Axis(factor=factor, shift_quarters=quarters, count=count)


def _covers(axis: Axis, size: int) -> bool:
    """Tell whether the band reaches from the first fine centre to the last."""
    ends = axis.nearest(0, size)[[0, -1]]
    return bool(ends[0] >= 0 and ends[1] < axis.count)


def _crs_name(box: GeoBox) -> str:
    return str(box.crs.to_string())[:40]


def nearest(native: NDArray[Any], fit: Fit, window: Window) -> NDArray[Any]:
    """Return fine pixels, each that of the band it lies in, 0 outside the band.

    Args:
        native: `HW`, the band's pixels in the spans of the window.
        fit: How the grids lie.
        window: Fine pixels.

    """
    picked, inside = [], []
    for axis, start, size in (
        (fit.rows, window.row, window.height),
        (fit.cols, window.col, window.width),
    ):
        index = axis.nearest(start, size)
        low, high = axis.span(start, size)
        inside.append((index >= 0) & (index < axis.count))
        picked.append(np.clip(index, low, max(high - 1, low)) - low)
    if native.size == 0:
        return np.zeros((window.height, window.width), dtype=native.dtype)
    fine: NDArray[Any] = native.take(picked[0], axis=0).take(picked[1], axis=1)
    fine[~inside[0]] = 0
    fine[:, ~inside[1]] = 0
    return fine


def bilinear(
    native_HW: NDArray[np.uint16], fit: Fit, window: Window, *, threads: int = 1
) -> NDArray[np.uint16]:
    """Return fine pixels between the centres of the band's own.

    A fine pixel is 0, nodata, exactly where the band's pixel that it lies in is;
    no other pixel takes anything from nodata, weights of the rest are raised.

    One thread calls it at a time: rasterio mutes a warning meanwhile, for all threads.

    Args:
        native_HW: The band's digital numbers in the spans of the window.
        fit: How the grids lie.
        window: Fine pixels.
        threads: Threads GDAL computes with.

    """
    fine_HW = np.zeros((window.height, window.width), dtype=np.uint16)
    first, _ = fit.rows.span(window.row, window.height)
    rows = max(1, _PART_PX // window.width)
    for start in range(0, window.height, rows):  # so that floats stay small
        part = Window(
            row=window.row + start,
            col=window.col,
            height=min(rows, window.height - start),
            width=window.width,
        )
        top, bottom = fit.rows.span(part.row, part.height)
        seen_HW = native_HW[top - first : bottom - first]
        here_HW = fine_HW[start : start + rows]
        if fit.covers and seen_HW.all():
            _round_into(here_HW, _between(seen_HW, fit, part, threads))
            continue
        holds_HW = nearest(seen_HW != 0, fit, part)
        if holds_HW.any():
            _round_into(here_HW, _between(seen_HW, fit, part, threads))
            here_HW[~holds_HW] = 0
    return fine_HW


def _round_into(fine_HW: NDArray[np.uint16], between_HW: NDArray[np.float32]) -> None:
    """Round to whole numbers, halves up."""
    between_HW += np.float32(0.5)
    np.copyto(fine_HW, between_HW, casting="unsafe")  # cuts off, as none is below 0


def _between(
    native_HW: NDArray[np.uint16], fit: Fit, window: Window, threads: int
) -> NDArray[np.float32]:
    """Return what GDAL makes of the band's pixels, nodata left out."""
    factor_y, factor_x = fit.rows.factor, fit.cols.factor
    top, _ = fit.rows.span(window.row, window.height)
    left, _ = fit.cols.span(window.col, window.width)
    down_px = window.row - factor_y * top - fit.rows.shift_quarters / _QUARTERS
    across_px = window.col - factor_x * left - fit.cols.shift_quarters / _QUARTERS
    # Framed by its own edge, since GDAL takes the nearest pixel in a single row.
    framed_HW = np.pad(native_HW, 1, mode="edge").astype(np.float32)
    frame_x, frame_y = _BESIDE_PX - factor_x, _BESIDE_PX + factor_y
    between_HW = np.zeros((window.height, window.width), dtype=np.float32)
    nodata = None if native_HW.all() else 0
    reproject(
        framed_HW,
        between_HW,
        src_transform=Affine(factor_x, 0, frame_x, 0, -factor_y, frame_y),
        src_crs=_NOWHERE,
        src_nodata=nodata,
        dst_transform=Affine(1, 0, _BESIDE_PX + across_px, 0, -1, _BESIDE_PX - down_px),
        dst_crs=_NOWHERE,
        dst_nodata=nodata,
        resampling=Resampling.bilinear,
        num_threads=threads,
    )
    return between_HW


_NOWHERE: Final = CRS.from_epsg(32631)
"""Any one CRS: both grids are given in fine pixels, and nothing is reprojected."""
