"""What a store looks like before anything is in it.

A store of one stage has its array in the root. A store of several has a group for each,
which looks as the root of the other does, since their grids differ.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Literal, get_args

import numpy as np
import zarr
from zarr.codecs import ZstdCodec

from mmearth_infer.write import conventions

if TYPE_CHECKING:
    from collections.abc import Sequence

    from zarr.abc.store import Store

    from mmearth_infer.grid.geobox import GeoBox
    from mmearth_infer.write.encode import Kept
    from mmearth_infer.write.place import Place

LayoutChoice = Literal["plain", "sharded"]
"""Chunks as files of their own, or many in a file, for object storage."""

LAYOUTS: Final[tuple[LayoutChoice, ...]] = get_args(LayoutChoice)

EMBEDDING: Final = "embedding"
"""Name of the data array of stores of embeddings."""

CLASS: Final = "class"
"""Name of the data array of maps of classes."""

PROVENANCE: Final = "mmearth"
"""Group attribute with everything that made the store."""

COMPLETE: Final = "complete"
"""Field of it that is true once nothing is missing."""

QUALITY: Final = "quality"
"""Sub-group with `valid`. It is Zarr v2 inside a v3 store: GDAL lists every v3 array
below a store and opens it as one raster only where it finds one (docs/adr/0003)."""

CHUNK_BYTES: Final = 8 * 2**20
"""Largest chunk: `(320, 64, 64)` float32 is 5 MB."""

MOST_CHUNK_CELLS: Final = 512
"""Largest side of a chunk, for maps of few bytes a cell: rows of chunks are held."""

SHARD_SIDE: Final = 2
"""Chunks a side of a shard. A shard is written whole, so that its rows are held."""

ZSTD_LEVEL: Final = 1
"""Embeddings hardly compress: more than 1 costs time for nothing (docs/log.md)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Layer:
    """The map of one stage in a store."""

    group: str
    """Group of the array, such as `stage4`; empty for the root."""

    box: GeoBox
    """Grid of its cells."""

    stride_px: int
    """Pixels a side of a cell."""

    channels: int
    """D, values a cell."""

    encoding: Kept
    """How they are kept."""

    geoemb: dict[str, Any] | None = None
    """Values of the geo-embeddings convention; None for what is no embedding."""

    array: str = EMBEDDING
    """Name of the array."""

    long_name: str = "MP-MAE embedding"
    """What people read of it."""

    @property
    def chunk_cells(self) -> int:
        """Side of a chunk in cells."""
        return chunk_side(self.channels, self.encoding.dtype.itemsize)

    @property
    def prefix(self) -> str:
        """What stands before names in its group."""
        return f"{self.group}/" if self.group else ""


def chunk_side(channels: int, itemsize: int = 4) -> int:
    """Return the side of a chunk in cells: the largest power of two that fits."""
    side = 1
    while channels * (2 * side) ** 2 * itemsize <= CHUNK_BYTES:
        side *= 2
    return min(side, MOST_CHUNK_CELLS)


def written_cells(layer: Layer, layout: LayoutChoice) -> int:
    """Return the side of what must be written whole: a chunk, or a shard."""
    return layer.chunk_cells * (SHARD_SIDE if layout == "sharded" else 1)


def strip_cells(layers: Sequence[Layer], layout: LayoutChoice) -> int:
    """Return the rows of the coarsest map that fill whole chunks of every map."""
    whole_px = max(written_cells(layer, layout) * layer.stride_px for layer in layers)
    return whole_px // layers[-1].stride_px


def create(
    place: Place,
    layers: list[Layer],
    provenance: dict[str, Any],
    *,
    layout: LayoutChoice,
) -> None:
    """Write the metadata of a store, and the coordinates of its grids.

    Args:
        place: Where; nothing is there yet.
        layers: Its maps.
        provenance: What made the store, as JSON.
        layout: How chunks lie in files.

    """
    said = {PROVENANCE: {COMPLETE: False, **provenance}}
    if any(layer.group for layer in layers):
        zarr.create_group(place.store(), attributes=said)
    for layer in layers:
        attributes = conventions.group_attributes(layer.box, layer.geoemb)
        group = zarr.create_group(
            place.store(layer.group),
            attributes={**attributes, **({} if layer.group else said)},
        )
        _create_map(group, layer, layout)
        _create_quality(place.store(f"{layer.prefix}{QUALITY}"), layer, layout)


