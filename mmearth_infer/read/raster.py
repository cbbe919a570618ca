"""Opening and reading rasters with GDAL: its settings, its errors in our words."""

from __future__ import annotations

import os
import re
import warnings
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import rasterio
from rasterio import windows
from rasterio._err import CPLE_BaseError
from rasterio.errors import NotGeoreferencedWarning, RasterioError

from mmearth_infer.errors import SceneError
from mmearth_infer.grid.window import Window

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from numpy.typing import NDArray
    from rasterio.io import DatasetReader

GDAL_CACHE_BYTES: Final = 256 * 2**20
"""GDAL's block cache: one row of 512 px blocks of a Sentinel-2 tile is 135 MB.

GDAL's own default is 5 % of the machine's memory, which would let memory grow with
the scene on a large machine. What the environment says comes first.
"""

HTTP_SETTINGS: Final = {
    "GDAL_HTTP_CONNECTTIMEOUT": "10",
    "GDAL_HTTP_LOW_SPEED_LIMIT": "1",
    "GDAL_HTTP_LOW_SPEED_TIME": "30",
    "GDAL_HTTP_MAX_RETRY": "3",
    "GDAL_HTTP_RETRY_DELAY": "1",
}
"""Servers that do not answer are given up on, those that are busy asked again.

The delay doubles with each retry. What the environment says comes first.
"""

PLAIN_DRIVERS: Final = ("GTiff", "JP2OpenJPEG", "JP2KAK", "JP2ECW", "JP2MrSID")
"""Formats that hold pixels themselves and point at no other file."""

COARSE_PX: Final = 1024
"""Side of what is sampled from all over a scene, where `sample_windows` are empty."""

_ERRORS: Final = (RasterioError, CPLE_BaseError, UnicodeError)
_SCHEMES: Final = {
    "http://": "/vsicurl/http://",
    "https://": "/vsicurl/https://",
    "s3://": "/vsis3/",
    "gs://": "/vsigs/",
    "az://": "/vsiaz/",
}
_REMOTE: Final = re.compile(r"/vsi(curl|s3|gs|az)")
_SAMPLE_PX: Final = 256
_SAMPLE_PLACES: Final = (0.0, 0.25, 0.5, 0.75, 1.0)


def gdal_path(path: str | Path) -> str:
    """Return what GDAL calls a path or an address.

    >>> gdal_path("s3://bucket/scene.tif"), gdal_path("scene.tif")
    ('/vsis3/bucket/scene.tif', 'scene.tif')
    """
    text = str(path)
    for scheme, prefix in _SCHEMES.items():
        if text.lower().startswith(scheme):
            return prefix + text[len(scheme) :]
    return text


def is_remote(path: str | Path) -> bool:
    """Tell whether reading a path asks a server."""
    return _REMOTE.match(gdal_path(path)) is not None


def shown(path: str | Path) -> str:
    """Return a path without what follows `?`, which may be a secret."""
    text = str(path)
    return text.partition("?")[0] if is_remote(text) else text


def gdal_settings(threads: int) -> rasterio.Env:
    """Return GDAL's settings; they hold for one thread, so each read brings them."""
    ours = {**HTTP_SETTINGS, "GDAL_CACHEMAX": GDAL_CACHE_BYTES}
    settings = {key: say for key, say in ours.items() if key not in os.environ}
    return rasterio.Env(GDAL_NUM_THREADS=str(threads), **settings)


