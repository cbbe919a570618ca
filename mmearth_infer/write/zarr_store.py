"""The Zarr store: made beside its final name, renamed when it is complete."""

from __future__ import annotations

import json
import shutil
import warnings
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Self

import numpy as np
import zarr
from zarr.codecs import ZstdCodec
from zarr.storage import LocalStore

from mmearth_infer.disk import (
    Kind,
    check_output,
    clear_left_over,
    disk_errors,
    put_in_place,
)
from mmearth_infer.errors import StoreError
from mmearth_infer.write import conventions

if TYPE_CHECKING:
    from zarr.abc.store import Store

    from mmearth_infer.grid.geobox import GeoBox
    from mmearth_infer.seams import Strip

EMBEDDING: Final = "embedding"
"""Name of the data array."""

PROVENANCE: Final = "mmearth"
"""Group attribute with everything that made the store."""

COMPLETE: Final = "complete"
"""Field of it that is true once nothing is missing."""

QUALITY: Final = "quality"
"""Sub-group with `valid`. It is Zarr v2 inside a v3 store: GDAL lists every v3 array
below a store and opens it as one raster only where it finds one (docs/adr/0003)."""

CHUNK_BYTES: Final = 8 * 2**20
"""Largest chunk: `(320, 64, 64)` float32 is 5 MB."""

ZSTD_LEVEL: Final = 1
"""Embeddings hardly compress: more than 1 costs time for nothing (docs/log.md)."""


def chunk_side(channels: int, itemsize: int = 4) -> int:
    """Return the side of a chunk in cells: the largest power of two that fits."""
    side = 1
    while channels * (2 * side) ** 2 * itemsize <= CHUNK_BYTES:
        side *= 2
    return side


class ZarrSink:
    """A store that is being written.

    Everything goes to `OUT.partial`, which says that it is not complete. `finish`
    marks it and gives it its name, so that nothing under that name is ever half
    written. Leaving the block without `finish` removes what was written.
    """

    def __init__(  # noqa: PLR0913 -- what a store says, and where it goes
        self,
        path: str | Path,
        *,
        box: GeoBox,
        channels: int,
        geoemb: dict[str, Any],
        provenance: dict[str, Any],
        overwrite: bool,
    ) -> None:
        """Create the metadata and nothing else.

        Args:
            path: Where the store will be.
            box: Grid of the cells.
            channels: D, values a cell.
            geoemb: Values of the geo-embeddings convention.
            provenance: What made the store, as JSON.
            overwrite: Replace a store that is there, once this one is complete.

        Raises:
            StoreError: If something is there, or the place cannot be written.

        """
        check_output(Path(path), STORE, overwrite=overwrite)
        with disk_errors(Path(path)):
            self.path = Path(path).resolve()
        self._partial = self.path.with_name(f"{self.path.name}.partial")
        self._overwrite = overwrite
        self.chunk_cells = chunk_side(channels)
        self._provenance = provenance
        with disk_errors(self.path):
            clear_left_over(self._partial, STORE)
            with ExitStack() as clearing:  # unless all goes well
                clearing.callback(shutil.rmtree, self._partial, ignore_errors=True)
                self._group = self._create(box, channels, geoemb)
                self._quality = self._create_quality(box)
                clearing.pop_all()

    def _create(self, box: GeoBox, channels: int, geoemb: dict[str, Any]) -> zarr.Group:
        """Write the metadata of the group and of every array."""
        group = zarr.create_group(
            LocalStore(self._partial),
            attributes={
                **conventions.group_attributes(box, geoemb),
                PROVENANCE: {COMPLETE: False, **self._provenance},
            },
        )
        side = self.chunk_cells
        self._embedding = group.create_array(
            EMBEDDING,
            shape=(channels, box.height, box.width),
            chunks=(channels, min(side, box.height), min(side, box.width)),
            dtype="float32",
            fill_value=np.nan,
            compressors=ZstdCodec(level=ZSTD_LEVEL),
            dimension_names=conventions.ARRAY_DIMENSIONS,
            attributes={
                **conventions.array_attributes(box),
                "long_name": "MP-MAE embedding",
            },
        )
        _write_coordinates(group, box)
        band = group.create_array(
            "band", shape=(channels,), dtype="int32", dimension_names=("band",)
        )
        band[:] = np.arange(1, channels + 1, dtype=np.int32)
        return group

    def _create_quality(self, box: GeoBox) -> zarr.Group:
        """Write the metadata of the quality group."""
        side = self.chunk_cells
        group = zarr.create_group(LocalStore(self._partial / QUALITY), zarr_format=2)
        self._valid = group.create_array(
            "valid",
            shape=(box.height, box.width),
            chunks=(min(side, box.height), min(side, box.width)),
            dtype="float32",
            fill_value=np.nan,
            attributes={
                **conventions.dimension_attribute("y", "x"),
                "grid_mapping": conventions.GRID_MAPPING,
                "coordinates": conventions.GRID_MAPPING,
                "long_name": "share of each cell's pixels that hold data",
            },
        )
        _write_coordinates(group, box)
        return group

    def write(self, strip: Strip) -> None:
        """Write a strip, which fills whole chunks.

        Raises:
            StoreError: If the disk does not take it.

        """
        height, width = strip.valid_hW.shape
        rows = slice(strip.row, strip.row + height)
        cols = slice(strip.col, strip.col + width)
        with disk_errors(self.path):
            self._embedding[:, rows, cols] = strip.features_DhW
            self._valid[rows, cols] = strip.valid_hW

    def finish(self) -> None:
        """Mark the store complete and give it its name.

        Raises:
            StoreError: If the disk does not take it.

        """
        with disk_errors(self.path):
            self._group.update_attributes(
                {PROVENANCE: {COMPLETE: True, **self._provenance}}
            )
            _consolidate(self._quality.store)
            _consolidate(self._group.store)
            put_in_place(self._partial, self.path, overwrite=self._overwrite)

    def __enter__(self) -> Self:
        """Return the sink."""
        return self

    def __exit__(self, *exc: object) -> None:
        """Remove what is not complete."""
        if self._partial.exists():
            shutil.rmtree(self._partial, ignore_errors=True)


