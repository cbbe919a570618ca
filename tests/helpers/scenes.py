"""Writes small GeoTIFFs with any property a test needs."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any

import numpy as np
import rasterio
from affine import Affine
from rasterio.errors import NotGeoreferencedWarning

from mmearth_infer.contract.bands import MMEARTH_BANDS

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from numpy.typing import NDArray

UTM = Affine(10, 0, 600_000, 0, -10, 5_300_000)


def random_dn(
    bands: int = 12, height: int = 64, width: int = 64, *, seed: int = 0
) -> NDArray[np.uint16]:
    """Return plausible digital numbers, `(bands, height, width)`, none of them 0."""
    rng = np.random.default_rng(seed)
    return rng.integers(1, 6000, (bands, height, width), dtype=np.uint16)


def write_scene(
    path: Path,
    pixels: NDArray[Any] | None = None,
    *,
    bands: Sequence[str | None] | None = MMEARTH_BANDS,
    crs: str | None = "EPSG:32633",
    transform: Affine | None = UTM,
    tags: dict[str, str] | None = None,
    offsets: Sequence[float] | None = None,
    scales: Sequence[float] | None = None,
    **profile: Any,  # noqa: ANN401
) -> Path:
    """Write a GeoTIFF; None leaves a property out."""
    pixels = random_dn() if pixels is None else pixels
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NotGeoreferencedWarning)
        with rasterio.open(
            path,
            "w",
            driver="GTiff",
            count=pixels.shape[0],
            height=pixels.shape[1],
            width=pixels.shape[2],
            dtype=pixels.dtype,
            crs=crs,
            transform=transform,
            **profile,
        ) as file:
            file.write(pixels)
            if bands is not None:
                file.descriptions = tuple(bands)
            if offsets is not None:
                file.offsets = tuple(offsets)
            if scales is not None:
                file.scales = tuple(scales)
            file.update_tags(**(tags or {}))
    return path
