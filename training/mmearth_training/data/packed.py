"""Tiles in the packed form: Zarr v3 shards, a chunk a tile, read by TensorStore.

One array for each modality with pixels, and one, `facts`, with a row of bytes a tile
for everything else, so that a tile is seven reads. docs/adr/0007-packed-data.md says
why. Shapes: N tiles, C channels, H W pixels, B bytes. This module brings tensorstore.
"""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import tensorstore

from mmearth_infer.errors import DataError
from mmearth_training.data.layout import (
    DAMAGED,
    LEVELS,
    TILE_PX,
    check_rows,
    reason,
    shapes,
)
from mmearth_training.modalities import INPUT, MODALITIES

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from mmearth_infer.contract.bands import ProductLevel

FORMAT: Final = "mmearth_tiles"
"""Attribute of the group that says how to read it."""

VERSION: Final = 1
"""Version of the packed form."""

FACTS: Final = "facts"
"""Array of everything that has no pixels."""

LEVEL: Final = "level"
"""Field of `FACTS`: place of the product level in `LEVELS`."""

TILE_ID: Final = "tile_id"
"""Field of `FACTS`: what the tile is called."""

_INDEX_CACHE_BYTES: Final = 16 * 2**20  # shard indices; tiles are read once


class PackedTiles:
    """Tiles of a packed data set. One process, the one that opened it, may use it."""

    def __init__(self, path: Path, *, threads: int | None = None) -> None:
        """Read what the store says about itself.

        Args:
            path: The `.zarr` folder.
            threads: Threads that read and decode; None for one a core.

        Raises:
            DataError: If it is not a packed data set, or one of a later version.

        """
        self._path = path
        self._process = os.getpid()
        self._count, self.tile_px, self._facts_dtype = _read_about(path)
        limits = {"limit": threads} if threads else {}
        self._context = tensorstore.Context(
            {
                "cache_pool": {"total_bytes_limit": _INDEX_CACHE_BYTES},
                "data_copy_concurrency": limits,
                "file_io_concurrency": limits,
            }
        )
        self._arrays: dict[str, tensorstore.TensorStore] = {}
        self._array(INPUT)

    def __len__(self) -> int:
        """Tiles in the store."""
        return int(self._count)

    def read(
        self, rows: Sequence[int], names: Sequence[str]
    ) -> Mapping[str, NDArray[Any]]:
        """Return modalities of tiles as stored, in the order of `rows`.

        Raises:
            DataError: If a modality is missing or a tile cannot be read.

        """
        self._check_use(rows)
        fields = self._facts_dtype.names or ()
        with_pixels = [name for name in names if name not in fields]
        pending = {name: self._start(name, rows) for name in with_pixels}
        facts = self._facts(rows) if len(with_pixels) < len(names) else None
        return {
            name: self._finish(name, rows, pending[name])
            if facts is None or name in pending
            else facts[name]
            for name in names
        }

    def levels(self, rows: Sequence[int]) -> tuple[ProductLevel, ...]:
        """Return the Sentinel-2 product level of each tile."""
        self._check_use(rows)
        places = self._facts(rows)[LEVEL].tolist()
        if max(places, default=0) >= len(LEVELS):
            raise DataError(
                f"`{self._path.name}` has a tile of product {max(places)}", hint=DAMAGED
            )
        return tuple(LEVELS[place] for place in places)

    def tile_id(self, row: int) -> str:
        """Return what a tile is called."""
        self._check_use([row])
        name: bytes = self._facts([row])[TILE_ID][0]
        return name.decode(errors="replace")

    def close(self) -> None:
        """Let go of the store."""
        self._arrays.clear()

    def _facts(self, rows: Sequence[int]) -> NDArray[Any]:
        """Return what is known of tiles apart from their pixels."""
        bytes_NB = self._finish(FACTS, rows, self._start(FACTS, rows))
        return np.ascontiguousarray(bytes_NB).view(self._facts_dtype)[:, 0]

    def _start(self, name: str, rows: Sequence[int]) -> Any:  # noqa: ANN401 -- a future
        """Begin to read rows of an array."""
        return self._array(name)[np.array(rows, np.int64)].read(order="C")

    def _finish(self, name: str, rows: Sequence[int], future: Any) -> NDArray[Any]:  # noqa: ANN401
        """Return what was read, or find the row that could not be."""
        try:
            values: NDArray[Any] = future.result()
        except (ValueError, OSError) as error:
            for row in rows if len(rows) > 1 else ():
                self._finish(name, [row], self._start(name, [row]))
            raise DataError(
                f"`{name}` of tile {rows[0]} in `{self._path}` cannot be read: "
                f"{reason(error)}",
                hint=DAMAGED,
            ) from error
        return values

    def _array(self, name: str) -> tensorstore.TensorStore:
        """Return an array after a look at its dtype and shape."""
        if name not in self._arrays:
            if not (self._path / name).is_dir():
                raise DataError(
                    f"`{self._path.name}` has no `{name}`",
                    hint="pack the data set anew if its `.h5` has it",
                )
            self._arrays[name] = self._open(name)
        return self._arrays[name]

    def _open(self, name: str) -> tensorstore.TensorStore:
        """Open an array; a chunk that is missing is an error, not zeros."""
        spec = {
            "driver": "zarr3",
            "kvstore": {"driver": "file", "path": str(self._path / name)},
            "fill_missing_data_reads": False,
            "recheck_cached_data": False,
        }
        try:
            array = tensorstore.open(
                spec, context=self._context, read=True, open=True
            ).result()
        except (ValueError, OSError) as error:
            raise DataError(
                f"`{name}` in `{self._path}` cannot be opened: {reason(error)}",
                hint=DAMAGED,
            ) from error
        allowed: tuple[tuple[int, ...], ...] = (
            (len(self), self._facts_dtype.itemsize),
        )
        if name != FACTS:
            allowed = shapes(name, len(self), self.tile_px)[-1:]
        if array.shape not in allowed:
            raise DataError(
                f"`{name}` in `{self._path.name}` has the shape {array.shape}",
                hint=f"it should be {allowed[0]}; pack the data set anew",
            )
        kinds = "u" if name == FACTS else "iu" if MODALITIES[name].codes else "iuf"
        chunk = array.chunk_layout.read_chunk.shape
        if array.dtype.numpy_dtype.kind not in kinds or chunk != (1, *array.shape[1:]):
            raise DataError(
                f"`{name}` in `{self._path.name}` is {array.dtype.name} in chunks of "
                f"{chunk}",
                hint="pack the data set anew",
            )
        return array

    def _check_use(self, rows: Sequence[int]) -> None:
        """Hold the process against the one that opened the store, and rows."""
        assert os.getpid() == self._process, "opened in another process"
        check_rows(rows, len(self), self._path.name)


