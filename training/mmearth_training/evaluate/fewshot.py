"""A chart of how much each encoder makes of few samples."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from matplotlib.figure import Figure
from matplotlib.ticker import NullLocator

from mmearth_training.curves import COLOURS
from mmearth_training.data.geobench.folder import DEFAULT_PARTITION
from mmearth_training.evaluate.scores import METRIC_NAMES

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mmearth_training.evaluate.results import Result

_WIDTH_IN: Final = 12.0
_HEIGHT_IN: Final = 3.2
_PANELS_A_LINE: Final = 3

Lines = dict[tuple[str, str], dict[str, list[tuple[int, float]]]]
"""Samples and percent by task and mode, then by model."""


def few_shot_lines(results: Sequence[Result]) -> Lines:
    """Return the points of each line from few samples to many.

    A model with one number of samples has no line. The default partition stands in
    for all samples where `1.00x_train` was not tried.
    """
    found: Lines = {}
    ordered = sorted(results, key=lambda one: one.partition == DEFAULT_PARTITION)
    for one in ordered:
        line = found.setdefault((one.task, one.mode), {}).setdefault(one.model, [])
        count = one.samples["train"]
        if count not in [known for known, _ in line]:
            line.append((count, 100 * one.value))
    kept: Lines = {}
    for panel, lines in found.items():
        several = {m: sorted(points) for m, points in lines.items() if len(points) > 1}
        if several:
            kept[panel] = several
    return kept


def draw_few_shot(results: Sequence[Result]) -> Figure | None:
    """Draw a panel a task and mode; None without two partitions of anything."""
    lines = few_shot_lines(results)
    if not lines:
        return None
    columns = min(len(lines), _PANELS_A_LINE)
    rows = -(-len(lines) // columns)
    figure = Figure(figsize=(_WIDTH_IN, rows * _HEIGHT_IN), layout="constrained")
    grid = figure.subplots(rows, columns, squeeze=False)
    metrics = {one.task: METRIC_NAMES[one.metric] for one in results}
    models = list(dict.fromkeys(one.model for one in results))
    colours = {m: COLOURS[n % len(COLOURS)] for n, m in enumerate(models)}
    for axes, (task, mode) in zip(grid.flat, lines, strict=False):
        for model, points in lines[task, mode].items():
            counts, values = zip(*points, strict=True)
            axes.plot(counts, values, "o-", color=colours[model], lw=1.4, ms=4)
        ticks = sorted(
            {count for points in lines[task, mode].values() for count, _ in points}
        )
        axes.set_xscale("log")
        axes.set_xticks(ticks, [str(count) for count in ticks])
        axes.xaxis.set_minor_locator(NullLocator())
        axes.set_title(f"{task}, {mode}", loc="left", fontsize=10, weight="bold")
        axes.set_xlabel("samples to train on", fontsize=8)
        axes.set_ylabel(f"{metrics[task]} (%)", fontsize=8)
        axes.spines[["top", "right"]].set_visible(False)
        axes.tick_params(labelsize=8)
    for axes in grid.flat[len(lines) :]:
        axes.set_visible(False)
    for model in models:
        grid.flat[0].plot([], [], "o-", color=colours[model], label=model)
    figure.legend(loc="outside upper left", ncols=4, frameon=False, fontsize=8)
    return figure
