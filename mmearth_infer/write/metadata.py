"""What a store says of itself, complete or not."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final

import zarr

from mmearth_infer.disk import Kind
from mmearth_infer.errors import StoreError
from mmearth_infer.write.layout import CLASS, EMBEDDING, PROVENANCE
from mmearth_infer.write.place import Folder, place_at

if TYPE_CHECKING:
    from mmearth_infer.write.address import Where
    from mmearth_infer.write.place import Place

ROOT: Final = "zarr.json"
"""File of a store that says so."""


def said_by(place: Place) -> dict[str, Any] | None:
    """Return what a store says of its making; None if this package did not make it."""
    try:
        said = json.loads(place.read(ROOT) or b"")["attributes"][PROVENANCE]
    except (ValueError, KeyError, TypeError):
        return None
    return said if isinstance(said, dict) else {}


def is_store(place: Place) -> bool:
    """Tell whether a place holds a store that this package made, complete or not."""
    return said_by(place) is not None


STORE: Final = Kind("store", lambda folder: is_store(Folder(folder)))
"""What `mmearth embed` writes."""


def read_store_metadata(
    where: str | Where,
) -> tuple[dict[str, Any], tuple[int, ...], tuple[int, ...]]:
    """Return a store's attributes, and shape and chunks of its map.

    Of several stages it is the coarsest, of classes and probabilities the classes.

    Raises:
        StoreError: If it is not a store made by this package.

    """
    place = place_at(where)
    if not is_store(place):
        raise StoreError(
            f"`{place.where}` is not a store made by mmearth",
            hint="`mmearth embed SCENE -o OUT.zarr` makes one",
        )
    try:
        with place.reading():
            group = zarr.open_group(place.store(read_only=True), mode="r")
            attributes = dict(group.attrs)
            names = [name for name, _ in group.groups()]
            stages = sorted(name for name in names if name.startswith("stage"))
            inner = stages[-1] if stages else CLASS if CLASS in names else None
            if inner:
                group = group[inner]  # type: ignore[assignment]  # a group
                attributes = {**dict(group.attrs), **attributes}
            array = group[CLASS if CLASS in group else EMBEDDING]
        assert isinstance(array, zarr.Array)
    except (OSError, ValueError, KeyError) as error:
        raise StoreError(f"`{place.where}` is damaged: {error}") from error
    return attributes, array.shape, array.chunks
