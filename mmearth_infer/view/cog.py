"""A store as one Cloud Optimized GeoTIFF, for tools that read no Zarr."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import rasterio
import rasterio.windows
from rasterio.enums import Resampling

from mmearth_infer.disk import check_files, check_suffix
from mmearth_infer.errors import StoreError
from mmearth_infer.write.cog_file import TIFFS, add_overviews, cog_beside
from mmearth_infer.write.encode import NODATA_INT8
from mmearth_infer.write.open_store import open_store

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from mmearth_infer.write.address import Where
    from mmearth_infer.write.open_store import Embedding

BLOCK_BYTES: Final = 32 * 2**20
"""Largest block: all bands of a square of pixels lie together."""

BLOCK_PX: Final = (64, 512)
"""Smallest and largest side of a block; GDAL wants multiples of 16."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Exported:
    """What was written."""

    cog: str
    """The file."""

    height_px: int
    """Rows."""

    width_px: int
    """Columns."""

    bands: int
    """Channels in it."""

    dtype: str
    """Type of its values."""

    scale: float | None
    """Factor from values to features; None where values are features."""

    size_bytes: int
    """Size of the file."""

    def to_json(self) -> str:
        """Return it as one line."""
        return json.dumps(asdict(self))


def write_cog(  # noqa: PLR0913 -- one a flag
    store: str | Where,
    out: Path,
    *,
    stage: int | None = None,
    channels: Sequence[int] | None = None,
    overwrite: bool = False,
    tags: Mapping[str, str] | None = None,
) -> Exported:
    """Write a store as a COG: bands described, CRS and transform those of the cells.

    float32 and float16 become float32 with NaN for no data. int8 with one scale for
    the model stays int8 with -128 for no data, and the scale in the file; with a scale
    a cell, for which GeoTIFF has no place, it becomes float32. Held at a time: a
    chunk, and the blocks that GDAL holds.

    Args:
        store: A finished store.
        out: Where the file goes.
        stage: Stage of the encoder; None for the deepest the store holds.
        channels: Which, counted from 1; None for all.
        overwrite: Replace a file that is there.
        tags: What the file says besides, by name.

    Raises:
        StoreError: If the store cannot be read, lacks a channel, or the output is
            there or cannot be written.

    """
    check_suffix(out, TIFFS, "a .tif")
    check_files([out], overwrite=overwrite)
    embedding = open_store(store, stage)
    wanted = _wanted(embedding, channels)
    kept = embedding.dtype == "int8" and not embedding.scaled_per_pixel
    dtype = np.dtype("int8" if kept else "float32")
    block = _block_px(len(wanted) * dtype.itemsize)
    with cog_beside(out, block_px=block) as draft:
        _fill(draft, embedding, wanted, dtype, block)
        with rasterio.open(draft, "r+") as file:
            file.update_tags(**tags or {})
    return Exported(
        cog=str(out),
        height_px=embedding.geobox.height,
        width_px=embedding.geobox.width,
        bands=len(wanted),
        dtype=str(dtype),
        scale=embedding.scale if kept else None,
        size_bytes=out.stat().st_size,
    )


def _wanted(embedding: Embedding, channels: Sequence[int] | None) -> list[int]:
    """Return the indices of the channels, from 0.

    Raises:
        StoreError: Naming a channel that is not there.

    """
    if channels is None:
        return list(range(embedding.channels))
    for channel in channels:
        if not 1 <= channel <= embedding.channels:
            raise StoreError(
                f"`{embedding.path}` has no channel {channel}",
                hint=f"it has channels 1 to {embedding.channels}",
            )
    return [channel - 1 for channel in channels]


def _block_px(pixel_bytes: int) -> int:
    """Return the side of a block: the largest power of two that fits."""
    side, largest = BLOCK_PX
    while side < largest and pixel_bytes * (2 * side) ** 2 <= BLOCK_BYTES:
        side *= 2
    return side


def _fill(
    draft: Path,
    embedding: Embedding,
    wanted: Sequence[int],
    dtype: np.dtype[Any],
    block: int,
) -> None:
    """Write the channels chunk by chunk, and what says where and what they are."""
    box = embedding.geobox
    with rasterio.open(
        draft,
        "w",
        driver="GTiff",
        count=len(wanted),
        height=box.height,
        width=box.width,
        dtype=dtype,
        crs=box.crs,
        transform=box.transform,
        nodata=NODATA_INT8 if dtype.kind == "i" else np.nan,
        tiled=True,
        blockxsize=block,
        blockysize=block,
        interleave="band",
        bigtiff="if_safer",
    ) as file:
        read = embedding.read_stored if dtype.kind == "i" else embedding.read
        for window in embedding.chunks():
            rows, cols = window.slices
            place = rasterio.windows.Window.from_slices(rows, cols)
            file.write(read(window)[wanted], window=place)
        stage = "" if embedding.stage is None else f"stage {embedding.stage}, "
        file.descriptions = [f"{stage}channel {channel + 1}" for channel in wanted]
        file.update_tags(
            MMEARTH_MODEL=embedding.model_name,
            MMEARTH_MODEL_DIGEST=embedding.model_digest,
            AREA_OR_POINT="Area",
        )
        if dtype.kind == "i":
            assert embedding.scale is not None
            file.scales = [embedding.scale] * len(wanted)
            file.offsets = [0.0] * len(wanted)
    add_overviews(draft, Resampling.average)
