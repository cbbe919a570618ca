"""Maps as xarray objects: with coordinates and CRS as their stores have them.

Shapes: D channels, H W cells, h w cells of a window.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr
from xarray.backends import BackendArray
from xarray.core import indexing

from mmearth_infer.grid.geobox import by_code
from mmearth_infer.grid.window import Window
from mmearth_infer.write import conventions
from mmearth_infer.write.encode import decoded

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from mmearth_infer.grid.geobox import GeoBox
    from mmearth_infer.write.memory import Held
    from mmearth_infer.write.open_store import Embedding


def held_array(held: Held, *, name: str, attributes: Mapping[str, Any]) -> xr.DataArray:
    """Return a map in memory, `(band, y, x)`; int8 as the float32 it stands for.

    Args:
        held: The map.
        name: What it is called.
        attributes: What is said of it.

    """
    scale = getattr(held.layer.encoding, "scale", None)
    values_DHW = decoded(
        held.stored_DHW, scale if held.scale_HW is None else held.scale_HW
    )
    variable = xr.Variable(conventions.ARRAY_DIMENSIONS, values_DHW, attributes)
    return _placed(variable, held.layer.box, name)


def class_arrays(held: Sequence[Held]) -> xr.DataArray | xr.Dataset:
    """Return a map of classes in memory: `class (y, x)` in uint8.

    Args:
        held: The arrays of `write.map_store.map_layers`. Where probabilities are kept
            they come first, and what is returned is a Dataset with
            `probability (band, y, x)`, too.

    """
    *shares, last = held
    encoding = last.layer.encoding
    said = {
        **encoding.attributes,
        "_FillValue": int(encoding.nodata),
        "long_name": last.layer.long_name,
    }
    variable = xr.Variable(conventions.ARRAY_DIMENSIONS[1:], last.stored_DHW[0], said)
    classes = _placed(variable, last.layer.box, last.layer.array)
    if not shares:
        return classes
    arrays = [
        held_array(
            share,
            name=share.layer.array,
            attributes={
                "long_name": share.layer.long_name,
                **share.layer.encoding.attributes,
            },
        )
        for share in shares
    ]
    return xr.merge([classes, *arrays], compat="equals", join="exact")


def lazy_array(
    embedding: Embedding, *, name: str, attributes: Mapping[str, Any]
) -> xr.DataArray:
    """Return a finished store `(band, y, x)`, read where it is looked at.

    float16 stays so; int8 is the float32 it stands for.

    Args:
        embedding: The store.
        name: What it is called.
        attributes: What is said of it.

    """
    variable = xr.Variable(
        conventions.ARRAY_DIMENSIONS,
        indexing.LazilyIndexedArray(_Cells(embedding)),
        attributes,
    )
    side = embedding.chunk_cells
    chunks = dict(
        zip(conventions.ARRAY_DIMENSIONS, (embedding.channels, side, side), strict=True)
    )
    array = _placed(variable, embedding.geobox, name)
    array.encoding["preferred_chunks"] = chunks
    return array


class _Cells(BackendArray):
    """A store as xarray reads it."""

    def __init__(self, embedding: Embedding) -> None:
        self._embedding = embedding
        box = embedding.geobox
        self.shape = (embedding.channels, box.height, box.width)
        half = embedding.dtype == "float16"
        self.dtype = np.dtype(np.float16 if half else np.float32)

    def __getitem__(self, key: indexing.ExplicitIndexer) -> NDArray[Any]:
        values: NDArray[Any] = indexing.explicit_indexing_adapter(
            key, self.shape, indexing.IndexingSupport.BASIC, self._read
        )
        return values

    def _read(self, key: tuple[int | slice, ...]) -> NDArray[Any]:
        """Return what numbers and slices with steps above 0 choose."""
        bands, rows, cols = key
        (row, height, rows), (col, width, cols) = (
            _span(part, size)
            for part, size in zip((rows, cols), self.shape[1:], strict=True)
        )
        values_Dhw: NDArray[Any] = np.empty((self.shape[0], height, width), self.dtype)
        if height and width:
            window = Window(row=row, col=col, height=height, width=width)
            values_Dhw = self._embedding.read(window).astype(self.dtype, copy=False)
        return values_Dhw[bands, rows, cols]


def _span(part: int | slice, size: int) -> tuple[int, int, int | slice]:
    """Return the first and the count of what is read, and what is taken of it."""
    if not isinstance(part, slice):
        return int(part), 1, 0
    start, stop, step = part.indices(size)
    return start, max(stop - start, 0), slice(None, None, step)


def _placed(variable: xr.Variable, box: GeoBox, name: str) -> xr.DataArray:
    """Return a map with the coordinates of its grid and its CRS."""
    box = replace(box, crs=by_code(box.crs))
    coords = {
        axis: xr.Variable(axis, centres, conventions.coordinate_attributes(box, axis))
        for axis, centres in (("y", box.y), ("x", box.x))
    }
    if "band" in variable.dims:
        numbers = np.arange(1, variable.sizes["band"] + 1, dtype=np.int32)
        coords["band"] = xr.Variable("band", numbers)
    coords[conventions.GRID_MAPPING] = xr.Variable(
        (), np.int64(0), conventions.grid_mapping_attributes(box)
    )
    array = xr.DataArray(variable, coords=coords, name=name)
    array.encoding["grid_mapping"] = conventions.GRID_MAPPING
    return array
