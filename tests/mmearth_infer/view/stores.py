"""Finished stores of any kind, written without a model or a scene."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import zarr
from affine import Affine
from rasterio.crs import CRS
from zarr.storage import LocalStore

from mmearth_infer.grid.geobox import GeoBox
from mmearth_infer.write.encode import Encoding
from mmearth_infer.write.layout import (
    EMBEDDING,
    PROVENANCE,
    QUALITY,
    Layer,
    complete,
    create,
)
from mmearth_infer.write.place import Folder

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from mmearth_infer.write.encode import DtypeChoice
    from mmearth_infer.write.layout import LayoutChoice

SCALE = 0.05
"""Of int8 stores with one scale."""

CORNER = Affine(10, 0, 600_000, 0, -10, 5_300_000)
"""Of pixels, in UTM zone 33."""


@dataclass(kw_only=True)
class Map:
    """What is written for one stage."""

    features_Dhw: NDArray[np.float32]  # noqa: N815 -- a helper for tests
    """Embeddings."""

    stage: int = 4
    """Stage of the encoder."""

    stride_px: int = 16
    """Pixels a side of a cell."""


@dataclass(kw_only=True)
class Made:
    """How a store is written."""

    dtype: DtypeChoice = "float32"
    """How values are kept."""

    layout: LayoutChoice = "plain"
    """How chunks lie."""

    chunk_cells: int | None = None
    """Side of a chunk; None for the writer's own."""

    crs: str = "EPSG:32633"
    """Where."""

    transform: Affine = CORNER
    """Of pixels."""

    digest: str = "sha256:" + "a" * 64
    """Digest of the model."""

    scene: dict[str, Any] = field(default_factory=lambda: {"name": "made"})
    """What it says of the scene."""

    complete: bool = True
    """Whether it is."""


def features(
    channels: int = 5, height: int = 7, width: int = 9, *, seed: int = 0
) -> NDArray[np.float32]:
    """Return embeddings between -5 and 5 with a hole, NaN, in the upper left."""
    rng = np.random.default_rng(seed)
    values_Dhw = rng.uniform(-5, 5, (channels, height, width)).astype(np.float32)
    values_Dhw[:, : height // 3, : width // 3] = np.nan
    return values_Dhw


def write_store(path: Path, *maps: Map, made: Made | None = None) -> Path:
    """Write a store of one stage, or of several."""
    made = made or Made()
    layers = [_layer(one, made, several=len(maps) > 1) for one in maps]
    said = {
        "schema": 1,
        "model": {
            "name": "made-up",
            "digest": made.digest,
            "stages": [one.stage for one in maps],
            "manifest": {
                "outputs": [
                    {"stage": one.stage, "stride_px": one.stride_px} for one in maps
                ]
            },
        },
        "scene": made.scene,
        "tiling": {"window_px": 672},
        "engine": {"name": "none", "version": "1"},
        "version": "0",
    }
    create(Folder(path), layers, said, layout=made.layout)
    for one, layer in zip(maps, layers, strict=True):
        _fill(path / layer.group, one, layer, made)
    if made.complete:
        complete(Folder(path), layers, said)
    return path


def _layer(one: Map, made: Made, *, several: bool) -> Layer:
    """Return what the writer wants to know of a map."""
    channels, height, width = one.features_Dhw.shape
    return Layer(
        group=f"stage{one.stage}" if several else "",
        box=GeoBox(
            crs=CRS.from_string(made.crs),
            transform=made.transform @ Affine.scale(one.stride_px),
            height=height,
            width=width,
        ),
        stride_px=one.stride_px,
        channels=channels,
        encoding=Encoding(name=made.dtype, scale=SCALE),
        geoemb={},
    )


def _fill(folder: Path, one: Map, layer: Layer, made: Made) -> None:
    """Write the values of a map."""
    stored_Dhw, scale_hw = layer.encoding.encode(one.features_Dhw)
    if made.chunk_cells is not None:
        _rechunk(folder, layer, made.chunk_cells)
    zarr.open_array(LocalStore(folder / EMBEDDING), mode="r+")[:] = stored_Dhw
    quality = folder / QUALITY
    valid_hw = np.isfinite(one.features_Dhw[0]).astype(np.float32)
    zarr.open_array(LocalStore(quality / "valid"), mode="r+")[:] = valid_hw
    if scale_hw is not None:
        zarr.open_array(LocalStore(quality / "scale"), mode="r+")[:] = scale_hw


def _rechunk(folder: Path, layer: Layer, side: int) -> None:
    """Replace the array by an empty one with smaller chunks."""
    old = zarr.open_array(LocalStore(folder / EMBEDDING), mode="r")
    attributes = dict(old.attrs)
    box = layer.box
    zarr.open_group(LocalStore(folder), mode="r+").create_array(
        EMBEDDING,
        shape=old.shape,
        chunks=(layer.channels, min(side, box.height), min(side, box.width)),
        dtype=old.dtype,
        fill_value=layer.encoding.nodata,
        dimension_names=("band", "y", "x"),
        attributes=attributes,
        overwrite=True,
    )


def mark(path: Path, **changes: Any) -> None:  # noqa: ANN401
    """Change what a store says of its origin."""
    root = zarr.open_group(LocalStore(path), mode="r+", use_consolidated=False)
    said = root.attrs[PROVENANCE]
    assert isinstance(said, dict)
    root.update_attributes({PROVENANCE: {**said, **changes}})
