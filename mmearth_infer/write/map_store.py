"""A store of a map of classes: as those of embeddings, with other arrays.

Shapes: K classes, h w cells of a window.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np
import zarr

from mmearth_infer.grid.window import Window
from mmearth_infer.write.classes import ClassEncoding, ShareEncoding
from mmearth_infer.write.layout import CLASS, Layer
from mmearth_infer.write.map_cog import class_map, share_map
from mmearth_infer.write.place import place_at
from mmearth_infer.write.zarr_store import ZarrSink

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from mmearth_infer.contract.classes import MapClass
    from mmearth_infer.grid.geobox import GeoBox
    from mmearth_infer.seams import Strip
    from mmearth_infer.write.address import Where

PROBABILITY: Final = "probability"
"""Array with the probability of each class."""


class MapSink(ZarrSink):
    """A store that strips of logits become a map in."""

    def write(self, strips: Sequence[Strip]) -> None:
        """Write classes, and probabilities if they are kept, of one strip of logits.

        Raises:
            StoreError: If it is not taken.

        """
        (logits,) = strips
        super().write([logits] * len(self._layers))


def map_layers(
    box: GeoBox, classes: tuple[MapClass, ...], *, stride_px: int, probabilities: bool
) -> list[Layer]:
    """Return the layers of a map: classes alone in the root, or two groups."""
    layers = [
        Layer(
            group=CLASS if probabilities else "",
            box=box,
            stride_px=stride_px,
            channels=1,
            encoding=ClassEncoding(classes=classes),
            array=CLASS,
            long_name="class",
        )
    ]
    if probabilities:
        shares = Layer(
            group=PROBABILITY,
            box=box,
            stride_px=stride_px,
            channels=len(classes),
            encoding=ShareEncoding(classes=classes),
            array=PROBABILITY,
            long_name="probability of each class",
        )
        layers.insert(0, shares)
    return layers


def write_cogs(
    store: Where,
    layers: Sequence[Layer],
    classes: Sequence[MapClass],
    outs: Mapping[str, Path],
    tags: Mapping[str, str],
) -> None:
    """Write the arrays of a finished store as COGs.

    Args:
        store: The store.
        layers: Its layers.
        classes: Its classes, in the order of their values.
        outs: Where each array goes, by its name.
        tags: What the files say of their origin.

    Raises:
        StoreError: If the disk does not take it.

    """
    writers: dict[str, Any] = {CLASS: class_map, PROBABILITY: share_map}
    for layer in layers:
        with writers[layer.array](outs[layer.array], layer.box, classes, tags) as write:
            for values_Khw, window in read_map(store, layer):
                write(values_Khw[0] if layer.array == CLASS else values_Khw, window)


def read_map(
    store: Where, layer: Layer
) -> Iterator[tuple[np.ndarray[Any, Any], Window]]:
    """Yield the values of an array, chunk by chunk, with their windows."""
    array = zarr.open_array(
        place_at(store).store(read_only=True),
        path=f"{layer.prefix}{layer.array}",
        mode="r",
    )
    side, box = layer.chunk_cells, layer.box
    for row in range(0, box.height, side):
        for col in range(0, box.width, side):
            window = Window(row=row, col=col, height=side, width=side).clipped(
                box.height, box.width
            )
            yield np.asarray(array[(slice(None), *window.slices)]), window
