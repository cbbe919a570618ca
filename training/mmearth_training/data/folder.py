"""A data set as it lies on disk: its files, splits and statistics, without its tiles.

The h5 file is never opened here: a process that opened one and then forks, or that
shares it with threads, gets wrong bytes. Tiles are opened where they are read.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeVar

from mmearth_infer.contract.normalize import Statistics
from mmearth_infer.errors import DataError
from mmearth_training.data.files import (
    StoredStatistics,
    parse_splits,
    parse_statistics,
    parse_synthetic,
    read_json,
)
from mmearth_training.modalities import INPUT, MODALITIES, MODEL_BANDS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from mmearth_infer.contract.bands import ProductLevel
    from mmearth_training.data.tiles import Tiles

T = TypeVar("T")

PACKED: Final = ".zarr"
"""Suffix of the packed form."""

PUBLISHED: Final = ".h5"
"""Suffix of the published form."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DataFolder:
    """A data set whose small files were read and found right."""

    path: Path
    """Folder that holds it."""

    name: str
    """What its files are called after."""

    packed: bool
    """Whether the tiles are in our format, not in the published one."""

    splits: Mapping[str, tuple[int, ...]]
    """Rows of each split, by `SPLITS`."""

    statistics: Mapping[str, StoredStatistics]
    """Entries of NAME_band_stats.json."""

    synthetic: tuple[str, ...]
    """Modalities that were made up, as NAME_provenance.json says."""

    digest: str
    """SHA-256 of name, splits, statistics and the sizes of the data files.

    Not of their bytes: there can be 600 GB of them.
    """

    @property
    def tiles_path(self) -> Path:
        """Where the tiles are."""
        return self.path / f"{self.name}{PACKED if self.packed else PUBLISHED}"

    def open(self) -> Tiles:
        """Open the tiles, in the process that is going to read them.

        Raises:
            DataError: If they cannot be opened.

        """
        if self.packed:
            from mmearth_training.data.packed import PackedTiles  # noqa: PLC0415 -- brings tensorstore

            return PackedTiles(self.tiles_path)
        from mmearth_training.data.mmearth import H5Tiles  # noqa: PLC0415 -- brings h5py

        return H5Tiles(self.tiles_path)


def open_folder(path: Path) -> DataFolder:
    """Read everything about a data set but its tiles.

    Args:
        path: The folder, or the `.h5` or `.zarr` in it.

    Raises:
        DataError: If a file is missing or does not say what it should.

    """
    tiles = _find_tiles(path)
    name, folder = tiles.stem, tiles.parent
    splits, statistics, provenance = (
        folder / f"{name}_{kind}.json"
        for kind in ("splits", "band_stats", "provenance")
    )
    said = [read_json(splits), read_json(statistics)]
    synthetic: tuple[str, ...] = ()
    if provenance.exists():
        synthetic = parse_synthetic(read_json(provenance), provenance.name)
    return DataFolder(
        path=folder,
        name=name,
        packed=tiles.suffix == PACKED,
        splits=parse_splits(said[0], splits.name),
        statistics=parse_statistics(said[1], statistics.name),
        synthetic=synthetic,
        digest=_digest(name, *said, sorted(_sizes(tiles))),
    )


