"""Curves of a run: losses and learnt uncertainties over epochs, in small multiples."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final

import numpy as np
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.ticker import FuncFormatter, LogLocator

from mmearth_infer.errors import TrainingError
from mmearth_training.modalities import TASKS

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from matplotlib.axes import Axes
    from numpy.typing import NDArray

    from mmearth_training.history import Record, Split

COLOURS: Final = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#e69f00")
"""Colours of lines, told apart by the colour-blind (Okabe and Ito 2008)."""

_SPLITS: Final[dict[Split, str]] = {"train": COLOURS[0], "val": COLOURS[1]}
_WIDTH_IN: Final = 12.0
_PANEL_HEIGHT_IN: Final = 2.3
_PAD_IN: Final = 0.08
_GREY: Final = "0.45"
_LOSS_COLUMNS: Final = 4
_GROUP_COLUMNS: Final = 3
_FEW_POINTS: Final = 30
_LABEL_GAP: Final = 0.12
_MARGIN: Final = 1.3
_RANGE: Final = (0.5, 2.0)
_ERRORS: Final = {
    "continuous": "mean squared error (sd$^2$)",
    "categorical": "cross-entropy (nats)",
}


def draw_losses(history: Sequence[Record]) -> Figure:
    """Draw the loss of each task over epochs, and the weighted total before them.

    A dashed line is the latest known loss of the trivial predictor. Values that are
    not finite are gaps. Squared errors are in variances of the data set, or of the
    patch for Sentinel-2 where patches are normalised.

    Raises:
        TrainingError: If the history is empty, or a task is none of `TASKS`.

    """
    _refuse_empty(history)
    tasks = _in_order(task for record in history for task in record.losses)
    figure, panels = _panels(1 + len(tasks), _LOSS_COLUMNS, history)
    for axes, task in zip(panels, ("", *tasks), strict=True):
        points = 0
        for split, colour in _SPLITS.items():
            epochs, losses = _series(history, split, task)
            marker = "." if len(epochs) <= _FEW_POINTS else ""
            axes.plot(epochs, losses, color=colour, marker=marker, lw=1.2, label=split)
            points += int(np.isfinite(losses).sum())
        trivial = _latest_trivial(history, task)
        if trivial is not None:
            axes.axhline(trivial, color=_GREY, lw=1, ls="--", label="trivial predictor")
        if task and points:
            axes.set_ylim(bottom=0)
        if not points:
            axes.text(0.5, 0.5, "no targets", transform=axes.transAxes, ha="center")
        axes.set_title(task or "all tasks", loc="left", fontsize=10, weight="bold")
        unit = _ERRORS[TASKS[task].kind] if task else "weighted sum"
        axes.set_ylabel(unit, fontsize=8)
    handles = {
        label: handle
        for axes in panels
        for handle, label in zip(*axes.get_legend_handles_labels(), strict=True)
    }
    figure.legend(
        handles.values(),
        handles.keys(),
        loc="outside upper left",
        ncols=3,
        frameon=False,
    )
    return figure


def draw_uncertainties(history: Sequence[Record]) -> Figure:
    """Draw sigma squared of each task over epochs, a panel a group of modalities.

    The weight of a task is `1 / sigma^2`; all panels share one logarithmic axis, and
    a thin line at 1 is where every task begins.

    Raises:
        TrainingError: If the history is empty, its tasks weigh equally, or a task is
            none of `TASKS`.

    """
    _refuse_empty(history)
    learnt = [record for record in history if record.log_vars]
    learnt = [record for record in learnt if record.split == "train"] or learnt
    if not learnt:
        raise TrainingError(
            "the history holds no task uncertainties",
            hint="train with uncertainty weighting to learn them",
        )
    groups: dict[str, list[str]] = {}
    for task in _in_order(task for record in learnt for task in record.log_vars):
        groups.setdefault(TASKS[task].group, []).append(task)
    figure, panels = _panels(len(groups), _GROUP_COLUMNS, learnt, sharey=True)
    lines = {
        task: np.exp([record.log_vars.get(task, math.nan) for record in learnt])
        for tasks in groups.values()
        for task in tasks
    }
    known = np.concatenate([*lines.values(), _RANGE])
    known = known[np.isfinite(known)]
    low, high = known.min() / _MARGIN, known.max() * _MARGIN
    epochs = [record.epoch for record in learnt]
    for index, (axes, (group, tasks)) in enumerate(
        zip(panels, groups.items(), strict=True)
    ):
        axes.set_yscale("log")
        axes.set_ylim(low, high)
        axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axes.yaxis.set_major_formatter(FuncFormatter(lambda y, _: f"{y:g}"))
        axes.yaxis.set_minor_locator(LogLocator(subs=()))
        axes.axhline(1, color="0.8", lw=0.8, zorder=0)
        marker = "." if len(epochs) <= _FEW_POINTS else ""
        for task, colour in zip(tasks, COLOURS, strict=False):
            axes.plot(epochs, lines[task], color=colour, lw=1.4, marker=marker)
        _label_ends(axes, {task: lines[task] for task in tasks})
        axes.set_title(group, loc="left", fontsize=10, weight="bold")
        if index % _GROUP_COLUMNS == 0:
            axes.set_ylabel("sigma$^2$ (weight is 1/sigma$^2$)", fontsize=8)
    return figure


def _panels(
    count: int, columns: int, history: Sequence[Record], *, sharey: bool = False
) -> tuple[Figure, list[Axes]]:
    """Make a figure of `count` panels over a common axis of epochs, from 0 on."""
    rows = -(-count // columns)
    figure = Figure(
        figsize=(_WIDTH_IN, rows * _PANEL_HEIGHT_IN + 0.4),
        layout=ConstrainedLayoutEngine(w_pad=_PAD_IN),
    )
    grid = figure.subplots(rows, columns, sharex=True, sharey=sharey, squeeze=False)
    grid.flat[0].set_xlim(0, max(record.epoch for record in history) or 1)
    for number, axes in enumerate(grid.flat):
        axes.set_visible(number < count)
        axes.spines[["top", "right"]].set_visible(False)
        axes.tick_params(labelsize=8, labelbottom=number + columns >= count)
        if number + columns >= count:
            axes.set_xlabel("epoch", fontsize=8)
    return figure, list(grid.flat)[:count]


def _series(
    history: Sequence[Record], split: Split, task: str
) -> tuple[list[float], list[float]]:
    """Return epochs and losses of a task, or of the total under the name ``""``."""
    records = [record for record in history if record.split == split]
    losses = [r.losses.get(task, math.nan) if task else r.loss for r in records]
    return [record.epoch for record in records], losses


def _latest_trivial(history: Sequence[Record], task: str) -> float | None:
    """Return the last trivial loss of a task, of validation if it has any."""
    for split in ("val", "train"):
        known = [r.trivial.get(task, math.nan) for r in history if r.split == split]
        finite = [value for value in known if math.isfinite(value)]
        if finite:
            return finite[-1]
    return None


def _label_ends(axes: Axes, lines: Mapping[str, NDArray[np.float64]]) -> None:
    """Name each line at its right end in its colour, moved apart where they meet."""
    low, high = np.log(axes.get_ylim())
    heights = {}
    for task, values in lines.items():
        known = values[np.isfinite(values)]
        if known.size:
            heights[task] = float((np.log(known[-1]) - low) / (high - low))
    colours = dict(zip(lines, COLOURS, strict=False))
    for task, height in _spread(heights).items():
        axes.text(
            *(1.02, height, task),
            transform=axes.transAxes,
            va="center",
            fontsize=8,
            color=colours[task],
        )


def _spread(heights: Mapping[str, float]) -> dict[str, float]:
    """Move labels apart to `_LABEL_GAP`, in their order and about where they were."""
    names = sorted(heights, key=lambda name: heights[name])
    placed: dict[str, float] = {}
    for name in names:
        below = max(placed.values(), default=-math.inf)
        placed[name] = max(heights[name], below + _LABEL_GAP)
    raised = sum(placed[n] - heights[n] for n in names) / max(len(names), 1)
    return {name: height - raised for name, height in placed.items()}


def _in_order(tasks: Iterable[str]) -> tuple[str, ...]:
    """Return the tasks that occur, in the order of the table."""
    found = set(tasks)
    unknown = sorted(found - set(TASKS))
    if unknown:
        raise TrainingError(
            f"the history names the task `{unknown[0]}`, which is no modality",
            hint="draw it with the version that wrote it",
        )
    return tuple(task for task in TASKS if task in found)


def _refuse_empty(history: Sequence[Record]) -> None:
    if not history:
        raise TrainingError(
            "the history holds no record", hint="train for a logged step or more"
        )
