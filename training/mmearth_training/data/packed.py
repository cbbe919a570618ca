"""Tiles in the packed form."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mmearth_infer.errors import DataError

if TYPE_CHECKING:
    from pathlib import Path

    from mmearth_training.data.tiles import Tiles


def open_packed(path: Path) -> Tiles:
    """Open a packed data set.

    Raises:
        DataError: Always, for now.

    """
    raise DataError(f"`{path}` is packed, which cannot be read yet")
