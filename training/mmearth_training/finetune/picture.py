"""Tiles, their labels and the maps made of them, side by side.

Shapes: H W pixels, 3 colours from 0 to 1.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from mmearth_infer.contract.classes import BRIGHTEST
from mmearth_training.losses import MISSING_CLASS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from mmearth_infer.contract.classes import MapClass

_SIDE_IN: Final = 2.6
_PERCENTILES: Final = (2, 98)
_GREY: Final = 0.8
_COLOURS: Final = ("B4", "B3", "B2")


@dataclass(frozen=True, slots=True, kw_only=True)
class Drawn:
    """A tile that is drawn."""

    dn_BHW: NDArray[np.uint16]  # noqa: N815 -- an array's name carries its axes
    """Digital numbers."""

    labels_HW: NDArray[np.int16]  # noqa: N815 -- likewise
    """Class of each pixel, -1 where nothing is known."""

    map_HW: NDArray[np.int64]  # noqa: N815 -- likewise
    """Class that the model says."""


def draw_maps(
    drawn: Sequence[Drawn], classes: Sequence[MapClass], bands: Sequence[str]
) -> Figure:
    """Draw tiles in rows: pixels, labels, map. Grey where nothing is known.

    Args:
        drawn: At least one tile.
        classes: Their names and colours.
        bands: Bands of the pixels; red, green and blue if they have them.

    """
    shown = _COLOURS if set(_COLOURS) <= set(bands) else (bands[0],) * 3
    chosen = [list(bands).index(band) for band in shown]
    size = (3 * _SIDE_IN, len(drawn) * _SIDE_IN + 0.6)
    figure = Figure(figsize=size, layout="constrained")
    grid = figure.subplots(len(drawn), 3, squeeze=False)
    for row, tile in zip(grid, drawn, strict=True):
        pictures = (
            _stretched(tile.dn_BHW[chosen]),
            coloured(tile.labels_HW, classes),
            coloured(tile.map_HW, classes),
        )
        for axes, picture in zip(row, pictures, strict=True):
            axes.imshow(picture, interpolation="nearest")
            axes.set_axis_off()
    for axes, title in zip(grid[0], (" ".join(shown), "labels", "map"), strict=True):
        axes.set_title(title, fontsize=9)
    swatches = [
        Patch(color="#{:02x}{:02x}{:02x}".format(*one.rgb), label=one.name)
        for one in classes
    ]
    figure.legend(
        handles=swatches,
        loc="outside lower center",
        ncols=min(len(swatches), 6),
        frameon=False,
        fontsize=8,
    )
    return figure


def coloured(
    classes_HW: NDArray[np.integer], classes: Sequence[MapClass]
) -> NDArray[np.float64]:
    """Return `(H, W, 3)` colours of classes, grey where there is none."""
    palette = np.array([[*one.rgb] for one in classes]) / BRIGHTEST
    picture: NDArray[np.float64] = palette[np.maximum(classes_HW, 0)]
    picture[classes_HW == MISSING_CLASS] = _GREY
    return picture


def _stretched(dn_3HW: NDArray[np.uint16]) -> NDArray[np.float64]:
    """Return `(H, W, 3)` colours, dark and bright ends clipped."""
    low, high = np.percentile(dn_3HW, _PERCENTILES, axis=(1, 2), keepdims=True)
    stretched = (dn_3HW - low) / np.maximum(high - low, 1)
    return np.moveaxis(np.clip(stretched, 0, 1), 0, -1)
