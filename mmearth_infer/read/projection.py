"""Brings outlines to the CRS of a scene.

Shapes: P points of a ring, 2 for x and y.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np
from rasterio._err import CPLE_BaseError  # rasterio shows it nowhere else
from rasterio.errors import RasterioError
from rasterio.warp import transform, transform_bounds

from mmearth_infer.errors import SceneError
from mmearth_infer.read.outline import outer_bounds

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from rasterio.crs import CRS

    from mmearth_infer.grid.geobox import GeoBox
    from mmearth_infer.read.outline import Bounds, Outline, Polygon

MOST_POINTS: Final = 20_000_000
"""Points of a projected area; more would take gigabytes."""

_TURN_DEG: Final = 360.0
_STEP_DEG: Final = 0.02
_STEP_M: Final = 2_000.0
_MARGIN_STEPS: Final = 50


def project(outline: Outline, box: GeoBox) -> tuple[Polygon, ...]:
    """Return the polygons that come near a scene, in the scene's CRS.

    A straight edge of the outline is straight in the outline's CRS: points are put on
    it, at most 0.02 degrees or 2 km apart, which keeps it within 0.2 m of its place.
    Points far from the scene, where its CRS may not be defined, are moved to a box
    around it, which changes nothing within the scene: between the box and the scene
    is more than any two points are apart.

    Raises:
        SceneError: If none comes near the scene, or if it has too many points.

    """
    crs = outline.crs
    scene = bounds_in(box, crs)
    everywhere = (
        tuple(xy_P2 + np.array([turn, 0.0]) for xy_P2 in polygon)
        for polygon in outline.polygons
        for turn in _turns(crs)
    )
    moved = [polygon for polygon in everywhere if meets(outer_bounds([polygon]), scene)]
    if not moved:
        raise SceneError(
            f"the area `{outline.name}` lies outside the scene: it spans "
            f"{in_words(outline.bounds)}, the scene {in_words(scene)}, in "
            f"{_unit(crs)}",
            hint="check the order, longitude first, and the CRS of the area",
        )
    if crs == box.crs:
        return tuple(moved)
    step = _STEP_DEG if crs.is_geographic else _STEP_M / crs.linear_units_factor[1]
    margin = _MARGIN_STEPS * step
    low = (scene[0] - margin, scene[1] - margin)
    high = (scene[2] + margin, scene[3] + margin)
    if crs.is_geographic:
        low, high = (low[0], max(low[1], -90.0)), (high[0], min(high[1], 90.0))
    points = sum(int(_parts(ring, step).sum()) for polygon in moved for ring in polygon)
    if points > MOST_POINTS:
        raise SceneError(
            f"the area `{outline.name}` takes {points} points near the scene, more "
            f"than {MOST_POINTS}",
            hint="give a simpler outline of the area",
        )
    return tuple(
        tuple(
            _transformed(
                np.clip(_densified(xy_P2, step), low, high), crs, box, outline.name
            )
            for xy_P2 in polygon
        )
        for polygon in moved
    )


def meets_scene(outline: Outline, box: GeoBox) -> bool:
    """Tell whether the bounds of an outline and of a scene overlap."""
    left, bottom, right, top = outline.bounds
    scene = bounds_in(box, outline.crs)
    return any(
        meets((left + turn, bottom, right + turn, top), scene)
        for turn in _turns(outline.crs)
    )


def bounds_in(box: GeoBox, crs: CRS) -> Bounds:
    """Return the bounds of a scene in another CRS.

    Raises:
        SceneError: If the scene has no place there.

    """
    if crs == box.crs:
        return box.bounds
    try:
        left, bottom, right, top = transform_bounds(
            box.crs, crs, *box.bounds, densify_pts=21
        )
    except (CPLE_BaseError, RasterioError) as error:
        raise _undefined("the scene", crs) from error
    if not np.isfinite((left, bottom, right, top)).all():
        raise _undefined("the scene", crs)
    if crs.is_geographic and right < left:
        right += _TURN_DEG
    return left, bottom, right, top


def in_words(bounds: Bounds) -> str:
    """Return bounds for a message."""
    left, bottom, right, top = bounds
    return f"{left:.10g} to {right:.10g} and {bottom:.10g} to {top:.10g}"


def meets(here: Bounds, there: Bounds) -> bool:
    """Tell whether two bounds share more than an edge."""
    across = here[0] < there[2] and there[0] < here[2]
    return across and here[1] < there[3] and there[1] < here[3]


def _turns(crs: CRS) -> tuple[float, ...]:
    """Return what may be added to x without a change of place."""
    return (0.0, _TURN_DEG, -_TURN_DEG) if crs.is_geographic else (0.0,)


def _unit(crs: CRS) -> str:
    """Return what coordinates mean, in words."""
    return "degrees east and north" if crs.is_geographic else crs.to_string()


def _parts(xy_P2: NDArray[np.float64], step: float) -> NDArray[np.intp]:
    """Return into how many parts each edge is cut, so that none is above a step."""
    span_P2 = np.abs(np.diff(xy_P2, axis=0))
    parts: NDArray[np.intp] = np.ceil(span_P2.max(axis=1) / step).astype(np.intp)
    return np.maximum(parts, 1)


def _densified(xy_P2: NDArray[np.float64], step: float) -> NDArray[np.float64]:
    """Put points on the edges of a ring, at most a step apart in x and y."""
    parts_E = _parts(xy_P2, step)
    edge_P = np.repeat(np.arange(len(parts_E)), parts_E)
    first_P = np.repeat(np.cumsum(parts_E) - parts_E, parts_E)
    share_P = (np.arange(len(edge_P)) - first_P) / parts_E[edge_P]
    span_P2 = np.diff(xy_P2, axis=0)[edge_P]
    return np.concatenate([xy_P2[edge_P] + share_P[:, None] * span_P2, xy_P2[-1:]])


def _transformed(
    xy_P2: NDArray[np.float64], crs: CRS, box: GeoBox, name: str
) -> NDArray[np.float64]:
    """Bring points to the CRS of a scene."""
    try:
        x, y = transform(crs, box.crs, xy_P2[:, 0].tolist(), xy_P2[:, 1].tolist())
    except (CPLE_BaseError, RasterioError) as error:
        raise _undefined(f"the area `{name}`", box.crs) from error
    moved_P2 = np.stack([x, y], axis=1)
    if not np.isfinite(moved_P2).all():
        raise _undefined(f"the area `{name}`", box.crs)
    return moved_P2


def _undefined(what: str, crs: CRS) -> SceneError:
    """Return the error of a place that a CRS does not reach."""
    return SceneError(
        f"{what} has no place in {crs.to_string()}",
        hint="give the area in longitude and latitude, near the scene",
    )
