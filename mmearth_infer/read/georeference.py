"""The place of a raster file, and whether embeddings can be made on its grid."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final

from mmearth_infer.errors import SceneError
from mmearth_infer.grid.geobox import GeoBox

if TYPE_CHECKING:
    from rasterio.io import DatasetReader

PIXEL_M: Final = 10.0
"""Pixel size the encoders were trained on, in metres."""

LARGEST_SIDE: Final = 1e9
"""No pixel on Earth has a larger side, or smaller than its inverse, in any unit."""

PIXEL_TOLERANCE: Final = 0.1
"""Deviation from it that is accepted, relative."""


def read_geobox(dataset: DatasetReader, *, source: str) -> GeoBox:
    """Return where a raster lies.

    Raises:
        SceneError: If it has no CRS, or is not a north-up grid.

    """
    if dataset.crs is None:
        raise SceneError(
            f"`{source}` has no coordinate reference system",
            hint="set it with `rio edit-info --crs EPSG:32632` or `gdal_edit -a_srs`",
        )
    box = GeoBox(
        crs=dataset.crs,
        transform=dataset.transform,
        height=dataset.height,
        width=dataset.width,
    )
    check_grid(box, source=source)
    return box


def check_grid(box: GeoBox, *, source: str) -> None:
    """Refuse a grid that lies nowhere on Earth, or is not north-up.

    Raises:
        SceneError: Saying how.

    """
    if not (box.crs.is_projected or box.crs.is_geographic):
        raise SceneError(
            f"the CRS of `{source}` is neither projected nor geographic, so that "
            "nothing says where on Earth it lies",
            hint="set the CRS it really has, or bring it to one with `rio warp`",
        )
    transform = box.transform
    if transform.b or transform.d:
        raise SceneError(
            f"`{source}` is rotated: its transform has {transform.b:g} and "
            f"{transform.d:g} where north-up has 0",
            hint="bring it to a north-up grid with `rio warp` or `gdalwarp`",
        )
    sides = abs(transform.a), abs(transform.e)
    if not all(map(math.isfinite, transform)) or (
        max(sides) > LARGEST_SIDE or 0 < min(sides) < 1 / LARGEST_SIDE
    ):
        raise SceneError(
            f"`{source}` has a transform that lies nowhere: {tuple(transform)[:6]}",
            hint="the file may be damaged; compare it with its source",
        )
    if transform.a <= 0 or transform.e >= 0:
        raise SceneError(
            f"`{source}` is not north-up: its pixel is {transform.a:g} wide and "
            f"{-transform.e:g} high",
            hint="give it a proper transform, or warp it with `rio warp`",
        )


def check_resolution(geobox: GeoBox, *, allow: bool, source: str) -> tuple[str, ...]:
    """Refuse pixels that are not 10 m; return warnings about those that nearly are.

    In degrees only the height of a pixel is measured: its width shrinks with the
    cosine of the latitude, which the warning tells.

    Raises:
        SceneError: If the pixel size is off by more than `PIXEL_TOLERANCE` and
            `allow` is False.

    """
    high_m, wide_m = geobox.pixel_m()
    warnings = []
    if geobox.crs.is_geographic:
        warnings.append(
            f"`{source}` is in degrees: its pixels are {high_m:.1f} m high and "
            f"{wide_m:.1f} m wide, the model was trained on square 10 m pixels"
        )
    sides_m = [high_m] if geobox.crs.is_geographic else [high_m, wide_m]
    if any(abs(side_m / PIXEL_M - 1) > PIXEL_TOLERANCE for side_m in sides_m):
        size = f"{high_m:.4g} x {wide_m:.4g} m"
        if not allow:
            raise SceneError(
                f"the pixels of `{source}` are {size}, the model expects 10 m",
                hint="resample with `rio warp --res 10`, "
                "or insist with --allow-resolution",
            )
        warnings.append(f"the pixels of `{source}` are {size}, not 10 m")
    return tuple(warnings)
