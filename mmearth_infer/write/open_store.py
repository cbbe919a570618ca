"""A finished store, read window by window as float32.

Shapes: D channels, h w cells of a window.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import zarr
from affine import Affine
from rasterio.crs import CRS

from mmearth_infer.errors import MissingExtraError, StoreError, WindowError
from mmearth_infer.grid.geobox import GeoBox
from mmearth_infer.grid.window import Window
from mmearth_infer.write.conventions import GRID_MAPPING
from mmearth_infer.write.damage import damage
from mmearth_infer.write.encode import decoded
from mmearth_infer.write.layout import COMPLETE, EMBEDDING
from mmearth_infer.write.metadata import ROOT, said_by
from mmearth_infer.write.place import place_at
from mmearth_infer.write.quality import VALID, quality_array, scales

if TYPE_CHECKING:
    from collections.abc import Iterator

    import xarray as xr
    from numpy.typing import NDArray

    from mmearth_infer.write.address import Where
    from mmearth_infer.write.place import Place

STAGES: Final = (1, 2, 3, 4)
"""Stages a store may hold."""

_DTYPES: Final = ("float32", "float16", "int8")


@dataclass(frozen=True, slots=True, kw_only=True)
class Embedding:
    """One stage of a finished store."""

    path: Where
    """The store."""

    stage: int | None
    """Stage of the encoder; None if the store does not say."""

    group_path: str
    """Group that holds it, within the store; empty for the root."""

    geobox: GeoBox
    """Grid of the cells."""

    attributes: dict[str, Any]
    """Attributes of the group that holds it."""

    provenance: dict[str, Any]
    """What made it, as `mmearth_infer/run/provenance.py` writes it."""

    scale: float | None
    """Factor from int8 to features; None where there is none, or one a cell."""

    _place: Place
    """Where its files lie."""

    _array: zarr.Array[Any]
    """`(band, y, x)`, as stored."""

    _scale_hw: zarr.Array[Any] | None
    """Factor from int8 to features, a cell each."""

    @property
    def channels(self) -> int:
        """D, values a cell."""
        return int(self._array.shape[0])

    @property
    def dtype(self) -> str:
        """How values are stored: `float32`, `float16` or `int8`."""
        return str(self._array.dtype)

    @property
    def chunk_cells(self) -> int:
        """Side of a chunk in cells; of the chunks within a shard, if there are any."""
        return int(max(self._array.chunks[1:]))

    @property
    def stride_px(self) -> int | None:
        """Pixels of the scene a side of a cell; None if the store does not say."""
        manifest = self.part("model").get("manifest", {})
        for output in manifest.get("outputs", ()):
            if output.get("stage") == self.stage:
                return int(output["stride_px"])
        return None

    @property
    def scaled_per_pixel(self) -> bool:
        """Whether every cell has a scale of its own."""
        return self._scale_hw is not None

    @property
    def model_name(self) -> str:
        """Name of the model; empty if the store does not say."""
        return str(self.part("model").get("name", ""))

    @property
    def model_digest(self) -> str:
        """Digest of the model's file, `sha256:...`; empty if it does not say."""
        return str(self.part("model").get("digest", ""))

    def part(self, name: str) -> dict[str, Any]:
        """Return a part of what made it, such as `scene`; empty if it says none."""
        part = self.provenance.get(name)
        return part if isinstance(part, dict) else {}

    def read(self, window: Window) -> NDArray[np.float32]:
        """Return `features_Dhw`, NaN where a cell holds no data.

        Raises:
            WindowError: If the window does not lie inside the grid.
            StoreError: If the store is damaged.

        """
        stored_Dhw = self.read_stored(window)
        scale_hw = self.read_scale(window)
        scale = self.scale if scale_hw is None else scale_hw
        return decoded(stored_Dhw, scale).astype(np.float32, copy=False)

    def read_stored(self, window: Window) -> NDArray[Any]:
        """Return `stored_Dhw`, the values as they are on the disk.

        Raises:
            WindowError: If the window does not lie inside the grid.
            StoreError: If the store is damaged.

        """
        if window.row < 0 or window.col < 0 or window != self._clipped(window):
            raise WindowError(f"{window} is not inside {self._array.shape[1:]} cells")
        with damage(self._place):
            return np.asarray(self._array[(slice(None), *window.slices)])

    def read_scale(self, window: Window) -> NDArray[np.float32] | None:
        """Return `scale_hw`, the factor from int8 to features; None of one for all.

        Raises:
            StoreError: If the store is damaged.

        """
        if self._scale_hw is None:
            return None
        with damage(self._place):
            return np.asarray(self._scale_hw[window.slices], dtype=np.float32)

    def read_valid(self, window: Window) -> NDArray[np.float32]:
        """Return `valid_hw`, the share of each cell's pixels that hold data.

        NaN in a mosaic's cells that no scene reaches.

        Raises:
            StoreError: If the store is damaged.

        """
        with damage(self._place):
            valid_hw = quality_array(self._place, self.group_path, VALID, self._array)
            return np.asarray(valid_hw[window.slices], dtype=np.float32)

    def to_xarray(self) -> xr.DataArray:
        """Return it `(band, y, x)`, with coordinates and CRS, read where looked at.

        float32 and float16 are as stored, int8 is the float32 it stands for.

        Raises:
            MissingExtraError: If xarray is not installed.

        """
        if find_spec("xarray") is None:
            raise MissingExtraError("to_xarray", extra="xarray")
        from mmearth_infer.write.to_xarray import lazy_array  # noqa: PLC0415 -- an extra

        said = {
            "model": self.model_name,
            "model_digest": self.model_digest,
            "stage": self.stage,
            "stride_px": self.stride_px,
            "scene": str(self.part("scene").get("name", "")),
        }
        return lazy_array(self, name=EMBEDDING, attributes=said)

    def _clipped(self, window: Window) -> Window:
        """Return the part of a window that lies inside the grid."""
        return window.clipped(self.geobox.height, self.geobox.width)

    def chunks(self) -> Iterator[Window]:
        """Yield the window of each chunk, row by row; they partition the grid."""
        _, height, width = self._array.chunks
        for row in range(0, self.geobox.height, height):
            for col in range(0, self.geobox.width, width):
                yield self._clipped(
                    Window(row=row, col=col, height=height, width=width)
                )


