"""Cells of a store that stand for all of them.

Shapes: S cells, D channels.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from mmearth_infer.write.open_store import Embedding

SAMPLE_CELLS: Final = 20_000
"""Cells a basis is computed from; 320 channels of them are 26 MB. Colours are then a
level or two of 255 from those of all cells (docs/guides/view.md)."""

ENOUGH_SHARE: Final = 20
"""Fewer than one in so many of the cells that are wanted: most of the store is nodata,
and the lattice is made finer."""


def lattice_sample(
    embedding: Embedding, cells: int = SAMPLE_CELLS
) -> NDArray[np.float32]:
    """Return `features_SD` of valid cells on a square lattice, by row and column.

    Nothing is drawn by chance, and the lattice does not depend on the chunks: equal
    embeddings give equal samples, however they are stored. Held at a time: a chunk,
    and the sample.

    Args:
        embedding: What is read.
        cells: About how many the lattice has; where less than one in twenty holds data,
            it is made finer.

    """
    step = max(1, math.ceil(math.sqrt(embedding.geobox.pixels / cells)))
    while True:
        features_SD = _on_lattice(embedding, step)
        if step == 1 or len(features_SD) >= cells // ENOUGH_SHARE:
            return features_SD
        step //= 2


def _on_lattice(embedding: Embedding, step: int) -> NDArray[np.float32]:
    """Return the valid cells whose row and column are multiples of `step`."""
    places, features = [], []
    for window in embedding.chunks():
        rows = np.arange(-window.row % step, window.height, step)
        cols = np.arange(-window.col % step, window.width, step)
        if not (rows.size and cols.size):
            continue
        some_DS = embedding.read(window)[:, rows[:, None], cols].reshape(
            embedding.channels, -1
        )
        flat = (rows[:, None] + window.row) * embedding.geobox.width + (
            cols + window.col
        )
        valid = np.isfinite(some_DS).all(axis=0)
        features.append(some_DS[:, valid].T)
        places.append(flat.ravel()[valid])
    if not places:
        return np.empty((0, embedding.channels), dtype=np.float32)
    order = np.argsort(np.concatenate(places))
    return np.concatenate(features)[order]
