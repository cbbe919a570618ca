"""The published layout: one HDF5 file, a dataset a modality, a chunk a tile.

Shapes: N tiles, C channels, H W pixels of a whole tile. This module brings h5py.
"""

from __future__ import annotations

import io
import os
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any, Final, cast

import h5py
import numpy as np

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
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from mmearth_infer.contract.bands import ProductLevel

METADATA: Final = "metadata"
"""Dataset that says what each tile is called and which product it came from."""

METADATA_DTYPE: Final = np.dtype([("tile_id", "S100"), ("S2_type", "S10")])
"""Its rows."""

CLOUDS: Final = {
    "sentinel2_cloudmask": "uint16",
    "sentinel2_cloudprod": "uint16",
    "sentinel2_scl": "uint8",
}
"""Published datasets that no task reads, with how they are stored."""


class H5Tiles:
    """Tiles of a published file. One process, the one that opened it, may use it."""

    def __init__(self, path: Path) -> None:
        """Open the file and look at the shape of its input.

        Raises:
            DataError: If it is no HDF5 file, or not in the published layout.

        """
        self._path = path
        self._process = os.getpid()
        try:
            # a chunk is read once and is larger than what a cache would keep
            self._file = h5py.File(path, "r", rdcc_nbytes=0)
        except (OSError, ValueError) as error:
            raise DataError(
                f"`{path}` cannot be opened as HDF5: {reason(error)}", hint=DAMAGED
            ) from error
        with ExitStack() as closing:  # unless all goes well
            closing.callback(self._file.close)
            self._datasets: dict[str, h5py.Dataset] = {}
            self._count, *_, self.tile_px = self._dataset(INPUT).shape
            self._metadata = self._open_metadata()
            closing.pop_all()

    def __len__(self) -> int:
        """Tiles in the file."""
        return int(self._count)

    def __contains__(self, name: object) -> bool:
        """Tell whether the file has a modality."""
        return name in self._file

    def read(
        self, rows: Sequence[int], names: Sequence[str]
    ) -> Mapping[str, NDArray[Any]]:
        """Return modalities of tiles as stored, in the order of `rows`.

        Raises:
            DataError: If a modality is missing or a tile cannot be read.

        """
        self._check_use(rows)
        return {name: self._read(name, rows) for name in names}

    def _read(self, name: str, rows: Sequence[int]) -> NDArray[Any]:
        """Read tile by tile: h5py selects sorted rows alone, and no faster."""
        dataset = self._dataset(name)
        values = np.empty((len(rows), *dataset.shape[1:]), dataset.dtype)
        for place, row in enumerate(rows):
            with self._damage(name, row):
                dataset.read_direct(values, np.s_[row], np.s_[place])
        return values[:, 0] if MODALITIES[name].codes and values.ndim > 3 else values  # noqa: PLR2004

    def levels(self, rows: Sequence[int]) -> tuple[ProductLevel, ...]:
        """Return the Sentinel-2 product level of each tile.

        Raises:
            DataError: If a row says something else.

        """
        self._check_use(rows)
        return tuple(self._level(row) for row in rows)

    def _level(self, row: int) -> ProductLevel:
        with self._damage(METADATA, row):
            level = self._metadata[row]["S2_type"].decode(errors="replace")
        if level not in LEVELS:
            raise DataError(
                f"`{self._path.name}` says tile {row} is of product `{level}`",
                hint="`S2_type` is l1c or l2a",
            )
        return cast("ProductLevel", level)

    def tile_id(self, row: int) -> str:
        """Return what a tile is called."""
        self._check_use([row])
        with self._damage(METADATA, row):
            name: str = self._metadata[row]["tile_id"].decode(errors="replace")
        return name

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def _dataset(self, name: str) -> h5py.Dataset:
        """Return a modality after a look at its dtype and shape."""
        if name not in self._datasets:
            dataset = self._find(name)
            self._check(name, dataset)
            self._datasets[name] = dataset
        return self._datasets[name]

    def _find(self, name: str) -> h5py.Dataset:
        """Return a dataset of the file."""
        try:
            dataset = self._file.get(name)
            inside = isinstance(self._file.get(name, getlink=True), h5py.HardLink)
        except (OSError, RuntimeError, KeyError) as error:
            raise DataError(
                f"`{name}` in `{self._path}` cannot be opened: {reason(error)}",
                hint=DAMAGED,
            ) from error
        if not isinstance(dataset, h5py.Dataset):
            raise DataError(
                f"`{self._path.name}` has no `{name}`",
                hint=f"it has {', '.join(self._file)}",
            )
        if not inside or dataset.external or dataset.is_virtual:
            raise DataError(
                f"`{name}` in `{self._path.name}` lies in another file",
                hint="a data set is one file; another could be any file of yours",
            )
        if dataset.chunks and np.prod(dataset.chunks[1:]) > np.prod(dataset.shape[1:]):
            raise DataError(
                f"`{name}` in `{self._path.name}` has chunks larger than a tile",
                hint=DAMAGED,
            )
        return dataset

    def _check(self, name: str, dataset: h5py.Dataset) -> None:
        """Refuse another kind of number, another shape or another count."""
        shape = dataset.shape
        if name == INPUT:
            side = shape[-1] if shape else 0
            count = shape[0] if shape else 0
            if side not in TILE_PX:
                raise DataError(
                    f"`{name}` in `{self._path.name}` has the shape {shape}",
                    hint="tiles are (N, 13, 128, 128), or (N, 13, 64, 64)",
                )
        else:
            count, side = len(self), self.tile_px
        allowed = shapes(name, count, side)
        if shape not in allowed:
            raise DataError(
                f"`{name}` in `{self._path.name}` has the shape {shape}",
                hint=f"beside {count} tiles of {side} px it should be {allowed[0]}",
            )
        kinds = "iu" if MODALITIES[name].codes else "iuf"
        if dataset.dtype.kind not in kinds:
            raise DataError(
                f"`{name}` in `{self._path.name}` is stored as {dataset.dtype}",
                hint=f"it is published as {MODALITIES[name].dtype}",
            )

    def _open_metadata(self) -> h5py.Dataset:
        """Return the dataset that holds the levels."""
        metadata = self._find(METADATA)
        fields = metadata.dtype.names or ()
        strings = all(
            field in fields and metadata.dtype[field].kind == "S"
            for field in METADATA_DTYPE.names or ()
        )
        if not strings or metadata.shape != (len(self),):
            raise DataError(
                f"`{METADATA}` in `{self._path.name}` has no `tile_id` and `S2_type` "
                "for each tile",
                hint="the published files have rows of `tile_id` and `S2_type`",
            )
        return metadata

    def _check_use(self, rows: Sequence[int]) -> None:
        """Hold the process against the one that opened the file, and rows."""
        assert os.getpid() == self._process, "opened in another process"
        check_rows(rows, len(self), self._path.name)

    @contextmanager
    def _damage(self, name: str, row: int) -> Iterator[None]:
        """Say which tile it was that could not be read."""
        try:
            yield
        except (OSError, RuntimeError, ValueError) as error:
            raise DataError(
                f"`{name}` of tile {row} in `{self._path}` cannot be read: "
                f"{reason(error)}",
                hint=DAMAGED,
            ) from error