def open_store(path: str | Where, stage: int | None = None) -> Embedding:
    """Open a finished store, or one stage of it.

    Args:
        path: The store: a path, or an address.
        stage: Which stage; None for the deepest it holds.

    Raises:
        StoreError: If there is no store, it is not complete or damaged, cannot be
            reached, or does not hold that stage.
        MissingExtraError: If what reaches its address is not installed.

    """
    place = place_at(path)
    whole = said_by(place)
    if whole is None:
        raise StoreError(
            f"`{place.where}` is not a store made by mmearth",
            hint="`mmearth embed SCENE -o OUT.zarr` makes one",
        )
    with damage(place):
        if whole.get(COMPLETE) is not True:
            raise StoreError(
                f"`{place.where}` is not complete: its run was stopped, or goes on",
                hint="run its `mmearth embed` again with --resume",
            )
        if "probabilities" in whole.get("output", {}):
            raise StoreError(f"`{place.where}` holds a map of classes, no embeddings")
        own, name = _choose(place, whole, stage)
        group = _group(place, name)
        attributes = dict(group.attrs)
        array = group[EMBEDDING]
        if not isinstance(array, zarr.Array) or str(array.dtype) not in _DTYPES:
            raise ValueError(f"`{EMBEDDING}` is not an array of {', '.join(_DTYPES)}")
        scale, scale_hw = scales(place, name, array)
        return Embedding(
            path=place.where,
            stage=own,
            group_path=name,
            geobox=_geobox(group, attributes, array),
            attributes=attributes,
            provenance=whole,
            scale=scale,
            _place=place,
            _array=array,
            _scale_hw=scale_hw,
        )


def short_digest(digest: str) -> str:
    """Return the start of a digest, enough to tell it from others."""
    return digest[: len("sha256:") + 12] or "no digest"


def stages_of(path: str | Where) -> tuple[int, ...]:
    """Return the stages that have a group of their own; none if there is one stage."""
    place = place_at(path)
    return tuple(n for n in STAGES if place.read(f"stage{n}/{ROOT}") is not None)


def _choose(
    place: Place, whole: dict[str, Any], stage: int | None
) -> tuple[int | None, str]:
    """Return the stage to be read, and the name of its group.

    Raises:
        StoreError: If the store does not hold that stage.

    """
    several = stages_of(place.where)
    if several:
        held, chosen = several, several[-1] if stage is None else stage
        if chosen in several:
            return chosen, f"stage{chosen}"
    else:
        held = tuple(whole.get("model", {}).get("stages", ()))
        only = held[0] if held else None
        if stage is None or stage == only:
            return only, ""
    names = ", ".join(str(n) for n in held) or "unknown"
    raise StoreError(
        f"`{place.where}` does not hold stage {stage}",
        hint=f"it holds stage {names}; `mmearth embed --stage {stage}` gives that one",
    )


def _group(place: Place, name: str) -> zarr.Group:
    """Open a Zarr v3 group that is only read."""
    return zarr.open_group(place.store(name, read_only=True), mode="r", zarr_format=3)


def _geobox(
    group: zarr.Group, attributes: dict[str, Any], array: zarr.Array[Any]
) -> GeoBox:
    """Return the grid that the attributes of a group describe."""
    wkt = group[GRID_MAPPING].attrs["crs_wkt"]
    _, height, width = array.shape
    return GeoBox(
        crs=CRS.from_user_input(attributes.get("proj:code") or wkt),
        transform=Affine(*attributes["spatial:transform"]),
        height=height,
        width=width,
    )