def statistics_of(
    folder: DataFolder,
    modality: str,
    channels: Sequence[str],
    level: ProductLevel | None,
) -> Statistics:
    """Return the statistics of channels, found by name.

    Args:
        folder: The data set.
        modality: A continuous modality.
        channels: Names out of its row in `MODALITIES`, in the order wanted.
        level: Product level, for `sentinel2` alone.

    Raises:
        DataError: If the file lacks the modality, a channel or a usable value.

    """
    assert (level is not None) == (modality == INPUT), (modality, level)
    key = f"{modality}_{level}" if level else modality
    source = f"{folder.name}_band_stats.json"
    hint = "take the file that came with the data set"
    if key not in folder.statistics:
        raise DataError(f"`{source}` has no statistics of `{key}`", hint=hint)
    stored = folder.statistics[key]
    names = MODALITIES[modality].channels
    if modality == INPUT and len(stored.mean) == len(MODEL_BANDS):
        names = MODEL_BANDS
    if len(stored.mean) != len(names):
        raise DataError(
            f"`{source}` has {len(stored.mean)} values of `{key}` for "
            f"{len(names)} channels",
            hint=hint,
        )
    mean, std = [], []
    for channel in channels:
        if channel not in names:
            raise DataError(
                f"`{source}` has no statistics of channel `{channel}` of `{key}`",
                hint=hint,
            )
        row = names.index(channel)
        one_mean, one_std = stored.mean[row], stored.std[row]
        if one_mean is None or one_std is None or not _usable(one_mean, one_std):
            raise DataError(
                f"`{source}` has mean {one_mean} and standard deviation {one_std} "
                f"for channel `{channel}` of `{key}`",
                hint=hint,
            )
        mean.append(one_mean)
        std.append(one_std)
    return Statistics(mean=tuple(mean), std=tuple(std))


def _usable(mean: float, std: float) -> bool:
    """Tell whether values can be standardised with these numbers."""
    return math.isfinite(mean) and math.isfinite(std) and std > 0


def check_folder(folder: DataFolder, names: Sequence[str]) -> int:
    """Open the tiles in a process of their own and hold them against the rest.

    Args:
        folder: The data set.
        names: Modalities that will be read.

    Returns:
        Side of a tile in pixels.

    Raises:
        DataError: If a modality is missing or not as published, a split names a row
            that is not there, statistics lack a value, or a tile cannot be read.

    """
    from mmearth_training.data.check import check_tiles  # noqa: PLC0415 -- imports us

    return in_another_process(check_tiles, folder.tiles_path, tuple(names))


def in_another_process(work: Callable[..., T], *args: Any) -> T:  # noqa: ANN401
    """Return `work(*args)`, done in a fresh process that ends with it.

    Raises:
        DataError: If the process dies.

    """
    context = get_context("spawn")  # a fork would share what this process has open
    with ProcessPoolExecutor(max_workers=1, mp_context=context) as pool:
        try:
            return pool.submit(work, *args).result()
        except BrokenProcessPool as error:
            raise DataError(
                "the process that opens the data died",
                hint="the file is damaged, memory has run out, or a script of yours "
                'that trains lacks `if __name__ == "__main__":`',
            ) from error


def _find_tiles(path: Path) -> Path:
    """Return the one `.h5` or `.zarr` meant by a path."""
    if not os.path.exists(path):  # noqa: PTH110 -- never raises
        raise DataError(
            f"there is no data set at `{path}`",
            hint="`mmearth make-dataset` writes a small one from scenes",
        )
    tiles = path.suffix == PACKED and (path / "zarr.json").exists()
    if tiles or (path.suffix == PUBLISHED and not path.is_dir()):
        return path
    if not path.is_dir():
        raise DataError(
            f"`{path}` is neither a folder nor a `.h5` or `.zarr`",
            hint="give the folder that holds NAME.h5 and NAME_splits.json",
        )
    found = sorted(
        one
        for suffix in (PACKED, PUBLISHED)
        for one in path.glob(f"*{suffix}")
        if not one.name.startswith(".")
    )
    if len(found) != 1:
        listed = ", ".join(one.name for one in found) or "no `.h5` and no `.zarr`"
        raise DataError(
            f"`{path}` holds {listed}, not one data set",
            hint="give the path of the `.h5` or `.zarr` itself",
        )
    return found[0]


def _sizes(tiles: Path) -> Iterator[tuple[str, int]]:
    """Yield name and size of each data file."""
    if tiles.is_file():
        yield tiles.name, tiles.stat().st_size
        return
    for root, _, files in os.walk(tiles):
        for file in files:
            path = Path(root, file)
            yield path.relative_to(tiles).as_posix(), path.stat().st_size


def _digest(*parts: object) -> str:
    """Return the SHA-256 of JSON values."""
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()