def open_raster(
    path: str | Path,
    *,
    threads: int = 1,
    drivers: Sequence[str] | None = None,
    hint: str = "give a GeoTIFF with all bands on one grid",
) -> DatasetReader:
    """Open a raster that holds bands of one real number type.

    Args:
        path: Where it is, as the user or another file says.
        threads: Threads GDAL decodes with.
        drivers: Formats it may have, by GDAL's names; None for all.
        hint: What to do if it cannot be opened.

    Raises:
        SceneError: If it cannot be opened, or holds something else.

    """
    name = shown(path)
    listing = {"GDAL_DISABLE_READDIR_ON_OPEN": "EMPTY_DIR"} if is_remote(path) else {}
    try:
        with (
            gdal_settings(threads),
            rasterio.Env(**listing),
            warnings.catch_warnings(),
        ):
            warnings.simplefilter("ignore", NotGeoreferencedWarning)
            dataset: DatasetReader = rasterio.open(gdal_path(path), sharing=False)
    except _ERRORS as error:
        if is_remote(path):
            raise SceneError(
                f"cannot open `{name}`: {reason(error, path)}",
                hint="check the address, the connection and, for object storage, "
                "the credentials in the environment",
            ) from error
        if "/vsi" not in name and not os.path.exists(path):  # noqa: PTH110 -- never raises
            raise SceneError(
                f"there is no file `{name}`",
                hint="check the path; `demo` is the built-in scene",
            ) from error
        raise SceneError(
            f"`{name}` is not a raster that can be read: {reason(error, path)}",
            hint=hint,
        ) from error
    try:
        _check_content(dataset, name, drivers)
    except SceneError:
        dataset.close()
        raise
    return dataset


def _check_content(
    dataset: DatasetReader, name: str, drivers: Sequence[str] | None
) -> None:
    """Refuse other formats, no bands, and numbers that cannot be reflectance."""
    if drivers is not None and dataset.driver not in drivers:
        raise SceneError(
            f"`{name}` is a {dataset.driver} file, which may point at others",
            hint="products and items are read from GeoTIFF and JPEG 2000; name the "
            "file itself if you trust it",
        )
    if dataset.count == 0:
        raise SceneError(
            f"`{name}` holds no bands itself, but {len(dataset.subdatasets)} "
            "subdatasets",
            hint="name one of them; `rio info --subdatasets` lists them",
        )
    kinds = set(dataset.dtypes)
    if len(kinds) > 1 or np.dtype(dataset.dtypes[0]).kind not in "uif":
        raise SceneError(
            f"`{name}` holds {', '.join(sorted(kinds))} pixels, not one number type",
            hint="give digital numbers as uint16",
        )


def read_raster(  # noqa: PLR0913 -- what is read, and how
    dataset: DatasetReader,
    indexes: int | Sequence[int],
    window: Window,
    *,
    threads: int,
    name: str,
    shape: tuple[int, ...] | None = None,
) -> NDArray[Any]:
    """Return a file's own values, thinned out to a shape if one is given.

    Args:
        dataset: The open file.
        indexes: Its bands, from 1; one number for an array without band axis.
        window: Which pixels of its grid.
        threads: Threads GDAL decodes with.
        name: Name of the file, for messages.
        shape: Shape to thin out to, None for every pixel.

    Raises:
        SceneError: If the pixels cannot be had.

    """
    place = windows.Window(window.col, window.row, window.width, window.height)
    try:
        with gdal_settings(threads):
            raw: NDArray[Any] = dataset.read(indexes, window=place, out_shape=shape)
    except _ERRORS as error:
        raise SceneError(
            f"cannot read rows {window.row} to {window.row + window.height} of "
            f"`{name}`: {reason(error, dataset.name)}",
            hint="check the connection, and whether the server is still there"
            if is_remote(dataset.name)
            else "the file may be cut off or damaged; compare it with its source",
        ) from error
    return raw


def reason(error: BaseException, path: str | Path) -> str:
    """Return GDAL's own words, which rasterio keeps as the cause, on one line."""
    root = error.__cause__ or error
    said = " ".join(str(root).split()) or type(root).__name__
    secret = str(path).partition("?")[2] if is_remote(path) else ""
    return said.replace(f"?{secret}", "") if secret else said


def sample_windows(height: int, width: int) -> Iterator[Window]:
    """Yield windows along both diagonals, corners and middle among them."""
    tall, wide = min(_SAMPLE_PX, height), min(_SAMPLE_PX, width)
    places = {
        (round(down * (height - tall)), round(across * (width - wide)))
        for down in _SAMPLE_PLACES
        for across in (down, 1 - down)
    }
    for row, col in sorted(places):
        yield Window(row=row, col=col, height=tall, width=wide)
