"""Vector files through pyogrio: areas other than GeoJSON, and labels."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from rasterio.crs import CRS
from rasterio.errors import CRSError

from mmearth_infer.errors import MissingExtraError, SceneError
from mmearth_infer.read.outline import HINT, Outline, Polygon, check_crs

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

try:
    import pyogrio  # type: ignore[import-untyped]
    import shapely  # type: ignore[import-untyped]
    from pyogrio.errors import (  # type: ignore[import-untyped]
        DataLayerError,
        DataSourceError,
    )
except ImportError:
    pyogrio = None


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Layer:
    """The only layer of a vector file."""

    crs: CRS
    """What the coordinates mean."""

    shapes: NDArray[Any]
    """Geometries of shapely, None where there is none."""

    fields: dict[str, NDArray[Any]]
    """Values of each field that was asked for, as many as geometries."""


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
    layer = read_layer(path, fields=(), hint=HINT)
    return Outline(
        name=path.name,
        crs=layer.crs,
        crs_evidence=f"the file is in {layer.crs.to_string()}",
        polygons=tuple(
            polygon
            for shape in layer.shapes
            if shape is not None
            for polygon in _polygons(shape, path)
        ),
    )


def read_layer(path: Path, *, fields: Sequence[str] | None, hint: str) -> Layer:
    """Read a vector file with one layer and a CRS; pyogrio is there.

    Args:
        path: The file.
        fields: Which to read; None for all.
        hint: What to do about a file that is none.

    Raises:
        SceneError: If it cannot be read, has several layers, or no CRS.

    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # GDAL's, which the checks below repeat
            layers = [str(name) for name, _ in pyogrio.list_layers(path)]
            if len(layers) == 1:
                columns = None if fields is None else list(fields)
                meta, _, found, values = pyogrio.raw.read(path, columns=columns)
                shapes = shapely.from_wkb(found)
    except (
        DataSourceError,
        DataLayerError,
        shapely.errors.ShapelyError,
        ValueError,
        RuntimeError,
    ) as error:
        raise SceneError(
            f"`{path}` is no vector file that can be read: {error}", hint=hint
        ) from error
    if len(layers) != 1:
        raise SceneError(
            f"`{path}` holds {len(layers)} layers: {', '.join(layers)}",
            hint="give a file with one; `ogr2ogr one.geojson FILE LAYER` makes it",
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
    names = [str(name) for name in meta["fields"]]
    return Layer(crs=crs, shapes=shapes, fields=dict(zip(names, values, strict=True)))


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
