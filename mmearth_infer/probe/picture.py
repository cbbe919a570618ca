"""A picture of the confusion matrix."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np
from matplotlib.figure import Figure

from mmearth_infer.disk import file_beside

if TYPE_CHECKING:
    from pathlib import Path

    from mmearth_infer.contract.probe import ProbeManifest

MOST_NUMBERS: Final = 20
"""Classes up to which cells are printed as numbers."""

_CELL_IN: Final = 0.6
_MARGIN_IN: Final = 2.6
_LARGEST_IN: Final = 16.0
_DPI: Final = 120
_DARK: Final = 0.5


def save_picture(manifest: ProbeManifest, path: Path) -> None:
    """Draw the confusion matrix and save it as PNG.

    The colour is the share of the true class, a row each; numbers are cells.

    Raises:
        StoreError: If the disk does not take it.

    """
    validation = manifest.validation
    assert validation is not None
    confusion_KK = np.array(validation.confusion)
    names = manifest.names
    share_KK = confusion_KK / np.maximum(confusion_KK.sum(axis=1, keepdims=True), 1)
    side_in = min(_MARGIN_IN + _CELL_IN * len(names), _LARGEST_IN)
    figure = Figure(figsize=(side_in + 1, side_in), dpi=_DPI, layout="constrained")
    axes = figure.add_subplot()
    drawn = axes.imshow(share_KK, vmin=0, vmax=1, cmap="Blues")
    axes.set_xticks(range(len(names)), names, rotation=45, ha="right")
    axes.set_yticks(range(len(names)), names)
    axes.set(xlabel="predicted", ylabel="true")
    score = validation.scores["mean_iou"]
    axes.set_title(
        f"mean IoU {score.value:.3f} ({score.low:.3f} to {score.high:.3f})\n"
        f"{validation.folds} folds of {validation.blocks} blocks of "
        f"{validation.block_m:g} m",
        fontsize="medium",
    )
    if len(names) <= MOST_NUMBERS:
        for (row, col), cells in np.ndenumerate(confusion_KK):
            colour = "white" if share_KK[row, col] > _DARK else "black"
            axes.text(col, row, str(cells), ha="center", va="center", color=colour)
    figure.colorbar(drawn, ax=axes, shrink=0.7, label="share of the true class")
    with file_beside(path) as aside:
        figure.savefig(aside, format="png")
