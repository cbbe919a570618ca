"""Polygons of vector files other than GeoJSON, through pyogrio."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any

import numpy as np
from rasterio.crs import CRS
from rasterio.errors import CRSError

from mmearth_infer.errors import MissingExtraError, SceneError
from mmearth_infer.read.outline import HINT, Outline, Polygon, check_crs

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

try:
    import pyogrio  # type: ignore[import-untyped]
    import shapely  # type: ignore[import-untyped]
    from pyogrio.errors import (  # type: ignore[import-untyped]
        DataLayerError,
        DataSourceError,
    )
except ImportError:
    pyogrio = None


def read_vector(path: Path) -> Outline:
    """Read the polygons of a vector file with one layer.

    Raises:
        SceneError: If it cannot be read, or holds no polygons with a CRS.
        MissingExtraError: If pyogrio or shapely is not installed.

    """
    if pyogrio is None:
        raise MissingExtraError(f"--aoi {path.name}", extra="probe")
    if not path.exists():
        raise SceneError(f"there is no area `{path}`", hint="check the path of --aoi")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # GDAL's, which the checks below repeat
            layers = [str(name) for name, _ in pyogrio.list_layers(path)]
            if len(layers) == 1:
                meta, _, found, _ = pyogrio.raw.read(path, columns=[])
                shapes = shapely.from_wkb(found)
    except (
        DataSourceError,
        DataLayerError,
        shapely.errors.ShapelyError,
        ValueError,
        RuntimeError,
    ) as error:
        raise SceneError(
            f"`{path}` is no vector file that can be read: {error}", hint=HINT
        ) from error
    if len(layers) != 1:
        raise SceneError(
            f"`{path}` holds {len(layers)} layers: {', '.join(layers)}",
            hint="give a file with one; `ogr2ogr aoi.geojson FILE LAYER` makes it",
        )
    if not meta["crs"]:
        raise SceneError(
            f"`{path}` has no coordinate reference system",
            hint="give it with the file it belongs in, or as GeoJSON",
        )
    try:
        crs = CRS.from_user_input(meta["crs"])
    except CRSError as error:
        raise SceneError(
            f"`{path}` has an unknown coordinate reference system, {meta['crs']}",
            hint="bring it to longitude and latitude with `ogr2ogr -t_srs OGC:CRS84`",
        ) from error
    check_crs(crs, str(path))
    return Outline(
        name=path.name,
        crs=crs,
        crs_evidence=f"the file is in {crs.to_string()}",
        polygons=tuple(
            polygon
            for shape in shapes
            if shape is not None
            for polygon in _polygons(shape, path)
        ),
    )


def _polygons(shape: Any, path: Path) -> Iterator[Polygon]:  # noqa: ANN401 -- shapely's
    """Yield the polygons that a geometry is made of; heights are dropped."""
    for part in shapely.get_parts(shape):
        if part.geom_type != "Polygon":
            raise SceneError(f"`{path}` holds a {part.geom_type}", hint=HINT)
        if not part.is_empty:
            rings = (part.exterior, *part.interiors)
            yield tuple(
                np.array(shapely.get_coordinates(ring), dtype=np.float64)
                for ring in rings
            )
