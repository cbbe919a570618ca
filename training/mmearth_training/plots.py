"""Pictures of a run as PNG, 1200 px wide: reconstructions and curves."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from matplotlib.figure import Figure
from matplotlib.patches import Patch

from mmearth_infer.errors import TrainingError
from mmearth_training.curves import draw_losses, draw_uncertainties
from mmearth_training.modalities import TASKS
from mmearth_training.pictures import (
    HIDDEN,
    MISSING,
    PALETTES,
    Reconstruction,
    make_pictures,
)

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from matplotlib.artist import Artist
    from matplotlib.axes import Axes

__all__ = [
    "Reconstruction",
    "draw_losses",
    "draw_reconstructions",
    "draw_uncertainties",
    "save_figure",
]

_WIDTH_IN: Final = 12.0
_DPI: Final = 100
_GREY: Final = "0.45"
_TASKS_A_LINE: Final = 2
_PANELS_A_TASK: Final = 3
_SHARE_OF_PANELS: Final = 0.775  # of the width; the rest is the legend's
_WORDS_IN: Final = 0.5  # titles and captions of a line


def draw_reconstructions(samples: Sequence[Sequence[Reconstruction]]) -> Figure:
    """Draw reconstructions beside their targets, two tasks a line, sample by sample.

    Each task has three panels: its target, the patches that were visible, and the
    target with the prediction pasted into the hidden patches.

    Raises:
        TrainingError: If there is nothing to draw, or something cannot be drawn.

    """
    lines = [
        (f"sample {number}" if start == 0 else "", tasks[start : start + _TASKS_A_LINE])
        for number, tasks in enumerate(samples, start=1)
        for start in range(0, len(tasks), _TASKS_A_LINE)
    ]
    if not lines:
        raise TrainingError(
            "there is no reconstruction to draw",
            hint="give a sample or more, each with a pixel-level task",
        )
    columns = _PANELS_A_TASK * max(len(tasks) for _, tasks in lines)
    side_in = _SHARE_OF_PANELS * _WIDTH_IN / columns
    figure = Figure(
        figsize=(_WIDTH_IN, len(lines) * (side_in + _WORDS_IN)), layout="constrained"
    )
    grid = figure.subplots(len(lines), columns, squeeze=False)
    found: dict[str, set[int]] = {}
    for row, (sample, tasks) in zip(grid, lines, strict=True):
        for axes in row:
            axes.set_xticks([])
            axes.set_yticks([])
            axes.spines[:].set_visible(False)
        for start, task in zip(range(0, columns, _PANELS_A_TASK), tasks, strict=False):
            found.setdefault(task.task, set()).update(_fill(row[start:], task))
        row[0].set_ylabel(sample, fontsize=10, weight="bold")
    figure.legend(
        handles=_swatches(found), loc="outside right upper", frameon=False, fontsize=8
    )
    return figure


def save_figure(figure: Figure, path: Path) -> None:
    """Write a figure as PNG: beside the path first, then renamed onto it.

    Raises:
        TrainingError: If the file cannot be written.

    """
    aside = path.with_name(f"{path.name}.part")
    try:
        figure.savefig(aside, format="png", dpi=_DPI)
        aside.replace(path)
    except OSError as error:
        raise TrainingError(
            f"cannot write the picture `{path}`: {error.strerror}",
            hint="check the free space and the rights of the folder",
        ) from error


def _fill(row: Sequence[Axes], task: Reconstruction) -> tuple[int, ...]:
    """Draw the three panels of a task, and return the classes in them."""
    pictures = make_pictures(task)
    titles = (f"{task.task}: target", "visible patches", "with prediction")
    shown = (pictures.target, pictures.visible, pictures.pasted)
    for axes, title, picture in zip(row, titles, shown, strict=False):
        axes.imshow(picture, interpolation="nearest")
        axes.set_title(title, fontsize=8, loc="left")
    row[0].set_xlabel(pictures.caption, fontsize=7, loc="left", color=_GREY)
    return pictures.classes


def _swatches(found: Mapping[str, set[int]]) -> list[Artist]:
    """Return the entries of the legend: the marks, then the classes that occur."""
    swatches: list[Artist] = [
        Patch(color=HIDDEN, label="hidden from the encoder"),
        Patch(fc=MISSING[0], ec=MISSING[1], hatch="////", lw=0, label="missing"),
    ]
    for task, classes in found.items():
        if classes:
            swatches.append(Patch(alpha=0, label=f"\n{task}"))
            names, palette = TASKS[task].channels, PALETTES[task]
            swatches += [
                Patch(fc=palette[n], ec=_GREY, lw=0.5, label=names[n])
                for n in sorted(classes)
            ]
    return swatches
