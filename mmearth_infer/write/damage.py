"""Stores that cannot be read as what they say they are."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from rasterio.errors import CRSError

from mmearth_infer.errors import StoreError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from mmearth_infer.write.place import Place


@contextmanager
def damage(place: Place) -> Iterator[None]:
    """Say that a store is damaged, whatever the libraries below stumble over.

    Raises:
        StoreError: If they do, or if the place cannot be read.

    """
    try:
        with place.reading():
            yield
    except (
        AttributeError,
        CRSError,
        KeyError,
        OSError,
        RuntimeError,
        TypeError,
        ValueError,
    ) as error:
        raise StoreError(
            f"`{place.where}` is damaged: {error}", hint="embed the scene again"
        ) from error
