"""Polygons on Earth, and what makes them an area.

Shapes: P points of a ring, E edges, 2 for x and y.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np
from numpy.typing import NDArray

from mmearth_infer.errors import SceneError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from rasterio.crs import CRS

Polygon = tuple[NDArray[np.float64], ...]
"""Rings `xy_P2`, closed; the first is the outer one, the others are holes."""

Bounds = tuple[float, float, float, float]
"""Left, bottom, right, top; right of 180 degrees beyond the antimeridian."""

MOST_PAIRS: Final = 100_000_000
"""Pairs of edges that are tried for a crossing; a few seconds of work."""

HINT: Final = "an area is a GeoJSON Polygon or MultiPolygon, or features of such"
"""What to do about a file that is none."""

_FARTHEST: Final = 1e9
_ROUNDING: Final = 1e-12
_PAIRS_AT_ONCE: Final = 500_000


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Outline:
    """Polygons on Earth; what any of them covers is inside."""

    name: str
    """What the user calls it."""

    crs: CRS
    """What the coordinates mean; x is longitude or easting."""

    crs_evidence: str
    """What says so."""

    polygons: tuple[Polygon, ...]
    """At least one."""

    def __post_init__(self) -> None:
        """Refuse what is no area.

        Raises:
            SceneError: If there is no polygon, or one is not a simple shape on Earth.

        """
        if not self.polygons:
            raise SceneError(f"`{self.name}` holds no polygon", hint=HINT)
        for n, polygon in enumerate(self.polygons, start=1):
            for xy_P2 in polygon:
                _check_place(xy_P2, self.crs, f"polygon {n} of `{self.name}`")
                _check_ring(xy_P2, f"polygon {n} of `{self.name}`")

    @property
    def bounds(self) -> Bounds:
        """Left, bottom, right, top of all polygons."""
        return outer_bounds(self.polygons)

    @property
    def digest(self) -> str:
        """Digest of coordinates and CRS."""
        total = hashlib.sha256(self.crs.to_wkt().encode())
        for polygon in self.polygons:
            for xy_P2 in polygon:
                total.update(b"%d " % len(xy_P2) + xy_P2.tobytes())
            total.update(b";")
        return total.hexdigest()


def outer_bounds(polygons: Iterable[Polygon]) -> Bounds:
    """Return left, bottom, right, top of polygons."""
    outer_P2 = np.concatenate([polygon[0] for polygon in polygons])
    (left, bottom), (right, top) = outer_P2.min(axis=0), outer_P2.max(axis=0)
    return float(left), float(bottom), float(right), float(top)


def check_crs(crs: CRS, name: str) -> None:
    """Refuse a CRS that says nothing of where on Earth something lies.

    Raises:
        SceneError: If it is neither projected nor geographic.

    """
    if not (crs.is_projected or crs.is_geographic):
        raise SceneError(
            f"the CRS of `{name}` is neither projected nor geographic",
            hint="bring it to longitude and latitude with `ogr2ogr -t_srs OGC:CRS84`",
        )


def _check_place(xy_P2: NDArray[np.float64], crs: CRS, name: str) -> None:
    """Refuse coordinates that are not on Earth."""
    limits = (360.0, 90.0) if crs.is_geographic else (_FARTHEST, _FARTHEST)
    off_P = ~(np.abs(xy_P2) <= limits).all(axis=1)  # NaN is off, too
    if off_P.any():
        x, y = xy_P2[off_P][0]
        unit = "longitude and latitude" if crs.is_geographic else crs.to_string()
        raise SceneError(
            f"{name} has a point at {x:g}, {y:g}, which is no place in {unit}",
            hint="GeoJSON is in longitude, latitude unless its `crs` member says else",
        )


def _check_ring(xy_P2: NDArray[np.float64], name: str) -> None:
    """Refuse a ring that is open or crosses itself."""
    if (xy_P2[0] != xy_P2[-1]).any():
        raise SceneError(
            f"{name} is not closed: it starts at {xy_P2[0, 0]:g}, {xy_P2[0, 1]:g} and "
            f"ends at {xy_P2[-1, 0]:g}, {xy_P2[-1, 1]:g}",
            hint="repeat the first point at the end",
        )
    crossing = find_crossing(xy_P2)
    if crossing is not None:
        raise SceneError(
            f"{name} crosses itself near {crossing[0]:g}, {crossing[1]:g}, so that "
            "its inside is unclear",
            hint="repair it, for example with `ogr2ogr -makevalid`",
        )


def find_crossing(xy_P2: NDArray[np.float64]) -> tuple[float, float] | None:
    """Return where a ring crosses itself, None if it does not.

    Touching is no crossing. `MOST_PAIRS` pairs of edges that lie side by side are
    tried, and no more.
    """
    low_E2 = np.minimum(xy_P2[:-1], xy_P2[1:])
    high_E2 = np.maximum(xy_P2[:-1], xy_P2[1:])
    plans = []
    for axis in (0, 1):  # edges side by side on one axis are few on the better one
        order_E = np.argsort(low_E2[:, axis], kind="stable")
        ends_E = np.searchsorted(low_E2[order_E, axis], high_E2[order_E, axis], "right")
        others_E = ends_E - np.arange(1, len(order_E) + 1)
        plans.append((int(others_E.sum()), order_E, others_E))
    _, order_E, others_E = min(plans, key=lambda plan: plan[0])
    start_E2, end_E2 = xy_P2[:-1][order_E], xy_P2[1:][order_E]
    tried_E = np.concatenate([[0], np.cumsum(others_E)])
    first = 0
    while first < len(others_E) and tried_E[first] < MOST_PAIRS:
        past = int(np.searchsorted(tried_E, tried_E[first] + _PAIRS_AT_ONCE, "right"))
        past = max(past - 1, first + 1)
        count = others_E[first:past]
        one = np.repeat(np.arange(first, past), count)
        other = one + 1 + np.arange(len(one)) - (tried_E[one] - tried_E[first])
        crossed = _opposite(start_E2[one], end_E2[one], start_E2[other], end_E2[other])
        crossed &= _opposite(start_E2[other], end_E2[other], start_E2[one], end_E2[one])
        if crossed.any():
            n, m = one[crossed][0], other[crossed][0]
            along, across = end_E2[n] - start_E2[n], end_E2[m] - start_E2[m]
            aside = start_E2[m] - start_E2[n]
            x, y = start_E2[n] + _cross(aside, across) / _cross(along, across) * along
            return float(x), float(y)
        first = past
    return None


def _cross(one: NDArray[np.float64], other: NDArray[np.float64]) -> float:
    """Return the cross product of two vectors."""
    return float(one[0] * other[1] - one[1] * other[0])


def _opposite(
    start: NDArray[np.float64],
    end: NDArray[np.float64],
    one: NDArray[np.float64],
    other: NDArray[np.float64],
) -> NDArray[np.bool_]:
    """Tell whether two points lie strictly on different sides of a line."""
    sides = []
    for point in (one, other):
        along, aside = end - start, point - start
        left, right = along[..., 0] * aside[..., 1], along[..., 1] * aside[..., 0]
        cross = left - right
        tiny = _ROUNDING * (np.abs(left) + np.abs(right))
        sides.append(np.where(np.abs(cross) <= tiny, 0, np.sign(cross)))
    opposite: NDArray[np.bool_] = sides[0] * sides[1] < 0
    return opposite
