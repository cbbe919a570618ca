"""Where a raster lies on Earth: its CRS, its transform, its size."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np
from affine import Affine

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from rasterio.crs import CRS

    from mmearth_infer.grid.window import Window

METRES_PER_DEGREE: Final = 111_319.49
"""Length of a degree on the equator of WGS 84."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GeoBox:
    """A north-up raster on Earth."""

    crs: CRS
    """Coordinate reference system."""

    transform: Affine
    """From (column, row) to (x, y); (0, 0) is the outer corner of the first pixel."""

    height: int
    """Rows."""

    width: int
    """Columns."""

    @property
    def pixels(self) -> int:
        """Number of pixels."""
        return self.height * self.width

    @property
    def bounds(self) -> tuple[float, float, float, float]:
        """Outer edges as left, bottom, right, top, in units of the CRS."""
        left, top = self.transform @ (0, 0)
        right, bottom = self.transform @ (self.width, self.height)
        return (left, bottom, right, top)

    @property
    def x(self) -> NDArray[np.float64]:
        """Centres of the columns; `x[0] == transform.c + transform.a / 2`."""
        return _centres(self.transform.c, self.transform.a, self.width)

    @property
    def y(self) -> NDArray[np.float64]:
        """Centres of the rows; `y[0] == transform.f + transform.e / 2`."""
        return _centres(self.transform.f, self.transform.e, self.height)

    def cells(self, stride: int, *, of_px: int | None = None) -> GeoBox:
        """Return the grid of cells of `stride` pixels; both share their corner.

        Cells cover every pixel, so that the last ones may reach past the raster.

        Args:
            stride: Pixels a side of a cell.
            of_px: The grid ends where one of cells of so many pixels does.

        """
        coarse = of_px or stride
        assert coarse % stride == 0
        return GeoBox(
            crs=self.crs,
            transform=self.transform @ Affine.scale(stride),
            height=-(-self.height // coarse) * (coarse // stride),
            width=-(-self.width // coarse) * (coarse // stride),
        )

    def part(self, window: Window) -> GeoBox:
        """Return the grid of a window of it."""
        return GeoBox(
            crs=self.crs,
            transform=self.transform @ Affine.translation(window.col, window.row),
            height=window.height,
            width=window.width,
        )

    @property
    def square_km(self) -> float:
        """Area of the raster in square kilometres."""
        high_m, wide_m = self.pixel_m()
        return self.pixels * high_m * wide_m / 1e6

    def pixel_m(self) -> tuple[float, float]:
        """Return the height and width of a pixel in the middle, in metres.

        Degrees are turned into metres on a sphere, good to a per cent; the unit of
        a projected CRS is taken as its scale.
        """
        high, wide = abs(self.transform.e), abs(self.transform.a)
        if self.crs.is_geographic:
            _, middle = self.transform @ (self.width / 2, self.height / 2)
            shrink = math.cos(math.radians(middle))
            return high * METRES_PER_DEGREE, wide * METRES_PER_DEGREE * shrink
        _, unit_m = self.crs.linear_units_factor
        return high * unit_m, wide * unit_m


def by_code(crs: CRS) -> CRS:
    """Return a CRS as its authority has it, where that is the same; else itself.

    What went through WKT may have lost words, such as those of datum ensembles.
    """
    authority = crs.to_authority()
    named = type(crs).from_authority(*authority) if authority else crs
    return named if named == crs else crs


def _centres(corner: float, step: float, count: int) -> NDArray[np.float64]:
    """Return the centres of `count` pixels from the outer corner of the first."""
    return corner + step * (np.arange(count, dtype=np.float64) + 0.5)
