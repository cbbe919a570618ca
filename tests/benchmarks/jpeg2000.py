"""Reading a .SAFE: bands side by side, against one by one, and against the floor.

    python -m tests.benchmarks.jpeg2000 [--rows 2048] [--threads 2]

A product as wide as a Sentinel-2 tile, made of copies of the Major TOM scene with a
little noise in each pixel, lossless, in blocks as ESA's files have. In turns:

1. *once*: every block of every file decoded once, in one thread; no way does less.
2. *one by one*: swath by swath, band after band, in the bands' own pixels, decoded by
   GDAL with `--threads` threads: what a plain program does.
3. *ours*: swath by swath as `mmearth embed` reads, brought to 10 m.

Seconds of wall time, and of all cores together, which other work on the machine moves
less. The last line is JSON.
"""

from __future__ import annotations

import json
import statistics
import tempfile
import time
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import numpy as np
import rasterio
from affine import Affine

from mmearth_infer.contract.bands import BANDS, find_band
from mmearth_infer.feed.batches import read_swaths
from mmearth_infer.grid.plan import plan_tiles
from mmearth_infer.grid.window import Window
from mmearth_infer.read.options import SceneOptions
from mmearth_infer.read.raster import gdal_settings, open_raster, read_raster
from mmearth_infer.read.source import open_source
from mmearth_infer.run.tiling import DEFAULT_HALO_PX, DEFAULT_WINDOW_PX
from tests.helpers.data import MAJORTOM
from tests.helpers.safe import write_safe

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

WIDTH = 10_980
STRIDE = 16


@dataclass(frozen=True)
class Seconds:
    """What reading a product took."""

    wall: float
    """By the clock."""

    cores: float
    """Of all cores together."""


def write_product(folder: Path, *, rows: int, cols: int) -> Path:
    """Write a product of that many 10 m pixels."""
    with rasterio.open(MAJORTOM) as file:
        once = {
            find_band(n): dn
            for n, dn in zip(file.descriptions, file.read(), strict=True)
        }
        crs = file.crs
    rng = np.random.default_rng(0)
    bands: dict[str, tuple[NDArray[np.uint16], dict[str, Any]]] = {}
    for name, dn in once.items():
        assert name is not None
        factor = BANDS[name].native_px_m // 10
        height, width = -(-rows // factor), -(-cols // factor)
        thin = dn[:1020:factor, :1020:factor]
        copies = -(-height // thin.shape[0]), -(-width // thin.shape[1])
        pixels = np.tile(thin, copies)[:height, :width]
        pixels = pixels + rng.integers(0, 8, pixels.shape, dtype=np.uint16)
        place = {"crs": crs, "transform": Affine(10, 0, 6e5, 0, -10, 53e5)}
        bands[name] = (
            pixels,
            {**place, "transform": place["transform"] @ Affine.scale(factor)},
        )
    return write_safe(folder, bands)


def files_of(safe: Path) -> list[Path]:
    """Return the bands' files at their native resolutions."""
    return [file for file in safe.rglob("*.jp2") if not file.match("*_B02_60m.jp2")]


def read_once(safe: Path) -> None:
    """Decode every block once, in one thread."""
    with gdal_settings(1):
        for path in files_of(safe):
            with rasterio.open(path, sharing=False) as file:
                for _, block in file.block_windows(1):
                    file.read(1, window=block)


def read_one_by_one(safe: Path, threads: int) -> None:
    """Read the rows of each swath that are new, band after band."""
    with ExitStack() as stack:
        files = [
            stack.enter_context(open_raster(path, threads=threads))
            for path in files_of(safe)
        ]
        tallest = max(file.height for file in files)
        step = DEFAULT_WINDOW_PX - 2 * DEFAULT_HALO_PX["frozen"]
        for top in range(0, tallest, step):
            for file in files:
                first, last = (
                    min(row * file.height // tallest, file.height)
                    for row in (top, top + step)
                )
                window = Window(row=first, col=0, height=last - first, width=file.width)
                read_raster(file, 1, window, threads=threads, name=file.name)


def read_ours(safe: Path, threads: int) -> None:
    """Read as `mmearth embed` does."""
    with open_source(
        str(safe), options=SceneOptions(), wanted=None, threads=threads
    ) as source:
        box = source.scene.geobox
        plan = plan_tiles(
            height_px=box.height,
            width_px=box.width,
            stride_px=STRIDE,
            multiple_px=STRIDE,
            window_px=DEFAULT_WINDOW_PX,
            halo_px=DEFAULT_HALO_PX["frozen"],
        )
        for _ in read_swaths(source, plan, plan.rows):
            pass


def timed(read: Callable[[], None]) -> Seconds:
    """Return what a call took."""
    wall, cores = time.perf_counter(), time.process_time()
    read()
    return Seconds(wall=time.perf_counter() - wall, cores=time.process_time() - cores)


def measure(safe: Path, *, threads: int, turns: int) -> dict[str, Seconds]:
    """Return the median of each way, measured in turns."""
    ways: dict[str, Callable[[], None]] = {
        "once": lambda: read_once(safe),
        "one by one": lambda: read_one_by_one(safe, threads),
        "ours": lambda: read_ours(safe, threads),
    }
    taken = [{name: timed(read) for name, read in ways.items()} for _ in range(turns)]
    return {
        name: Seconds(
            wall=statistics.median(turn[name].wall for turn in taken),
            cores=statistics.median(turn[name].cores for turn in taken),
        )
        for name in ways
    }


@click.command()
@click.option("--rows", default=2048, show_default=True)
@click.option("--threads", default=2, show_default=True)
@click.option("--turns", default=3, show_default=True)
def main(*, rows: int, threads: int, turns: int) -> None:
    """Measure reading of JPEG 2000."""
    with tempfile.TemporaryDirectory() as name:
        safe = write_product(Path(name), rows=rows, cols=WIDTH)
        found = measure(safe, threads=threads, turns=turns)
    mpx = rows * WIDTH / 1e6
    report = {
        name: {
            "Mpx/s": round(mpx / one.wall, 3),
            "Mpx a second of a core": round(mpx / one.cores, 3),
            "times the floor, cores": round(one.cores / found["once"].cores, 3),
            "ours is faster, wall": round(one.wall / found["ours"].wall, 3),
        }
        for name, one in found.items()
    }
    for name, row in report.items():
        print(name, row)
    print(json.dumps(report))


if __name__ == "__main__":
    main()
