"""Polygons of GeoJSON files."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Final

import msgspec
import numpy as np
from msgspec import Meta
from rasterio.crs import CRS
from rasterio.errors import CRSError

from mmearth_infer.errors import SceneError
from mmearth_infer.read.outline import HINT, Outline, Polygon, check_crs

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

LON_LAT: Final = CRS.from_user_input("OGC:CRS84")
"""CRS of GeoJSON (RFC 7946)."""

MOST_BYTES: Final = 256 * 2**20
"""Larger files are no areas of interest but a slip."""


def read_geojson(path: Path) -> Outline:
    """Read the polygons of a GeoJSON file.

    They are in longitude and latitude (RFC 7946), or in what the `crs` member of the
    older specification names.

    Raises:
        SceneError: If the file cannot be read, or is not GeoJSON with polygons.

    """
    content = _read_bounded(path).removeprefix(b"\xef\xbb\xbf")
    try:
        document = msgspec.json.decode(content, type=_Document)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise SceneError(
            f"`{path}` is not GeoJSON with polygons: {error}", hint=HINT
        ) from error
    parts = list(_parts(document))
    names = {part.crs.properties.name for part in parts if part.crs is not None}
    if len(names) > 1:
        raise SceneError(
            f"`{path}` names several coordinate reference systems: "
            f"{', '.join(sorted(names))}",
            hint="bring all polygons to one",
        )
    crs, evidence = LON_LAT, "GeoJSON is in longitude and latitude"
    for name in names:
        crs, evidence = _find_crs(name, path), f"its `crs` member says {name}"
    return Outline(
        name=path.name,
        crs=crs,
        crs_evidence=evidence,
        polygons=tuple(polygon for part in parts for polygon in _polygons(part)),
    )


def _read_bounded(path: Path) -> bytes:
    """Return a file's content.

    Raises:
        SceneError: If it cannot be read, or is too large.

    """
    try:
        with path.open("rb") as file:
            content = file.read(MOST_BYTES + 1)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise SceneError(
            f"cannot read the area `{path}`: {reason}", hint="check the path of --aoi"
        ) from error
    if len(content) > MOST_BYTES:
        raise SceneError(
            f"`{path}` is larger than {MOST_BYTES / 2**20:g} MiB",
            hint="give a simpler outline of the area",
        )
    return content


def _find_crs(name: str, path: Path) -> CRS:
    """Return the CRS of a name."""
    try:
        crs = CRS.from_user_input(name)
    except (CRSError, ValueError) as error:
        raise SceneError(
            f"`{path}` names an unknown coordinate reference system, `{name}`",
            hint="bring it to longitude and latitude with `ogr2ogr -t_srs OGC:CRS84`",
        ) from error
    check_crs(crs, str(path))
    return crs


class _CrsProperties(msgspec.Struct, frozen=True):
    name: str


class _Crs(msgspec.Struct, frozen=True):
    properties: _CrsProperties


_Position = Annotated[list[float], Meta(min_length=2)]
_Ring = Annotated[list[_Position], Meta(min_length=4)]


class _Part(msgspec.Struct, frozen=True, tag_field="type"):
    crs: _Crs | None = None


class _Polygon(_Part, frozen=True, tag="Polygon", kw_only=True):
    coordinates: list[_Ring]


class _MultiPolygon(_Part, frozen=True, tag="MultiPolygon", kw_only=True):
    coordinates: list[list[_Ring]]


class _Collection(_Part, frozen=True, tag="GeometryCollection", kw_only=True):
    geometries: list[_Polygon | _MultiPolygon]


class _Feature(_Part, frozen=True, tag="Feature", kw_only=True):
    geometry: _Polygon | _MultiPolygon | _Collection | None


class _FeatureCollection(_Part, frozen=True, tag="FeatureCollection", kw_only=True):
    features: list[_Feature]


_Document = _Polygon | _MultiPolygon | _Collection | _Feature | _FeatureCollection


def _parts(part: _Document) -> Iterator[_Document]:
    """Yield a part of a document and all that it holds."""
    yield part
    if isinstance(part, _FeatureCollection):
        for feature in part.features:
            yield from _parts(feature)
    elif isinstance(part, _Feature) and part.geometry is not None:
        yield from _parts(part.geometry)
    elif isinstance(part, _Collection):
        for geometry in part.geometries:
            yield from _parts(geometry)


def _polygons(part: _Document) -> Iterator[Polygon]:
    """Yield the polygons that a part is made of; heights are dropped."""
    several = (
        [part.coordinates]
        if isinstance(part, _Polygon)
        else part.coordinates
        if isinstance(part, _MultiPolygon)
        else []
    )
    for rings in filter(None, several):  # empty ones are allowed, and nothing
        yield tuple(np.array([place[:2] for place in ring], float) for ring in rings)