def _create_map(group: zarr.Group, layer: Layer, layout: LayoutChoice) -> None:
    """Write the metadata of a map, and its coordinates."""
    box, encoding = layer.box, layer.encoding
    shards, chunks = _sides(layer, layout)
    group.create_array(
        layer.array,
        shape=(layer.channels, box.height, box.width),
        chunks=(layer.channels, *chunks),
        shards=shards and (layer.channels, *shards),
        dtype=encoding.dtype,
        fill_value=encoding.nodata,
        compressors=ZstdCodec(level=ZSTD_LEVEL),
        dimension_names=conventions.ARRAY_DIMENSIONS,
        attributes={
            **conventions.array_attributes(box, nodata=encoding.nodata),
            **encoding.attributes,
            "long_name": layer.long_name,
        },
    )
    _write_coordinates(group, box)
    band = group.create_array(
        "band", shape=(layer.channels,), dtype="int32", dimension_names=("band",)
    )
    band[:] = np.arange(1, layer.channels + 1, dtype=np.int32)


def _sides(
    layer: Layer, layout: LayoutChoice
) -> tuple[tuple[int, int] | None, tuple[int, int]]:
    """Return height and width of shards, None for none, and of chunks."""
    box, side = layer.box, layer.chunk_cells
    if layout == "sharded":
        whole = written_cells(layer, layout)
        return (whole, whole), (side, side)
    return None, (min(side, box.height), min(side, box.width))


def _create_quality(store: Store, layer: Layer, layout: LayoutChoice) -> None:
    """Write the metadata of the quality group."""
    box = layer.box
    side = written_cells(layer, layout)
    group = zarr.create_group(store, zarr_format=2)
    names = {"valid": "share of each cell's pixels that hold data"}
    if layer.encoding.per_cell:
        names["scale"] = "factor from stored values to embeddings"
    for name, meaning in names.items():
        group.create_array(
            name,
            shape=(box.height, box.width),
            chunks=(min(side, box.height), min(side, box.width)),
            dtype="float32",
            fill_value=np.nan,
            attributes={
                **conventions.dimension_attribute("y", "x"),
                "grid_mapping": conventions.GRID_MAPPING,
                "coordinates": conventions.GRID_MAPPING,
                "long_name": meaning,
            },
        )
    _write_coordinates(group, box)


def _write_coordinates(group: zarr.Group, box: GeoBox) -> None:
    """Write `x`, `y` and `spatial_ref` of a grid into a group."""
    version_3 = group.metadata.zarr_format == 3  # noqa: PLR2004
    for axis, centres in (("y", box.y), ("x", box.x)):
        attributes = conventions.coordinate_attributes(box, axis)
        if not version_3:
            attributes |= conventions.dimension_attribute(axis)
        array = group.create_array(
            axis,
            shape=centres.shape,
            dtype="float64",
            dimension_names=(axis,) if version_3 else None,
            attributes=attributes,
        )
        array[:] = centres
    attributes = conventions.grid_mapping_attributes(box)
    if not version_3:
        attributes |= conventions.dimension_attribute()
    mapping = group.create_array(
        conventions.GRID_MAPPING, shape=(), dtype="int64", attributes=attributes
    )
    mapping[...] = 0


def complete(place: Place, layers: list[Layer], provenance: dict[str, Any]) -> None:
    """Gather a store's metadata, and mark it complete last of all; may be done twice.

    Every file is replaced as a whole, so that a kill leaves one state or the other.
    """
    for layer in layers:
        _consolidate(place.store(f"{layer.prefix}{QUALITY}"))
        _consolidate(place.store(layer.group))
    if any(layer.group for layer in layers):
        _consolidate(place.store())
    root = zarr.open_group(place.store(), mode="r+", use_consolidated=True)
    root.update_attributes({PROVENANCE: {COMPLETE: True, **provenance}})


def _consolidate(store: Store) -> None:
    """Gather the metadata of a group's members in the group."""
    with warnings.catch_warnings():
        # zarr warns that consolidated metadata are not yet in the v3 specification
        # (xarray and GDAL read them all the same), and that `quality` is not v3.
        warnings.filterwarnings("ignore", message="Consolidated metadata")
        warnings.filterwarnings("ignore", message="Object at .*quality")
        zarr.consolidate_metadata(store)
