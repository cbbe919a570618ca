"""Pictures on Earth: PNG with a world file, or Cloud Optimized GeoTIFF.

Shapes: 4 red, green, blue, alpha; H W pixels of the picture.
"""

from __future__ import annotations

from contextlib import ExitStack
from typing import TYPE_CHECKING, Final
from xml.sax.saxutils import escape

import rasterio
from rasterio.enums import ColorInterp
from rasterio.errors import RasterioError
from rasterio.io import MemoryFile

from mmearth_infer.disk import file_beside
from mmearth_infer.errors import StoreError
from mmearth_infer.write.cog_file import TIFFS

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    import numpy as np
    from numpy.typing import NDArray

    from mmearth_infer.grid.geobox import GeoBox

SUFFIXES: Final = (".png", *TIFFS)
"""What pictures end in."""

BLOCK_PX: Final = 512
"""Side of a block of a GeoTIFF, and the longest of its smallest overview."""

COLOURS: Final = (
    ColorInterp.red,
    ColorInterp.green,
    ColorInterp.blue,
    ColorInterp.alpha,
)
"""What the bands are, so that overviews leave out what is clear."""


def files_of(out: Path) -> tuple[Path, ...]:
    """Return every file that a picture consists of, itself last.

    Beside a PNG lie its world file, which places it, and the file in which GDAL and
    QGIS look for its CRS.
    """
    if out.suffix.lower() != ".png":
        return (out,)
    return (out.with_suffix(".pgw"), out.with_name(f"{out.name}.aux.xml"), out)


def write_picture(
    out: Path,
    rgba_4HW: NDArray[np.uint8],
    box: GeoBox,
    tags: Mapping[str, str] | None = None,
) -> None:
    """Write a picture where it lies on Earth: all files of it, or none.

    Args:
        out: Where it goes.
        rgba_4HW: Its pixels.
        box: Their grid.
        tags: What the file says besides, by name.

    Raises:
        StoreError: If the disk does not take it.

    """
    if out.suffix.lower() == ".png":
        wkt = escape(str(box.crs.to_wkt()))
        contents = [
            world_file(box).encode(),
            f"<PAMDataset>\n  <SRS>{wkt}</SRS>\n</PAMDataset>\n".encode(),
            _encode(
                rgba_4HW,
                box,
                tags or {},
                driver="PNG",
                zlevel=9,
                write_metadata_as_text="yes",
            ),
        ]
    else:
        contents = [
            _encode(
                rgba_4HW,
                box,
                tags or {},
                driver="COG",
                crs=box.crs,
                compress="deflate",
                predictor="standard",
                blocksize=BLOCK_PX,
                overview_resampling="average",
            )
        ]
    with ExitStack() as stack:  # which gives all of them their names at its end
        for path, content in zip(files_of(out), contents, strict=True):
            stack.enter_context(file_beside(path)).write_bytes(content)


def world_file(box: GeoBox) -> str:
    """Return the six lines of a world file: steps, then the first pixel's centre."""
    turn = box.transform
    x, y = turn @ (0.5, 0.5)
    numbers = (turn.a, turn.d, turn.b, turn.e, x, y)
    return "".join(f"{float(number)!r}\n" for number in numbers)


def _encode(
    rgba_4HW: NDArray[np.uint8],
    box: GeoBox,
    tags: Mapping[str, str],
    **profile: object,
) -> bytes:
    """Return the file that a driver makes of the pixels."""
    count, height, width = rgba_4HW.shape
    shape = {"count": count, "height": height, "width": width, "dtype": "uint8"}
    shape["transform"] = box.transform
    try:
        with rasterio.Env(GDAL_PAM_ENABLED="NO"), MemoryFile() as memory:
            with memory.open(**shape, **profile) as file:
                file.colorinterp = COLOURS
                file.update_tags(**tags)
                file.write(rgba_4HW)
            return bytes(memory.read())
    except RasterioError as error:
        raise StoreError(f"cannot draw {height} x {width} px: {error}") from error