def facts_dtype(images: Mapping[str, np.dtype[Any]]) -> np.dtype[Any]:
    """Return a row of `facts` that holds image modalities of these types."""
    return np.dtype(
        [
            (TILE_ID, "S100"),
            (LEVEL, "u1"),
            *((name, kind, (MODALITIES[name].width,)) for name, kind in images.items()),
        ]
    )


def describe(dtype: np.dtype[Any]) -> list[list[Any]]:
    """Return the fields of a row as JSON: name, type, shape."""
    assert dtype.names is not None
    fields = ((name, dtype[name]) for name in dtype.names)
    return [[name, one.base.str, list(one.shape)] for name, one in fields]


def _read_about(path: Path) -> tuple[int, int, np.dtype[Any]]:
    """Return tiles, side of a tile and row of `facts`, as a store tells them."""
    try:
        about = json.loads((path / "zarr.json").read_bytes())["attributes"][FORMAT]
        version = about["version"]
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise DataError(
            f"`{path}` is not a packed data set",
            hint="`mmearth pack` makes one of the published `.h5`",
        ) from error
    if version != VERSION:
        raise DataError(
            f"`{path}` is packed in version {version}, not {VERSION}",
            hint="pack the data set anew, or use the mmearth that packed it",
        )
    try:
        tiles, tile_px = int(about["tiles"]), int(about["tile_px"])
        fields = [(name, kind, tuple(shape)) for name, kind, shape in about[FACTS]]
        dtype: np.dtype[Any] = np.dtype(fields)
    except (ValueError, KeyError, TypeError, OverflowError):
        tiles, tile_px, dtype = 0, 0, np.dtype(np.uint8)
    images = {
        name: dtype[name].base for name in dtype.names or () if name in MODALITIES
    }
    fits = tiles > 0 and tile_px in TILE_PX and dtype == facts_dtype(images)
    if not fits:
        raise DataError(f"`{path}` contradicts itself in `zarr.json`", hint=DAMAGED)
    return tiles, tile_px, dtype
