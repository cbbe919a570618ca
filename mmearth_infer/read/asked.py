"""What `--aoi` and `--bbox` mean for a scene."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np

from mmearth_infer.errors import SceneError
from mmearth_infer.read.area import Area
from mmearth_infer.read.geojson import LON_LAT, read_geojson
from mmearth_infer.read.outline import Outline, outer_bounds
from mmearth_infer.read.projection import meets_scene, project

if TYPE_CHECKING:
    from rasterio.crs import CRS

    from mmearth_infer.grid.geobox import GeoBox
    from mmearth_infer.read.outline import Bounds

_GEOJSON: Final = frozenset({".json", ".geojson"})
_TURN_DEG: Final = 360.0
_POLE_DEG: Final = 90.0


def read_area(path: str | Path, box: GeoBox) -> Area:
    """Read an area from a file of polygons.

    Args:
        path: GeoJSON, or anything that pyogrio opens where it is installed.
        box: Grid of the scene.

    Raises:
        SceneError: If the file holds no area, or one outside the scene.
        MissingExtraError: If it takes pyogrio, and that is not installed.

    """
    path = Path(path)
    if path.suffix.lower() in _GEOJSON:
        outline = read_geojson(path)
    else:
        from mmearth_infer.read.ogr import read_vector  # noqa: PLC0415 -- an extra

        outline = read_vector(path)
    return Area(
        polygons=project(outline, box),
        evidence=f"--aoi {outline.name} ({outline.crs_evidence})",
        digest=outline.digest,
    )


def bbox_area(bbox: Bounds, box: GeoBox) -> Area:
    """Return the area of a bounding box.

    Numbers that can be longitudes and latitudes are taken as such, as in GeoJSON and
    STAC, others as coordinates of the scene's CRS. Only where both would meet the
    scene, nothing tells.

    Args:
        bbox: West, south, east, north. West is larger than east where a box in
            degrees crosses the antimeridian.
        box: Grid of the scene.

    Raises:
        SceneError: If it lies outside the scene, or its meaning cannot be told.

    """
    typed = "--bbox " + ",".join(f"{number:.12g}" for number in bbox)
    own = f"in the scene's CRS, {box.crs.to_string()}"
    west, _, east, _ = bbox
    degrees = box.crs if box.crs.is_geographic else LON_LAT
    evidence = own if box.crs.is_geographic else "in longitude and latitude"
    readings = []
    if _are_degrees(bbox) and (west < east or west - east > _TURN_DEG / 2):
        readings += [_rectangle(bbox, name=typed, crs=degrees, evidence=evidence)]
    if west < east and not box.crs.is_geographic:
        readings += [_rectangle(bbox, name=typed, crs=box.crs, evidence=own)]
    if not readings:
        raise SceneError(
            f"{typed} is no box from {west:.10g} east to {east:.10g}",
            hint="--bbox takes WEST,SOUTH,EAST,NORTH",
        )
    possible = [reading for reading in readings if meets_scene(reading, box)]
    if len(possible) > 1:
        raise SceneError(
            f"{typed} can mean degrees or coordinates in {box.crs.to_string()}: both "
            "meet the scene",
            hint="give a polygon with --aoi, whose CRS is known",
        )
    outline = (possible or readings)[0]
    bounds = outer_bounds(project(outline, box))
    around = _rectangle(bounds, name=typed, crs=box.crs, evidence=own)
    return Area(
        polygons=around.polygons,
        evidence=f"{typed} ({outline.crs_evidence})",
        digest=outline.digest,
    )


def _are_degrees(bbox: Bounds) -> bool:
    """Tell whether numbers can be longitudes and latitudes."""
    west, south, east, north = bbox
    return (
        max(abs(west), abs(east)) <= _TURN_DEG
        and max(abs(south), abs(north)) <= _POLE_DEG
    )


def _rectangle(bbox: Bounds, *, name: str, crs: CRS, evidence: str) -> Outline:
    """Return a box as an outline."""
    west, south, east, north = bbox
    if crs.is_geographic and east < west:  # across the antimeridian
        west -= _TURN_DEG
    corners = ((west, south), (east, south), (east, north), (west, north))
    ring_P2 = np.array([*corners, corners[0]], dtype=np.float64)
    return Outline(name=name, crs=crs, crs_evidence=evidence, polygons=((ring_P2,),))
