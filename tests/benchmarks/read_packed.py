"""Tiles a second in random order: packed against published, in one process.

One thread, single tiles, all twelve modalities and Sentinel-2 alone. The incumbent
reads the gzip HDF5 as it is published, a chunk a tile, and uses h5py as the published
data loader does: a lookup a modality. Pixels are those of real scenes, cut by
`mmearth make-dataset`; Sentinel-1 has the noise of radar. Decides
docs/adr/0007-packed-data.md.

    python -m tests.benchmarks.read_packed
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import h5py
import numpy as np

from mmearth_training.data.folder import open_folder
from mmearth_training.data.make import MakeConfig, make_dataset
from mmearth_training.data.mmearth import H5Tiles
from mmearth_training.data.pack import pack
from mmearth_training.data.packed import PackedTiles
from mmearth_training.data.splits import Shares
from mmearth_training.modalities import MODALITIES
from tests.helpers.data import MAJORTOM, SEN1FLOODS

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    Read = Callable[[int, Sequence[str]], object]

SETS = {"all": tuple(MODALITIES), "s2": ("sentinel2",)}


@dataclass(frozen=True)
class Result:
    """Figures of one set of modalities."""

    names: str
    """Name of the set."""

    incumbent_per_s: float
    """Tiles a second through h5py, as published."""

    h5_per_s: float
    """Tiles a second through `H5Tiles`."""

    packed_per_s: float
    """Tiles a second through `PackedTiles`."""

    published_mb: float
    """Size of the `.h5`."""

    packed_mb: float
    """Size of the `.zarr`."""

    @property
    def ratio(self) -> float:
        """How many times as fast the packed form is."""
        return self.packed_per_s / self.incumbent_per_s


def rate(read: Read, rows: Sequence[int], names: Sequence[str]) -> float:
    """Return tiles a second."""
    read(rows[0], names)  # opens what is opened once
    began = time.perf_counter()
    for row in rows:
        read(row, names)
    return len(rows) / (time.perf_counter() - began)


def measure(published: Path, packed: Path, *, tiles: int, repeats: int) -> list[Result]:
    """Time the three readers in turns, over the same rows in the same order."""
    done = pack(open_folder(published), packed)
    h5_path = open_folder(published).tiles_path
    ours = H5Tiles(h5_path)
    fast = PackedTiles(open_folder(packed).tiles_path, threads=1)
    results = []
    with h5py.File(h5_path) as file:
        readers: dict[str, Read] = {
            "incumbent": lambda row, names: [file[name][row] for name in names],
            "h5": lambda row, names: ours.read([row], names),
            "packed": lambda row, names: fast.read([row], names),
        }
        for label, names in SETS.items():
            rates: dict[str, list[float]] = {reader: [] for reader in readers}
            for repeat in range(repeats):
                order = np.random.default_rng(repeat).permutation(done.tiles)
                for reader, read in readers.items():
                    rates[reader].append(rate(read, order[:tiles].tolist(), names))
            medians = {
                reader: statistics.median(all_) for reader, all_ in rates.items()
            }
            results.append(
                Result(
                    names=label,
                    incumbent_per_s=medians["incumbent"],
                    h5_per_s=medians["h5"],
                    packed_per_s=medians["packed"],
                    published_mb=done.published_bytes / 1e6,
                    packed_mb=done.packed_bytes / 1e6,
                )
            )
    ours.close()
    fast.close()
    return results


def main() -> None:
    """Print a table and its ratios, then the same as a line of JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--stride", type=int, default=48)
    parser.add_argument("--tiles", type=int, default=200)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--scene", nargs="+", default=[str(MAJORTOM), str(SEN1FLOODS)])
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        published = Path(name) / "published"
        config = MakeConfig(
            scenes=tuple(asked.scene),
            out=published,
            stride_px=asked.stride,
            shares=Shares(val=0, test=0),
        )
        made = make_dataset(config, quiet=False)
        print(f"{made.tiles['train']} tiles of 128 px, median of {asked.repeats}")
        results = measure(
            published, Path(name) / "packed", tiles=asked.tiles, repeats=asked.repeats
        )
    print("set | h5py as published  H5Tiles   packed | ratio | h5 MB  packed MB")
    for result in results:
        print(
            f"{result.names:3s} | {result.incumbent_per_s:11.0f} tiles/s "
            f"{result.h5_per_s:7.0f}/s {result.packed_per_s:7.0f}/s | "
            f"{result.ratio:5.2f} | {result.published_mb:5.0f}  {result.packed_mb:6.0f}"
        )
    print(json.dumps([asdict(result) | {"ratio": result.ratio} for result in results]))


if __name__ == "__main__":
    main()