def is_store(path: Path) -> bool:
    """Tell whether a folder is a store that this package made, complete or not."""
    try:
        metadata = json.loads((path / "zarr.json").read_text())
        return PROVENANCE in metadata["attributes"]
    except (OSError, ValueError, KeyError, TypeError):
        return False


STORE: Final = Kind("store", is_store)
"""What `mmearth embed` writes."""


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
    place = group.create_array(
        conventions.GRID_MAPPING, shape=(), dtype="int64", attributes=attributes
    )
    place[...] = 0


def _consolidate(store: Store) -> None:
    """Gather the metadata of a group's members in the group."""
    with warnings.catch_warnings():
        # zarr warns that consolidated metadata are not yet in the v3 specification
        # (xarray and GDAL read them all the same), and that `quality` is not v3.
        warnings.filterwarnings("ignore", message="Consolidated metadata")
        warnings.filterwarnings("ignore", message=f"Object at {QUALITY}")
        zarr.consolidate_metadata(store)


def read_store_metadata(
    path: Path,
) -> tuple[dict[str, Any], tuple[int, ...], tuple[int, ...]]:
    """Return a store's attributes, and the shape and chunks of its embedding.

    Raises:
        StoreError: If it is not a store made by this package.

    """
    if not is_store(path):
        raise StoreError(
            f"`{path}` is not a store made by mmearth",
            hint="`mmearth embed SCENE -o OUT.zarr` makes one",
        )
    try:
        group = zarr.open_group(LocalStore(path, read_only=True), mode="r")
        array = group[EMBEDDING]
        assert isinstance(array, zarr.Array)
        attributes = dict(group.attrs)
    except (OSError, ValueError, KeyError) as error:
        raise StoreError(f"`{path}` is damaged: {error}") from error
    return attributes, array.shape, array.chunks
