"""The outline of a grid in longitude and latitude, as GeoJSON."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np
from rasterio.warp import transform as warp

if TYPE_CHECKING:
    from mmearth_infer.grid.geobox import GeoBox

EDGE_POINTS: Final = 4
"""Points a side: straight lines of a projection are curves on the globe."""

DECIMALS: Final = 7
"""Of a degree: a centimetre."""

Ring = list[tuple[float, float]]
"""Longitudes and latitudes, counterclockwise, the first not repeated."""

Outline = tuple[tuple[float, float], ...]
"""Longitudes and latitudes, counterclockwise, the first repeated at the end."""


def footprint(box: GeoBox) -> tuple[dict[str, Any], list[float]]:
    """Return the GeoJSON geometry and the bounding box of a grid.

    What crosses the antimeridian becomes two polygons, and west is then larger than
    east in the box (RFC 7946, sections 3.1.9 and 5.2).
    """
    ring = _ring(box)
    lons, lats = zip(*ring, strict=True)
    south, north = min(lats), max(lats)
    if max(lons) - min(lons) <= 180:  # noqa: PLR2004 -- degrees
        geometry = {"type": "Polygon", "coordinates": [_closed(ring)]}
        return geometry, _rounded([min(lons), south, max(lons), north])
    turned = [(lon % 360, lat) for lon, lat in ring]
    west = _clip(turned, 1)
    east = [(lon - 360, lat) for lon, lat in _clip(turned, -1)]
    geometry = {
        "type": "MultiPolygon",
        "coordinates": [[_closed(west)], [_closed(east)]],
    }
    edges = [min(lon for lon, _ in west), south, max(lon for lon, _ in east), north]
    return geometry, _rounded(edges)


def outline(box: GeoBox) -> Outline:
    """Return the outline of a grid in degrees, closed; it may leap at the antimeridian.

    Args:
        box: The grid.

    Returns:
        Nothing where its CRS does not reach that far.

    """
    ring = [(round(lon, DECIMALS), round(lat, DECIMALS)) for lon, lat in _ring(box)]
    return (*ring, ring[0]) if np.isfinite(ring).all() else ()


def _ring(box: GeoBox) -> Ring:
    """Return the outline of a grid, counterclockwise from its upper left corner."""
    along = np.arange(EDGE_POINTS) / EDGE_POINTS
    none, all_ = np.zeros(EDGE_POINTS), np.ones(EDGE_POINTS)
    cols = np.concatenate([none, along, all_, 1 - along]) * box.width
    rows = np.concatenate([along, all_, 1 - along, none]) * box.height
    points = [
        box.transform @ at for at in zip(cols.tolist(), rows.tolist(), strict=True)
    ]
    xs, ys = zip(*points, strict=True)
    lons, lats = warp(box.crs, "EPSG:4326", xs, ys)
    return list(zip(lons, lats, strict=True))


def _clip(ring: Ring, side: int) -> Ring:
    """Return the part of a ring up to 180 degrees (1), or from there on (-1)."""
    kept: Ring = []
    for (lon_a, lat_a), (lon_b, lat_b) in zip(ring, [*ring[1:], ring[0]], strict=True):
        to_a, to_b = side * (180 - lon_a), side * (180 - lon_b)
        if to_a >= 0:
            kept.append((lon_a, lat_a))
        if to_a * to_b < 0:
            share = to_a / (to_a - to_b)
            kept.append((180.0, lat_a + share * (lat_b - lat_a)))
    return kept


def _closed(ring: Ring) -> list[list[float]]:
    """Return a ring as GeoJSON wants it: its first point once more at the end."""
    return [_rounded(list(point)) for point in [*ring, ring[0]]]


def _rounded(numbers: list[float]) -> list[float]:
    """Return numbers without digits that mean nothing."""
    return [round(float(number), DECIMALS) for number in numbers]
