"""Maps that stay in memory: strips in, arrays out, kept as stores keep them.

Shapes: D channels, H W cells.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from mmearth_infer.seams import Sink
from mmearth_infer.write.layout import strip_cells

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from mmearth_infer.seams import Strip
    from mmearth_infer.write.layout import Layer


@dataclass(frozen=True, slots=True, kw_only=True)
class Held:
    """A map in memory."""

    layer: Layer
    """What it is."""

    stored_DHW: NDArray[Any]
    """Its values, as a store holds them."""

    scale_HW: NDArray[np.float32] | None
    """Scale of each cell, if they have one."""


class MemorySink(Sink):
    """What is written to it is what a store of the same layers would hold."""

    def __init__(self, layers: Sequence[Layer]) -> None:
        """Make room.

        Args:
            layers: The maps, the coarsest last.

        """
        self.held = tuple(_empty(layer) for layer in layers)

    @property
    def chunk_cells(self) -> int:
        """Rows of a strip, those of a store, so that batches are the same."""
        return strip_cells([held.layer for held in self.held], "plain")

    def missing(self, col: int) -> Sequence[range]:
        """Return all rows: nothing is there before a run."""
        del col
        return [range(self.held[-1].layer.box.height)]

    def write(self, strips: Sequence[Strip]) -> None:
        """Keep a strip of each map."""
        for held, strip in zip(self.held, strips, strict=True):
            height, width = strip.valid_hW.shape
            rows = slice(strip.row, strip.row + height)
            cols = slice(strip.col, strip.col + width)
            stored_DhW, scale_hW = held.layer.encoding.encode(strip.features_DhW)
            held.stored_DHW[:, rows, cols] = stored_DhW
            if held.scale_HW is not None and scale_hW is not None:
                held.scale_HW[rows, cols] = scale_hW


class MemoryMapSink(MemorySink):
    """Strips of logits become a map of classes in it, and probabilities."""

    def write(self, strips: Sequence[Strip]) -> None:
        """Keep what each array makes of one strip of logits."""
        (logits,) = strips
        super().write([logits] * len(self.held))


def _empty(layer: Layer) -> Held:
    """Return room for a map."""
    shape, encoding = (layer.box.height, layer.box.width), layer.encoding
    return Held(
        layer=layer,
        stored_DHW=np.empty((layer.channels, *shape), encoding.dtype),
        scale_HW=np.empty(shape, np.float32) if encoding.per_cell else None,
    )
