"""How much every cell resembles one of them.

Shapes: D channels, h w cells of a window.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from rasterio._err import CPLE_BaseError  # rasterio shows it nowhere else
from rasterio.errors import RasterioError
from rasterio.warp import transform as warp

from mmearth_infer.errors import StoreError
from mmearth_infer.grid.window import Window

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from mmearth_infer.write.open_store import Embedding


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """A point on Earth that a cell is looked up by."""

    x: float
    """Easting in the store's CRS, or longitude."""

    y: float
    """Northing in the store's CRS, or latitude."""

    lonlat: bool
    """Whether it is longitude and latitude on WGS 84."""

    def __str__(self) -> str:
        """Return it as it is typed."""
        return f"{self.x:.10g},{self.y:.10g}"


def find_cell(embedding: Embedding, place: Place) -> tuple[int, int]:
    """Return row and column of the cell that a place lies in.

    Raises:
        StoreError: If it lies in none.

    """
    box = embedding.geobox
    x, y = place.x, place.y
    if place.lonlat:
        try:
            (x,), (y,) = warp("EPSG:4326", box.crs, [x], [y])
        except (RasterioError, CPLE_BaseError):  # beyond what the CRS can say
            x, y = math.inf, math.inf
    left, bottom, right, top = box.bounds
    if not (left <= x < right and bottom < y <= top):
        raise StoreError(
            f"`{place}` lies outside `{embedding.path}`, which goes from "
            f"{left:.10g},{bottom:.10g} to {right:.10g},{top:.10g}",
            hint=_hint(embedding, place),
        )
    col, row = ~box.transform @ (x, y)
    return min(int(row), box.height - 1), min(int(col), box.width - 1)


def _hint(embedding: Embedding, place: Place) -> str:
    """Return what else could have been meant."""
    name = embedding.geobox.crs.to_string()
    likely = abs(place.x) <= 180 and abs(place.y) <= 90  # noqa: PLR2004 -- degrees
    if likely and not (place.lonlat or embedding.geobox.crs.is_geographic):
        return f"coordinates are in {name}; --lonlat takes longitude, latitude"
    if place.lonlat:
        return f"longitude comes first; without --lonlat coordinates are in {name}"
    return f"coordinates are X,Y in {name}"


def unit_vector(embedding: Embedding, row: int, col: int) -> NDArray[np.float32]:
    """Return `unit_D`, the embedding of one cell, of length 1.

    Raises:
        StoreError: If the cell holds no data.

    """
    vector_D = embedding.read(Window(row=row, col=col, height=1, width=1))[:, 0, 0]
    length = float(np.linalg.norm(vector_D))
    if not (math.isfinite(length) and length > 0):
        raise StoreError(
            f"the cell in row {row}, column {col} of `{embedding.path}` holds no data",
            hint="choose another place",
        )
    return vector_D / np.float32(length)


def cosine(
    features_Dhw: NDArray[np.float32], unit_D: NDArray[np.float32]
) -> NDArray[np.float32]:
    """Return `cosine_1hw` of each cell to a unit vector; NaN where features are."""
    flat_D = features_Dhw.reshape(len(unit_D), -1)
    lengths = np.sqrt(np.einsum("dn,dn->n", flat_D, flat_D))
    with np.errstate(invalid="ignore", divide="ignore"):  # zeros resemble nothing
        cosine_n: NDArray[np.float32] = (unit_D @ flat_D) / lengths
    return cosine_n.reshape(1, *features_Dhw.shape[1:])
