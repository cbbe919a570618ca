"""Small stores on the grid that scenes share, and their mosaic by its law."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import zarr
from rasterio.crs import CRS

from mmearth_infer.grid.common import box_at
from mmearth_infer.grid.window import Window
from mmearth_infer.seams import Strip
from mmearth_infer.write.encode import Encoding
from mmearth_infer.write.layout import Layer
from mmearth_infer.write.zarr_store import ZarrSink

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from mmearth_infer.write.encode import DtypeChoice

CHANNELS = 3
TOP, LEFT = -33_000, 3_700
"""Row and column of cells of 160 m that the scenes lie around."""

SHARES = np.array([0, 0.25, 0.5, 1], np.float32)
"""Valid shares of cells: few, so that scenes are often equal."""


@dataclass(frozen=True, kw_only=True)
class Made:
    """A store of a scene."""

    row: int = 0
    """Row of cells from the corner of all."""

    col: int = 0
    """Column."""

    height: int = 5
    """Rows of cells."""

    width: int = 6
    """Columns of cells."""

    seed: int = 0
    """Decides the values."""

    epsg: int = 32632
    """Zone."""

    pixel_m: float = 10
    """Side of a pixel."""

    dtype: DtypeChoice = "float32"
    """How values are kept."""

    channels: int = CHANNELS
    """Values a cell."""

    acquired: str | None = "2024-05-01T10:00:00Z"
    """When it was taken."""

    said: tuple[tuple[str, str, object], ...] = ()
    """What it says otherwise: part, key, value."""


def scene_store(path: Path, made: Made) -> Path:
    """Write the store of a scene of random values and random shares."""
    rng = np.random.default_rng(made.seed)
    shape = made.height, made.width
    valid_hw = rng.choice(SHARES, shape)
    features = rng.normal(size=(made.channels, *shape)).astype(np.float32)
    features[:, valid_hw == 0] = np.nan
    side = 16 * made.pixel_m
    place = Window(
        row=TOP + made.row, col=LEFT + made.col, height=made.height, width=made.width
    )
    layer = Layer(
        group="",
        box=box_at(place, crs=CRS.from_epsg(made.epsg), high=side, wide=side),
        stride_px=16,
        channels=made.channels,
        encoding=Encoding(name=made.dtype, scale=0.03),
        geoemb={"type": "pixel", "source_data": [path.stem]},
    )
    said = provenance(path.stem, made)
    with ZarrSink(
        path, layers=[layer], provenance=said, job=said, overwrite=True
    ) as sink:
        for row in range(0, made.height, sink.chunk_cells):
            rows = slice(row, row + sink.chunk_cells)
            sink.write(
                [
                    Strip(
                        row=row,
                        col=0,
                        features_DhW=features[:, rows],
                        valid_hW=valid_hw[rows],
                    )
                ]
            )
        sink.finish()
    return path


def provenance(name: str, made: Made) -> dict[str, Any]:
    """Return what such a store says of its making."""
    said: dict[str, Any] = {
        "schema": 1,
        "model": {
            "name": "made-up",
            "digest": "sha256:" + "a" * 64,
            "stages": [4],
            "trained": True,
            "manifest": {"outputs": [{"stage": 4, "stride_px": 16}]},
        },
        "scene": {
            "name": name,
            "bands": ["B2", "B3"],
            "product_level": "l2a",
            "offset_dn": 0,
            "acquired": made.acquired,
        },
        "tiling": {"stride_px": 16, "window_px": 672, "halo_px": 64},
        "engine": {"name": "none", "version": "1"},
        "output": {"dtype": made.dtype, "layout": "plain"},
        "version": "0",
    }
    for part, key, value in made.said:
        said[part] = {**said[part], key: value}
    return said


@dataclass(frozen=True, kw_only=True)
class Raw:
    """The arrays of a store, opened with zarr alone."""

    values: NDArray[Any]
    """`(band, y, x)`, as stored."""

    valid: NDArray[np.float32]
    """Shares."""

    scale: NDArray[np.float32] | None
    """Scales of cells."""

    row: int
    """Row of its corner on the grid of its cells."""

    col: int
    """Column."""

    def equals(self, other: Raw) -> None:
        """Assert that two are the same, bit for bit, NaN included."""
        assert (self.row, self.col) == (other.row, other.col)
        assert self.values.dtype == other.values.dtype
        np.testing.assert_array_equal(self.values, other.values)
        np.testing.assert_array_equal(self.valid, other.valid)
        assert (self.scale is None) == (other.scale is None)
        if self.scale is not None and other.scale is not None:
            np.testing.assert_array_equal(self.scale, other.scale)


def raw(path: Path) -> Raw:
    """Open a store, or the group of a stage."""
    group = zarr.open_group(path, mode="r", zarr_format=3)
    side, _, left, _, _, top = np.asarray(group.attrs["spatial:transform"], float)
    quality = zarr.open_group(path / "quality", mode="r", zarr_format=2)
    arrays = {name: np.asarray(array[...]) for name, array in quality.arrays()}
    return Raw(
        values=np.asarray(group["embedding"][...]),  # type: ignore[index]  # an array
        valid=arrays["valid"],
        scale=arrays.get("scale"),
        row=round(-top / side),
        col=round(left / side),
    )


def by_the_law(stores: list[Raw], nodata: float) -> Raw:
    """Return the mosaic, cell by cell."""
    top, left = min(s.row for s in stores), min(s.col for s in stores)
    height = max(s.row + s.valid.shape[0] for s in stores) - top
    width = max(s.col + s.valid.shape[1] for s in stores) - left
    first = stores[0]
    values = np.full((len(first.values), height, width), nodata, first.values.dtype)
    valid = np.full((height, width), np.nan, np.float32)
    scale = np.full((height, width), np.nan, np.float32)
    for row, col in np.ndindex(height, width):
        reaching = []
        for store in stores:
            r, c = row + top - store.row, col + left - store.col
            if 0 <= r < store.valid.shape[0] and 0 <= c < store.valid.shape[1]:
                reaching.append((store, r, c))
        if not reaching:
            continue
        store, r, c = max(reaching, key=lambda found: found[0].valid[found[1:]])
        valid[row, col] = store.valid[r, c]
        if store.valid[r, c] > 0:
            values[:, row, col] = store.values[:, r, c]
            if store.scale is not None:
                scale[row, col] = store.scale[r, c]
    made = Raw(values=values, valid=valid, scale=scale, row=top, col=left)
    return made if first.scale is not None else replace(made, scale=None)
