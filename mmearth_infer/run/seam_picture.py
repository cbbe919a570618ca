"""A picture of where tiles show: the step across each border of each tile."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from matplotlib.collections import LineCollection
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure

from mmearth_infer.disk import disk_errors

if TYPE_CHECKING:
    from pathlib import Path

    from mmearth_infer.grid.plan import TilePlan
    from mmearth_infer.run.seams import SeamReport

_SIDE_IN: Final = 8.0
_DPI: Final = 120
_RANGE: Final = 4.0
"""Times the mean step elsewhere at which colours end."""


def save_picture(report: SeamReport, plan: TilePlan, path: Path) -> None:
    """Draw the borders of tiles as lines and save them as PNG.

    The colour is the mean step across a line over the mean step elsewhere: white is
    no seam. Borders without data on both sides are left out.

    Args:
        report: What was measured.
        plan: The tiling it was measured for.
        path: Where the picture goes.

    Raises:
        StoreError: If the disk does not take it.

    """
    lines, ratios = [], []
    for steps, spans, others, flipped in (
        (report.rows, plan.rows, plan.cols, False),
        (report.cols, plan.cols, plan.rows, True),
    ):
        if not steps.inside_mean:
            continue
        for number, span in enumerate(spans[1:]):
            for place, other in enumerate(others):
                ends = [
                    (other.core_start, span.core_start),
                    (other.core_stop, span.core_start),
                ]
                lines.append([end[::-1] for end in ends] if flipped else ends)
                ratios.append(steps.by_tile[number, place] / steps.inside_mean)
    figure = Figure(figsize=(_SIDE_IN, _SIDE_IN), dpi=_DPI, layout="constrained")
    axes = figure.add_subplot()
    axes.set(
        xlim=(0, plan.width),
        ylim=(plan.height, 0),
        aspect="equal",
        xlabel="column of cells",
        ylabel="row of cells",
        facecolor="0.35",
    )
    index = report.index
    axes.set_title("no borders" if index is None else f"seam index {index:.3f}")
    drawn = LineCollection(
        lines,
        array=ratios,
        cmap="RdBu_r",
        norm=LogNorm(1 / _RANGE, _RANGE),
        linewidths=3,
    )
    axes.add_collection(drawn)
    bar = figure.colorbar(drawn, ax=axes, shrink=0.7, label="step / step elsewhere")
    bar.set_ticks([0.25, 0.5, 1, 2, 4], labels=["0.25", "0.5", "1", "2", "4"])
    with disk_errors(path):
        figure.savefig(path, format="png")
