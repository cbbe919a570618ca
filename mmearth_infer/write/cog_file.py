"""A Cloud Optimized GeoTIFF that is there as a whole or not at all."""

from __future__ import annotations

import shutil
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Final

import rasterio
import rasterio.shutil
from rasterio._err import CPLE_BaseError  # rasterio shows it nowhere else
from rasterio.errors import RasterioError

from mmearth_infer.disk import disk_errors, file_beside
from mmearth_infer.errors import StoreError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rasterio.enums import Resampling

TIFFS: Final = (".tif", ".tiff")
"""Suffixes of GeoTIFFs."""

OVERVIEW_PX: Final = 512
"""Longer side of a file that needs no smaller copy."""

CACHE_BYTES: Final = 256 * 2**20
"""Blocks that GDAL holds at a time."""


@contextmanager
def cog_beside(out: Path, *, block_px: int) -> Iterator[Path]:
    """Give the name of a GeoTIFF that becomes a COG at `out` if the block succeeds.

    Args:
        out: Where the COG goes.
        block_px: Side of its blocks.

    Raises:
        StoreError: If the disk does not take it.

    """
    with (
        rasterio.Env(GDAL_CACHEMAX=CACHE_BYTES, GDAL_PAM_ENABLED="NO"),
        _draft(out) as draft,
        file_beside(out) as aside,
    ):
        try:
            yield draft
            rasterio.shutil.copy(
                draft,
                aside,
                driver="COG",
                blocksize=block_px,
                compress="zstd",
                level=1,
                num_threads="all_cpus",
                bigtiff="if_safer",
            )
        except (RasterioError, CPLE_BaseError) as error:
            raise StoreError(
                f"cannot write `{out}`: {error}",
                hint="free space or choose another place with -o",
            ) from error


def add_overviews(draft: Path, resampling: Resampling) -> None:
    """Add smaller copies to a draft.

    Here, where its bands lie apart, it is many times as fast as in the COG.
    """
    with rasterio.open(draft, "r+") as file:
        factors = overview_factors(max(file.height, file.width))
        if factors:
            file.build_overviews(factors, resampling)


def overview_factors(longer_px: int) -> list[int]:
    """Return 2, 4, ... until the smallest overview is no larger than `OVERVIEW_PX`."""
    factors: list[int] = []
    while longer_px > OVERVIEW_PX * 2 ** len(factors):
        factors.append(2 ** (len(factors) + 1))
    return factors


@contextmanager
def _draft(out: Path) -> Iterator[Path]:
    """Give the name of a file beside the output that is removed at the end."""
    with disk_errors(out):
        folder = tempfile.mkdtemp(prefix=f".{out.name}.", dir=out.parent)
    try:
        yield Path(folder) / "draft.tif"
    finally:
        shutil.rmtree(folder, ignore_errors=True)
