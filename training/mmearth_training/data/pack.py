"""`mmearth pack`: rewrites a published data set so that it reads fast.

Shapes: N tiles, B bytes. This module writes with zarr what `packed` reads.
"""

from __future__ import annotations

import shutil
from contextlib import closing
from dataclasses import dataclass
from importlib.metadata import version
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import zarr
from zarr.codecs import BloscCodec, Crc32cCodec
from zarr.storage import LocalStore

from mmearth_infer.disk import check_output
from mmearth_infer.errors import DataError, StoreError
from mmearth_training.data import packed
from mmearth_training.data.beside import DATA_SET, MADE_BY, made_beside
from mmearth_training.data.files import read_json
from mmearth_training.data.folder import PACKED, DataFolder
from mmearth_training.data.layout import LEVELS
from mmearth_training.data.mmearth import H5Tiles
from mmearth_training.data.progress import tracked
from mmearth_training.modalities import MODALITIES

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

SHARD_TILES: Final = 256
"""Tiles a file: 134 MB of Sentinel-1 in memory, 5000 files an array of MMEarth."""

_COPIED: Final = ("splits", "band_stats", "tile_info")


@dataclass(frozen=True, slots=True, kw_only=True)
class Packed:
    """What came of it."""

    out: Path
    """Folder of the packed data set."""

    tiles: int
    """Tiles in it."""

    modalities: tuple[str, ...]
    """Modalities that were packed; cloud masks, which no task reads, are not."""

    published_bytes: int
    """Size of the `.h5`."""

    packed_bytes: int
    """Size of the `.zarr`."""


def pack(
    folder: DataFolder, out: Path, *, overwrite: bool = False, quiet: bool = True
) -> Packed:
    """Rewrite a data set in the packed form.

    `PackedTiles.read` equals `H5Tiles.read` bit for bit.

    Args:
        folder: A data set in the published form.
        out: Folder of the new data set, which is called as the old.
        overwrite: Replace a data set of ours that is there, once this is complete.
        quiet: Show no progress.

    Raises:
        DataError: If it is packed already or cannot be read.
        StoreError: If the folder exists or cannot be written.

    """
    if folder.packed:
        raise DataError(
            f"`{folder.tiles_path}` is packed already", hint="train on it as it is"
        )
    if folder.tiles_path.resolve().is_relative_to(out.resolve()):
        raise StoreError(
            f"`{out}` holds the data set itself", hint="give another folder with -o"
        )
    check_output(out, DATA_SET, overwrite=overwrite)
    provenance = folder.path / f"{folder.name}_provenance.json"
    before = read_json(provenance) if provenance.exists() else {"synthetic": {}}
    with (
        closing(H5Tiles(folder.tiles_path)) as tiles,
        made_beside(
            out,
            name=folder.name,
            provenance={
                **before,
                MADE_BY: "mmearth pack",
                "packed_version": version("mmearth-infer"),
                "packed_digest": folder.digest,
            },
            overwrite=overwrite,
        ) as partial,
    ):
        names = tuple(name for name in MODALITIES if name in tiles)
        store = partial / f"{folder.name}{PACKED}"
        _write(tiles, store, names, quiet=quiet)
        for kind in _COPIED:
            copied = folder.path / f"{folder.name}_{kind}.json"
            if copied.exists():
                shutil.copyfile(copied, partial / copied.name)
        count = len(tiles)
        files = (path for path in store.rglob("*") if path.is_file())
        packed_bytes = sum(path.stat().st_size for path in files)
    return Packed(
        out=out,
        tiles=count,
        modalities=names,
        published_bytes=folder.tiles_path.stat().st_size,
        packed_bytes=packed_bytes,
    )


def _write(tiles: H5Tiles, store: Path, names: Sequence[str], *, quiet: bool) -> None:
    """Write a shard of one array after another, so that memory holds one."""
    images = [name for name in names if MODALITIES[name].level == "image"]
    first = tiles.read([0], names)
    facts_dtype = packed.facts_dtype({name: first[name].dtype for name in images})
    about = {
        "version": packed.VERSION,
        "tiles": len(tiles),
        "tile_px": tiles.tile_px,
        packed.FACTS: packed.describe(facts_dtype),
    }
    group = zarr.create_group(LocalStore(store), attributes={packed.FORMAT: about})
    arrays = {
        name: _create(group, name, len(tiles), first[name].shape[1:], first[name].dtype)
        for name in names
        if name not in images
    }
    shape = (facts_dtype.itemsize,)
    facts = _create(group, packed.FACTS, len(tiles), shape, np.dtype(np.uint8))
    starts = range(0, len(tiles), SHARD_TILES)
    for start in tracked(starts, total=len(starts), text="packing", quiet=quiet):
        rows = range(start, min(start + SHARD_TILES, len(tiles)))
        place = slice(rows.start, rows.stop)
        for name, array in arrays.items():
            array[place] = tiles.read(rows, [name])[name]
        known = np.zeros(len(rows), facts_dtype)
        known[packed.TILE_ID] = [tiles.tile_id(row).encode() for row in rows]
        known[packed.LEVEL] = [LEVELS.index(level) for level in tiles.levels(rows)]
        for name, values in tiles.read(rows, images).items():
            known[name] = values
        facts[place] = known[:, None].view(np.uint8)


def _create(
    group: zarr.Group,
    name: str,
    count: int,
    shape: tuple[int, ...],
    dtype: np.dtype[Any],
) -> zarr.Array[Any]:
    """Create an array of one chunk a tile, many chunks a file."""
    return group.create_array(
        name,
        shape=(count, *shape),
        chunks=(1, *shape),
        shards=(SHARD_TILES, *shape),
        dtype=dtype,
        compressors=[
            BloscCodec(cname="lz4", clevel=5, shuffle="bitshuffle"),
            Crc32cCodec(),  # a flipped bit is an error, as it is in gzip
        ],
        # a chunk that is left out could not be told from one that was lost
        config={"write_empty_chunks": True},
    )
