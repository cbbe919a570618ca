"""Scenes that come as xarray objects: what their names, coordinates, attributes mean.

CRS and grid are found where rioxarray finds them: in `spatial_ref` or the grid mapping
that is named, and in the coordinates of the pixels' centres.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import rioxarray as _  # noqa: F401 -- gives arrays their `rio`
import xarray as xr

from mmearth_infer.contract.bands import find_band
from mmearth_infer.errors import SceneError
from mmearth_infer.grid.geobox import GeoBox
from mmearth_infer.read.array import Pixels

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from affine import Affine
    from numpy.typing import NDArray

MOST_UNEVEN_PX: Final = 0.01
"""Part of a pixel that coordinates may be off an even grid."""

SCL: Final = "SCL"
"""Name of the scene classification of L2A products."""

_ERRORS: Final = (ValueError, RuntimeError)
"""Of rasterio, pyproj and rioxarray, for what is no CRS or no grid."""


def pixels_of(scene: xr.DataArray | xr.Dataset) -> Pixels:
    """Return a scene as what `read.source.open_source` takes.

    Bands are named by a coordinate of strings along their dimension, else by
    `long_name`; those of a Dataset by its variables, or their `long_name`. A band
    `SCL` is taken as scene classes. Attributes count as a file's tags.

    Args:
        scene: `(band, y, x)` in any order, or a variable `(y, x)` for each band. What
            is lazy is loaded.

    Raises:
        SceneError: If its dimensions, CRS or grid cannot be told, or it holds
            something else than numbers.

    """
    name = _name(scene)
    y_dim, x_dim = _spatial_dims(scene, name)
    if isinstance(scene, xr.Dataset):
        bands, descriptions = _of_variables(scene, (y_dim, x_dim))
    else:
        bands, descriptions = _of_array(scene, (y_dim, x_dim), name)
    is_scl = [(text or "").strip().upper() == SCL for text in descriptions]
    scl = [band for band, yes in zip(bands, is_scl, strict=True) if yes]
    bands, descriptions = _without(bands, is_scl), _without(descriptions, is_scl)
    if not bands:
        raise SceneError(
            f"`{name}` holds no band of Sentinel-2",
            hint="name its bands or variables as B02, B8A or red; of several times "
            "take one with scene.isel(time=0)",
        )
    return Pixels(
        name=name,
        bands=_values(bands, name),
        descriptions=tuple(descriptions),
        geobox=_geobox(scene, y_dim, x_dim, name),
        nodata=_nodata(bands, name),
        tags=_tags(scene),
        offsets_dn=tuple(_offset_dn(band.attrs, n) for n, band in enumerate(bands)),
        scl=scl[0].to_numpy() if scl else None,
    )


def _without(items: Sequence[Any], left_out: Sequence[bool]) -> list[Any]:
    """Return the items that are not left out."""
    return [item for item, out in zip(items, left_out, strict=True) if not out]


def _name(scene: xr.DataArray | xr.Dataset) -> str:
    """Return the name of the file it was read from, else its own."""
    source = scene.encoding.get("source")
    if isinstance(source, str) and source:
        return Path(source).name.partition("?")[0]
    own = scene.name if isinstance(scene, xr.DataArray) else None
    return "array" if own is None else str(own)


def _spatial_dims(scene: xr.DataArray | xr.Dataset, name: str) -> tuple[str, str]:
    """Return the names of the dimensions of rows and columns."""
    try:
        return str(scene.rio.y_dim), str(scene.rio.x_dim)
    except _ERRORS as error:
        raise SceneError(
            f"`{name}` has the dimensions {_shown(scene)}, not (band, y, x)",
            hint="rename them, such as array.rename(latitude='y', longitude='x')",
        ) from error


def _shown(scene: xr.DataArray | xr.Dataset) -> str:
    """Return dimensions as people write them."""
    return f"({', '.join(map(str, scene.sizes))})"


def _of_variables(
    scene: xr.Dataset, dims: tuple[str, str]
) -> tuple[list[xr.DataArray], list[str | None]]:
    """Return the variables that are bands, and their names."""
    bands: list[xr.DataArray] = []
    names: list[str | None] = []
    for key, variable in scene.data_vars.items():
        if set(variable.dims) != set(dims):
            continue
        stated = variable.attrs.get("long_name")
        said = [text for text in (stated, str(key)) if isinstance(text, str)]
        known = [text for text in said if find_band(text) or text.upper() == SCL]
        if known:
            bands.append(variable.transpose(*dims))
            names.append(known[0])
    return bands, names


def _of_array(
    scene: xr.DataArray, dims: tuple[str, str], name: str
) -> tuple[list[xr.DataArray], list[str | None]]:
    """Return the bands of an array, and what they are called."""
    others = [dim for dim in scene.dims if dim not in dims]
    if len(others) != 1:
        raise SceneError(
            f"`{name}` has the dimensions {_shown(scene)}, not (band, y, x)",
            hint="take one time with array.isel(time=0), or name the bands' dimension "
            "with array.expand_dims('band')",
        )
    (dim,) = others
    bands = list(scene.transpose(dim, *dims).compute())
    texts = scene[dim].to_numpy() if dim in scene.coords else np.empty(0)
    if texts.dtype.kind in "UO" and any(find_band(str(text)) for text in texts):
        return bands, [str(text) for text in texts]
    stated = scene.attrs.get("long_name")
    stated = (stated,) if isinstance(stated, str) else stated
    if isinstance(stated, tuple | list | np.ndarray) and len(stated) == len(bands):
        return bands, [str(text) if text else None for text in stated]
    return bands, [None] * len(bands)


def _values(bands: Sequence[xr.DataArray], name: str) -> tuple[NDArray[Any], ...]:
    """Return the pixels of each band.

    Raises:
        SceneError: If they are not of one real number type.

    """
    kinds = {str(band.dtype) for band in bands}
    if len(kinds) > 1 or bands[0].dtype.kind not in "uif":
        raise SceneError(
            f"`{name}` holds {', '.join(sorted(kinds))} pixels, not one number type",
            hint="give digital numbers as uint16",
        )
    return tuple(band.to_numpy() for band in bands)


def _geobox(
    scene: xr.DataArray | xr.Dataset, y_dim: str, x_dim: str, name: str
) -> GeoBox:
    """Return where a scene lies.

    Raises:
        SceneError: If it has no CRS, or pixels are not evenly spaced.

    """
    try:
        crs, transform = scene.rio.crs, scene.rio.transform()
    except _ERRORS as error:
        said = " ".join(str(error).split())
        raise SceneError(f"the place of `{name}` cannot be read: {said}") from error
    if crs is None:
        raise SceneError(
            f"`{name}` has no coordinate reference system",
            hint="set it with `import rioxarray` and array.rio.write_crs('EPSG:32632')",
        )
    box = GeoBox(
        crs=crs,
        transform=transform,
        height=scene.sizes[y_dim],
        width=scene.sizes[x_dim],
    )
    if not (transform.b or transform.d):
        _check_even(scene, {y_dim: box.y, x_dim: box.x}, transform, name)
    return box


def _check_even(
    scene: xr.DataArray | xr.Dataset,
    centres: Mapping[str, NDArray[np.float64]],
    transform: Affine,
    name: str,
) -> None:
    """Refuse coordinates that are not those of a grid with its first row in the north.

    Raises:
        SceneError: Saying what they are.

    """
    sides = (abs(transform.e), abs(transform.a))
    for (dim, expected), side in zip(centres.items(), sides, strict=True):
        if dim in scene.coords:
            found = scene[dim].to_numpy()
        elif transform.is_identity:
            raise SceneError(
                f"`{name}` has no coordinates along {dim}, nor a transform",
                hint="give it the centres of its pixels, or "
                "array.rio.write_transform(...)",
            )
        else:
            continue
        if dim == next(iter(centres)) and found[0] < found[-1]:
            raise SceneError(
                f"the rows of `{name}` go from south to north",
                hint=f"turn them with array.sortby({dim!r}, ascending=False)",
            )
        if not np.abs(found - expected).max() <= MOST_UNEVEN_PX * side:
            raise SceneError(
                f"the coordinates of `{name}` along {dim} are not evenly spaced",
                hint="bring it to an even grid, such as with array.rio.reproject(...)",
            )


def _nodata(bands: Sequence[xr.DataArray], name: str) -> float | None:
    """Return the value that means nothing was measured, beside 0 and NaN.

    Raises:
        SceneError: If it differs between bands, or is none.

    """
    try:
        stated = {band.rio.nodata for band in bands} - {None}
        found = {float(value) for value in stated if not np.isnan(value)}
    except (ValueError, TypeError, OverflowError) as error:
        raise SceneError(
            f"`{name}` states a nodata value that its pixels cannot have: {error}",
            hint="set another with array.rio.write_nodata(0)",
        ) from error
    if len(found) > 1:
        raise SceneError(
            f"the bands of `{name}` have different nodata values: "
            f"{', '.join(f'{value:g}' for value in sorted(found))}",
            hint="set one with array.rio.write_nodata(0)",
        )
    return next(iter(found), None)


def _tags(scene: xr.DataArray | xr.Dataset) -> dict[str, str]:
    """Return what attributes say, and the time that a coordinate says."""
    tags = {
        str(key): str(value)
        for key, value in scene.attrs.items()
        if isinstance(value, str | int | float | np.number)
    }
    time = scene.coords.get("time")
    if time is not None and time.ndim == 0 and time.dtype.kind == "M":
        tags.setdefault("datetime", str(np.datetime_as_string(time.values, unit="us")))
    return tags


def _offset_dn(attributes: Mapping[Any, Any], band: int) -> float:
    """Return what attributes say must be added to a band, in digital numbers.

    rioxarray leaves GDAL's scales and offsets there: one where all bands have the same,
    else one for each.

    Raises:
        SceneError: If they are no numbers.

    """

    def stated(one: str, each: str, otherwise: float) -> float:
        several = attributes.get(each)
        if isinstance(several, tuple | list | np.ndarray) and band < len(several):
            return float(several[band])
        return float(attributes.get(one, otherwise))

    try:
        scale = stated("scale_factor", "scales", 1.0)
        return stated("add_offset", "offsets", 0.0) / (scale or 1.0)
    except (TypeError, ValueError) as error:
        raise SceneError(
            f"scale_factor or add_offset of band {band + 1} is no number: {error}",
            hint="set both right, or drop them from its attributes",
        ) from error