class _Disk(io.FileIO):
    """A file that keeps the first error of the disk instead of raising it.

    HDF5 cannot end in order when a write fails, and takes the process with it.
    """

    error: OSError | None = None

    def write(self, data: Any, /) -> int:  # noqa: ANN401 -- a buffer
        """Write, or note that it failed."""
        if self.error is None:
            try:
                return super().write(data)
            except OSError as error:
                self.error = error
        return len(data)

    def truncate(self, size: int | None = None, /) -> int:
        """Change the size, or note that it failed."""
        if self.error is None:
            try:
                return super().truncate(size)
            except OSError as error:
                self.error = error
        return size or 0


class H5Writer:
    """A published file in the making.

    Its methods raise OSError if the disk does not take what is written.
    """

    def __init__(
        self,
        path: Path,
        *,
        tiles: int,
        tile_px: int,
        modalities: Mapping[str, str | None],
    ) -> None:
        """Create every dataset.

        Args:
            path: The file.
            tiles: Tiles there may be at most.
            tile_px: Side of a tile.
            modalities: Those there will be, with how they are made up, if they are.

        """
        self._disk = _Disk(path, "w+")
        self._file = h5py.File(self._disk, "w")
        kinds: dict[str, Any] = {name: MODALITIES[name].dtype for name in modalities}
        every = {name: shapes(name, tiles, tile_px)[0] for name in modalities}
        every |= dict.fromkeys(CLOUDS, (tiles, 1, tile_px, tile_px))
        every |= {METADATA: (tiles,)}
        kinds |= CLOUDS | {METADATA: METADATA_DTYPE}
        for name, shape in every.items():
            dataset = self._file.create_dataset(
                name,
                shape,
                kinds[name],
                maxshape=shape,
                chunks=(1, *shape[1:]),
                compression="gzip",
            )
            if how := modalities.get(name):
                dataset.attrs["synthetic"] = True
                dataset.attrs["how"] = how

    def write(self, name: str, rows: int | slice, values: Any) -> None:  # noqa: ANN401 -- as stored
        """Write one row of a dataset, or several."""
        self._file[name][rows] = values
        self._check()

    def finish(self, tiles: int) -> None:
        """Cut the datasets off behind the last tile and close the file."""
        for dataset in self._file.values():
            dataset.resize(tiles, axis=0)
        self.close()
        self._check()

    def close(self) -> None:
        """Close the file."""
        self._file.close()
        self._disk.close()

    def _check(self) -> None:
        """Raise what the disk said."""
        if self._disk.error is not None:
            raise self._disk.error
