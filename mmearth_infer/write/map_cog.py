"""Maps of classes as COGs: uint8 with a palette, or a band a class.

Shapes: K classes, h w cells of a window.
"""

from __future__ import annotations

import json
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import rasterio
import rasterio.windows
from rasterio.enums import Resampling
from rasterio.errors import RasterioIOError

from mmearth_infer.contract.classes import NODATA_CLASS
from mmearth_infer.errors import StoreError
from mmearth_infer.write.cog_file import add_overviews, cog_beside

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from mmearth_infer.contract.classes import MapClass
    from mmearth_infer.grid.geobox import GeoBox
    from mmearth_infer.grid.window import Window

    Write = Callable[[NDArray[Any], Window], None]

BLOCK_PX: Final = 256
"""Side of a block."""

CLASSES_TAG: Final = "MMEARTH_CLASSES"
"""Tag with the names of the classes as JSON, in the order of their values."""

_OPAQUE: Final = 255


@contextmanager
def class_map(
    out: Path, box: GeoBox, classes: Sequence[MapClass], tags: Mapping[str, str]
) -> Iterator[Write]:
    """Give what writes `class_hw` of windows; the map is there once all went well.

    Classes count from 0, `NODATA_CLASS` is nodata. Smaller copies show the class of
    most cells.

    Args:
        out: Where the map goes.
        box: Grid of the cells.
        classes: In the order of their values.
        tags: What the file says of its origin.

    Raises:
        StoreError: If the disk does not take it.

    """
    with cog_beside(out, block_px=BLOCK_PX) as draft:
        with _opened(draft, box, 1, "uint8", NODATA_CLASS) as file:
            palette = {n: (*one.rgb, _OPAQUE) for n, one in enumerate(classes)}
            file.write_colormap(1, palette | {NODATA_CLASS: (0, 0, 0, 0)})
            file.descriptions = ["class"]
            file.update_tags(1, **{f"CLASS_{n}": c.name for n, c in enumerate(classes)})
            _say(file, classes, tags)
            yield lambda class_hw, window: file.write(class_hw, 1, window=_at(window))
        add_overviews(draft, Resampling.mode)


@contextmanager
def share_map(
    out: Path, box: GeoBox, classes: Sequence[MapClass], tags: Mapping[str, str]
) -> Iterator[Write]:
    """Give what writes `share_Khw` of windows: a float32 band a class, NaN for nodata.

    Args:
        out: Where the file goes.
        box: Grid of the cells.
        classes: In the order of the bands, which are called like them.
        tags: What the file says of its origin.

    Raises:
        StoreError: If the disk does not take it.

    """
    with cog_beside(out, block_px=BLOCK_PX) as draft:
        with _opened(draft, box, len(classes), "float32", np.nan) as file:
            file.descriptions = [one.name for one in classes]
            _say(file, classes, tags)
            yield lambda share_Khw, window: file.write(share_Khw, window=_at(window))
        add_overviews(draft, Resampling.average)


def read_tag(path: Path, name: str) -> str | None:
    """Return what a GeoTIFF says under a name; None if it does not, or is none."""
    try:
        with rasterio.open(path) as file:
            said: str | None = file.tags().get(name)
    except RasterioIOError:
        return None
    return said


def read_classes(path: Path) -> NDArray[np.uint8]:
    """Return `class_HW` of a map.

    Raises:
        StoreError: If it cannot be read.

    """
    try:
        with rasterio.open(path) as file:
            found: NDArray[np.uint8] = file.read(1)
    except RasterioIOError as error:
        raise StoreError(f"`{path}` is damaged: {error}") from error
    return found


def _opened(
    draft: Path, box: GeoBox, bands: int, dtype: str, nodata: float
) -> rasterio.io.DatasetWriter:
    """Open a file on the grid of the cells."""
    return rasterio.open(
        draft,
        "w",
        driver="GTiff",
        count=bands,
        height=box.height,
        width=box.width,
        dtype=dtype,
        nodata=nodata,
        crs=box.crs,
        transform=box.transform,
        tiled=True,
        blockxsize=BLOCK_PX,
        blockysize=BLOCK_PX,
        interleave="band",
        bigtiff="if_safer",
    )


def _say(
    file: rasterio.io.DatasetWriter,
    classes: Sequence[MapClass],
    tags: Mapping[str, str],
) -> None:
    """Say what the classes are, and where the map comes from."""
    names = json.dumps([one.name for one in classes])
    file.update_tags(**tags, **{CLASSES_TAG: names, "AREA_OR_POINT": "Area"})


def _at(window: Window) -> rasterio.windows.Window:
    """Return a window as rasterio has it."""
    return rasterio.windows.Window.from_slices(*window.slices)
