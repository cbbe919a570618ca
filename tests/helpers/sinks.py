"""Small stores that are written strip by strip."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from affine import Affine
from rasterio.crs import CRS

from mmearth_infer.grid.geobox import GeoBox
from mmearth_infer.seams import Strip
from mmearth_infer.write.encode import DtypeChoice, Encoding
from mmearth_infer.write.layout import Layer, LayoutChoice
from mmearth_infer.write.zarr_store import ZarrSink

if TYPE_CHECKING:
    from mmearth_infer.write.address import Where

CHANNELS = 2100  # a chunk of float32 is 16 cells a side: 32 are over 8 MiB
SIDE = 16


def layer(
    *,
    height: int = 40,
    width: int = 20,
    dtype: DtypeChoice = "float32",
    stage: str = "",
    factor: int = 1,
) -> Layer:
    """Return a map of `height` x `width` cells of the coarsest map."""
    box = GeoBox(
        crs=CRS.from_epsg(32633),
        transform=Affine(160, 0, 600_000, 0, -160, 5_300_000),
        height=height,
        width=width,
    )
    return Layer(
        group=stage,
        box=GeoBox(
            crs=box.crs,
            transform=box.transform @ Affine.scale(1 / factor),
            height=height * factor,
            width=width * factor,
        ),
        stride_px=16 // factor,
        channels=CHANNELS,
        encoding=Encoding(name=dtype, scale=0.5 if dtype == "int8" else None),
        geoemb={},
    )


def open_sink(
    path: str | Where,
    *,
    layers: list[Layer] | None = None,
    made_from: str = "this",
    overwrite: bool = False,
    resume: bool = False,
    layout: LayoutChoice = "plain",
    part: range | None = None,
) -> ZarrSink:
    """Open a store of 40 x 20 cells: three strips, each of two chunks."""
    said: dict[str, Any] = {"from": made_from}
    return ZarrSink(
        path,
        layers=layers or [layer()],
        provenance=said,
        job=said,
        overwrite=overwrite,
        resume=resume,
        layout=layout,
        part=part,
    )


def strips(value: float, *, rows: int = SIDE) -> list[Strip]:
    """Return the strips of such a store; the last has fewer rows."""
    found = []
    for row in range(0, 40, rows):
        height = min(rows, 40 - row)
        features = np.full((CHANNELS, height, 20), value + row, dtype=np.float32)
        valid = np.ones((height, 20), dtype=np.float32)
        features[:, :, 0] = np.nan
        valid[:, 0] = 0
        found.append(Strip(row=row, col=0, features_DhW=features, valid_hW=valid))
    return found


def first_missing(sink: ZarrSink) -> int:
    """Return the first row that is missing; 40 for none."""
    return next((rows.start for rows in sink.missing(0)), 40)


def fill(sink: ZarrSink, value: float, *, most: int = 99) -> None:
    """Write the strips that are missing, at most so many."""
    missing = sink.missing(0)
    for strip in strips(value)[:most]:
        if any(strip.row in rows for rows in missing):
            sink.write([strip])
