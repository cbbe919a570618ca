"""What a finished store says of each cell: its data's share, and its scale."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, cast

import zarr

from mmearth_infer.write.layout import EMBEDDING, QUALITY

if TYPE_CHECKING:
    from mmearth_infer.write.place import Place

QUANTIZATION: Final = "quantization"
"""Attribute of an int8 embedding: `{"scale": s}`, or `{"scale": "pixel"}`."""

SCALE: Final = "scale"
"""Array of the quality group with a scale a cell, and key of the attribute."""

VALID: Final = "valid"
"""Array of the quality group with the share of each cell's pixels that hold data."""

PER_PIXEL: Final = "pixel"
"""Value of the attribute where every cell has a scale of its own."""


def quality_array(
    place: Place, group: str, name: str, embedding: zarr.Array[Any]
) -> zarr.Array[Any]:
    """Open an array of the quality group.

    Args:
        place: Where the store is.
        group: Group of the embedding, empty for the root.
        name: Name of the array.
        embedding: What it is of.

    Raises:
        ValueError: If it is on another grid.

    """
    store = place.store(f"{group}/{QUALITY}" if group else QUALITY, read_only=True)
    found = zarr.open_group(store, mode="r", zarr_format=2)[name]
    if not isinstance(found, zarr.Array) or found.shape != embedding.shape[1:]:
        raise ValueError(f"`{QUALITY}/{name}` does not fit `{EMBEDDING}`")
    return found


def scales(
    place: Place, group: str, embedding: zarr.Array[Any]
) -> tuple[float | None, zarr.Array[Any] | None]:
    """Return the factor from int8 to features: for all cells, or an array of them.

    Raises:
        ValueError: If the array is on another grid.

    """
    if str(embedding.dtype) != "int8":
        return None, None
    scale = cast("dict[str, Any]", embedding.attrs[QUANTIZATION])[SCALE]
    if scale != PER_PIXEL:
        return float(scale), None
    return None, quality_array(place, group, SCALE, embedding)
