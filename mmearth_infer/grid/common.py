"""The grid that rasters of one CRS share, whatever scene they come from.

Its corners are at multiples of the size of a pixel, or cell, from (0, 0) of the CRS.
Rows count from there southwards, so that most places have negative rows.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final

from affine import Affine

from mmearth_infer.grid.geobox import GeoBox
from mmearth_infer.grid.window import Window

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rasterio.crs import CRS

TOLERANCE: Final = 0.01
"""Pixels that a corner may be off."""


def place_of(box: GeoBox) -> Window | None:
    """Return where a raster lies on the common grid of its pixels.

    None if it does not lie on it: its corner is within a pixel of that grid, or it is
    not north-up.
    """
    turn = box.transform
    if turn.b or turn.d or not turn.e < 0 < turn.a:
        return None
    row, col = turn.f / turn.e, turn.c / turn.a
    if not (math.isfinite(row) and math.isfinite(col)):
        return None
    if max(abs(row - round(row)), abs(col - round(col))) > TOLERANCE:
        return None
    return Window(row=round(row), col=round(col), height=box.height, width=box.width)


def box_at(place: Window, *, crs: CRS, high: float, wide: float) -> GeoBox:
    """Return the raster at a place: `place_of(box_at(p, ...)) == p`.

    Args:
        place: Where, on the common grid.
        crs: Whose grid.
        high: Height of a pixel in units of the CRS.
        wide: Width of a pixel.

    """
    return GeoBox(
        crs=crs,
        transform=Affine(wide, 0, place.col * wide, 0, -high, -place.row * high),
        height=place.height,
        width=place.width,
    )


def from_multiples(place: Window, multiple: int) -> Window | None:
    """Return the part of a raster that begins at multiples, in its own pixels.

    All of it but fewer than `multiple` rows in the north and columns in the west; None
    if nothing else is there.

    Args:
        place: Where the raster lies on the common grid.
        multiple: What row and column of the part are multiples of.

    """
    row, col = -place.row % multiple, -place.col % multiple
    if row >= place.height or col >= place.width:
        return None
    return Window(row=row, col=col, height=place.height - row, width=place.width - col)


def around(places: Sequence[Window]) -> Window:
    """Return the smallest window that holds all of these."""
    row, col = min(p.row for p in places), min(p.col for p in places)
    return Window(
        row=row,
        col=col,
        height=max(p.row + p.height for p in places) - row,
        width=max(p.col + p.width for p in places) - col,
    )
