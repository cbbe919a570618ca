"""Attributes that make a Zarr store open georeferenced in every tool.

GDAL and rioxarray look at the array, xarray at coordinates, catalogues at the
group; each has its own spelling. docs/concepts/store.md lists who reads what.
"""

from __future__ import annotations

import base64
import math
import struct
from typing import TYPE_CHECKING, Any, Final

import zarr_cm
from rasterio.crs import CRS
from rasterio.enums import WktVersion

if TYPE_CHECKING:
    from mmearth_infer.grid.geobox import GeoBox

ARRAY_DIMENSIONS: Final = ("band", "y", "x")
"""Dimension names of the embedding."""

GRID_MAPPING: Final = "spatial_ref"
"""Name of the scalar variable that carries the CRS, as rioxarray calls it."""

GEOEMB: Final = {
    "uuid": "61c12cc5-0e28-4056-999a-480cf3fb7e4c",
    "schema_url": "https://raw.githubusercontent.com/geo-embeddings/"
    "embeddings-zarr-convention/refs/tags/v1/schema.json",
    "spec_url": "https://github.com/geo-embeddings/embeddings-zarr-convention/"
    "blob/v1/README.md",
    "name": "geoemb:",
    "description": "Provenance of geospatial embeddings",
}
"""Registration of the geo-embeddings convention, a proposal at its v1."""

_CF_GRID_MAPPINGS: Final = {
    "utm": "transverse_mercator",
    "tmerc": "transverse_mercator",
    "longlat": "latitude_longitude",
    "laea": "lambert_azimuthal_equal_area",
    "lcc": "lambert_conformal_conic",
    "aea": "albers_conical_equal_area",
    "merc": "mercator",
    "sinu": "sinusoidal",
    "stere": "polar_stereographic",
}


def fill_value_attribute(value: float) -> str:
    """Return `_FillValue` as xarray writes it for Zarr v3: base64 of a double."""
    return base64.standard_b64encode(struct.pack("<d", value)).decode()


def crs_wkt(crs: CRS) -> str:
    """Return the CRS as WKT 2."""
    return str(crs.to_wkt(version=WktVersion.WKT2_2019))


def spatial_conventions(box: GeoBox) -> dict[str, Any]:
    """Return the `proj` and `spatial` conventions of a grid.

    Each is listed twice, under its name in the specification and under the name
    with a colon that rioxarray 0.23 looks for.
    """
    authority = box.crs.to_authority()
    code = ":".join(authority) if authority else None
    if code and CRS.from_string(code) == box.crs:
        proj = zarr_cm.proj.create(code=code)
    else:
        proj = zarr_cm.proj.create(wkt2=crs_wkt(box.crs))
    spatial = zarr_cm.spatial.create(
        dimensions=["y", "x"],
        transform=list(box.transform)[:6],
        shape=[box.height, box.width],
        registration="pixel",
    )
    attributes: dict[str, Any] = zarr_cm.create_many(
        {"proj": _plain(proj), "spatial": _plain(spatial)}
    )
    named = attributes["zarr_conventions"]
    attributes["zarr_conventions"] = [
        *named,
        *({**entry, "name": f"{entry['name']}:"} for entry in named),
    ]
    return attributes


def _plain(attributes: object) -> dict[str, Any]:
    """Return a typed dictionary as a plain one."""
    assert isinstance(attributes, dict)
    return attributes


def group_attributes(box: GeoBox, geoemb: dict[str, Any] | None) -> dict[str, Any]:
    """Return the attributes of the group: conventions, bounding box, provenance.

    Args:
        box: Grid of the cells.
        geoemb: Values of the geo-embeddings convention, without its prefix; None for
            what is no embedding.

    """
    attributes = spatial_conventions(box)
    attributes["spatial:bbox"] = list(box.bounds)
    if geoemb is not None:
        attributes["zarr_conventions"].append(GEOEMB)
        attributes.update({f"geoemb:{key}": value for key, value in geoemb.items()})
    return attributes


def array_attributes(box: GeoBox, *, nodata: float) -> dict[str, Any]:
    """Return the attributes of an array on the grid.

    A whole number as nodata, that of int8, is written as it is.
    """
    fill = fill_value_attribute(nodata) if math.isnan(nodata) else int(nodata)
    return {
        **spatial_conventions(box),
        "grid_mapping": GRID_MAPPING,
        "coordinates": GRID_MAPPING,  # xarray then keeps it with the array
        "_FillValue": fill,
    }


def grid_mapping_attributes(box: GeoBox) -> dict[str, Any]:
    """Return the attributes of `spatial_ref`, by CF and by GDAL."""
    wkt = crs_wkt(box.crs)
    turn = box.transform.to_gdal()
    attributes = {
        "crs_wkt": wkt,
        "spatial_ref": wkt,
        "GeoTransform": " ".join(repr(float(number)) for number in turn),
    }
    name = _CF_GRID_MAPPINGS.get(str(box.crs.to_dict().get("proj", "")))
    return {**attributes, "grid_mapping_name": name} if name else attributes


def coordinate_attributes(box: GeoBox, axis: str) -> dict[str, Any]:
    """Return the attributes of `x` or `y`."""
    if box.crs.is_geographic:
        name, units = {
            "x": ("longitude", "degrees_east"),
            "y": ("latitude", "degrees_north"),
        }[axis]
        return {"standard_name": name, "units": units, "axis": axis.upper()}
    unit, _ = box.crs.linear_units_factor
    return {
        "standard_name": f"projection_{axis}_coordinate",
        "units": unit,
        "axis": axis.upper(),
    }


def dimension_attribute(*names: str) -> dict[str, Any]:
    """Return the names of an array's dimensions as xarray keeps them in Zarr v2."""
    return {"_ARRAY_DIMENSIONS": list(names)}
