"""Steps between neighbouring cells of a map: across borders of cores, and elsewhere.

A *step* is the mean difference between two neighbouring cells, over channels. The seam
index is the mean step across the borders of cores over the mean step elsewhere: 1 if
nothing is to be seen. Blended tiles have no step there, only slopes beside it, so steps
are told apart by their distance from the border too.

Shapes: D channels, h w cells of a block, W cells of the grid.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from numpy.typing import NDArray

    from mmearth_infer.grid.plan import Span, TilePlan
    from mmearth_infer.grid.window import Window

DISTANCES: Final = 8
"""Distances from a border that steps are told apart by; the last is all beyond."""

_BINS_AN_OCTAVE: Final = 64
_LOWEST_OCTAVE: Final = -40
_OCTAVES: Final = 80


@dataclass(frozen=True, slots=True, kw_only=True)
class Steps:
    """Steps along one axis."""

    borders: int
    """Borders of cores."""

    across: int
    """Pairs of neighbouring cells with data on both sides of a border."""

    across_mean: float | None
    """Mean step across the borders; None if there is none."""

    inside_mean: float | None
    """Mean step elsewhere."""

    across_median: float | None
    """Median step across the borders, to 1 part in 64."""

    inside_median: float | None
    """Median step elsewhere, likewise."""

    by_distance: tuple[float | None, ...]
    """Mean step 0, 1, 2... cells from the nearest border, the last for all beyond."""

    by_tile: NDArray[np.float64] = field(compare=False)
    """Mean step across each border from each tile of the other axis; NaN for none."""

    @property
    def index(self) -> float | None:
        """Mean across over mean elsewhere; None if either is missing."""
        return _ratio(self.across_mean, self.inside_mean)

    def to_json(self) -> dict[str, Any]:
        """Return the figures as JSON takes them, without those of single tiles."""
        return {
            "seam_index": self.index,
            "seam_index_of_medians": self.index_of_medians,
            "borders": self.borders,
            "pairs_across": self.across,
            "mean_across": self.across_mean,
            "mean_inside": self.inside_mean,
            "median_across": self.across_median,
            "median_inside": self.inside_median,
            "mean_by_distance": list(self.by_distance),
        }

    @property
    def index_of_medians(self) -> float | None:
        """Likewise of medians, which single edges in the scene do not move."""
        return _ratio(self.across_median, self.inside_median)


def measure_steps(
    blocks: Iterable[tuple[Window, NDArray[np.float32]]], plan: TilePlan
) -> tuple[Steps, Steps]:
    """Return the steps from north to south and from west to east of a map.

    However the map is cut into blocks, the steps are the same, and shifting or scaling
    all values leaves the seam index as it is. A block and a row of cells are held.

    Args:
        blocks: Windows that partition the grid, row by row from west to east, each
            with its `features_Dhw`, NaN where there is no data.
        plan: The tiling.

    """
    rows, cols = _Axis(plan.rows, plan.cols), _Axis(plan.cols, plan.rows)
    for row, col, across_hw, down_hw in _steps(blocks, plan):
        rows.add(row, col, down_hw)
        cols.add(col, row, across_hw.T)
    return rows.steps(), cols.steps()


def _steps(
    blocks: Iterable[tuple[Window, NDArray[np.float32]]], plan: TilePlan
) -> Iterator[tuple[int, int, NDArray[np.float32], NDArray[np.float32]]]:
    """Yield steps between the cells of a block, and to those north and west of it.

    Yields:
        Row and column of the block; `across_hw`, the step to each of its cells from
        the one west; `down_hw`, from the one north. NaN where either has no data.

    """
    above_DW: NDArray[np.float32] | None = None
    left_Dh: NDArray[np.float32] | None = None
    for window, features_Dhw in blocks:
        channels = len(features_Dhw)
        if above_DW is None:
            # A finer plan may end a few cells beyond the grid.
            above_DW = np.full((channels, plan.width), np.nan, dtype=np.float32)
        if left_Dh is None or window.col == 0:
            left_Dh = np.full((channels, window.height), np.nan, dtype=np.float32)
        here = slice(window.col, window.col + window.width)
        across_hw = _step(features_Dhw, left_Dh[:, :, None], axis=2)
        down_hw = _step(features_Dhw, above_DW[:, None, here], axis=1)
        above_DW[:, here] = features_Dhw[:, -1]
        left_Dh = features_Dhw[:, :, -1].copy()
        yield window.row, window.col, across_hw, down_hw


def _step(
    features_Dhw: NDArray[np.float32], before_Dhw: NDArray[np.float32], *, axis: int
) -> NDArray[np.float32]:
    """Return the mean difference of cells and those before them along an axis."""
    change_Dhw = np.diff(features_Dhw, axis=axis, prepend=before_Dhw)
    step_hw: NDArray[np.float32] = np.abs(change_Dhw, out=change_Dhw).mean(axis=0)
    return step_hw


class _Axis:
    """What is counted of the steps along one axis; few numbers, however many steps."""

    def __init__(self, spans: tuple[Span, ...], others: tuple[Span, ...]) -> None:
        """Begin with nothing.

        Args:
            spans: Tiles along the axis.
            others: Tiles along the other axis.

        """
        self._borders = np.array([span.core_start for span in spans[1:]], dtype=int)
        self._others = np.array([span.core_start for span in others], dtype=int)
        self._sums = np.zeros(DISTANCES)
        self._counts = np.zeros(DISTANCES, dtype=int)
        self._tile_sums = np.zeros((len(spans) - 1, len(others)))
        self._tile_counts = np.zeros((len(spans) - 1, len(others)), dtype=int)
        self._histograms = np.zeros((2, _BINS_AN_OCTAVE * _OCTAVES + 1), dtype=int)

    def add(self, start: int, other: int, step_hw: NDArray[np.float32]) -> None:
        """Count the steps to the cells of a block; its rows lie along the axis."""
        along = start + np.arange(len(step_hw))
        if len(self._borders):
            apart = np.abs(along[:, None] - self._borders).min(axis=1)
        else:
            apart = np.full(len(along), DISTANCES)
        tile = np.searchsorted(
            self._others, other + np.arange(step_hw.shape[1]), side="right"
        )
        for position, distance, step_w in zip(along, apart, step_hw, strict=True):
            there = np.isfinite(step_w)
            steps = step_w[there].astype(np.float64)
            near = min(int(distance), DISTANCES - 1)
            self._sums[near] += steps.sum()
            self._counts[near] += len(steps)
            self._count(int(near > 0), steps)
            if near == 0:
                border = int(np.searchsorted(self._borders, position))
                np.add.at(self._tile_sums[border], tile[there] - 1, steps)
                np.add.at(self._tile_counts[border], tile[there] - 1, 1)

    def _count(self, kind: int, steps: NDArray[np.float64]) -> None:
        """Count steps in bins a sixty-fourth of an octave wide; the first is for 0."""
        octaves = np.log2(np.maximum(steps, 2.0**_LOWEST_OCTAVE)) - _LOWEST_OCTAVE
        bins = np.ceil(octaves * _BINS_AN_OCTAVE).astype(int)
        size = self._histograms.shape[1]
        self._histograms[kind] += np.bincount(
            np.minimum(bins, size - 1), minlength=size
        )

    def _median(self, kind: int) -> float | None:
        """Return the middle of the bin that holds the median."""
        total = np.cumsum(self._histograms[kind])
        if total[-1] == 0:
            return None
        middle = int(np.searchsorted(total, (total[-1] + 1) // 2))
        octave = (middle - 0.5) / _BINS_AN_OCTAVE + _LOWEST_OCTAVE
        return float(2**octave) if middle else 0.0

    def steps(self) -> Steps:
        """Return what was counted."""
        inside = int(self._counts[1:].sum())
        tile_means = self._tile_sums / np.maximum(self._tile_counts, 1)
        tile_means[self._tile_counts == 0] = np.nan
        return Steps(
            borders=len(self._borders),
            across=int(self._counts[0]),
            across_mean=_share(self._sums[0], int(self._counts[0])),
            inside_mean=_share(self._sums[1:].sum(), inside),
            across_median=self._median(0),
            inside_median=self._median(1),
            by_distance=tuple(
                _share(total, int(count))
                for total, count in zip(self._sums, self._counts, strict=True)
            ),
            by_tile=tile_means,
        )


def _share(total: float, count: int) -> float | None:
    """Return a mean, None of nothing."""
    return float(total / count) if count else None


def _ratio(across: float | None, inside: float | None) -> float | None:
    """Return one mean over another; 1 where neither differs from 0."""
    if across is None or inside is None:
        return None
    if inside == 0:
        return None if across else 1.0
    return across / inside
