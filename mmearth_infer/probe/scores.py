"""Figures of a confusion matrix, and their intervals.

Shapes: B blocks, K classes; `...` any number of matrices.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

DRAWS: Final = 2000
"""Times that blocks are drawn with replacement for an interval."""

LEVEL: Final = 95.0
"""Per cent of the draws that an interval holds."""

_DRAWS_AT_ONCE: Final = 100


def confusion_of(
    true_S: NDArray[np.int64], said_S: NDArray[np.int64], classes: int
) -> NDArray[np.int64]:
    """Return `confusion_KK`, cells by true class (row) and predicted class (column)."""
    flat = np.bincount(true_S * classes + said_S, minlength=classes**2)
    return flat.reshape(classes, classes)


def class_iou(confusion_KK: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return intersection over union of each class, NaN for one that is nowhere."""
    hits, union = _hits_and_union(confusion_KK)
    return _over(hits, union)


def scores_of(confusion_KK: NDArray[np.int64]) -> dict[str, NDArray[np.float64]]:
    """Return figures of matrices `(..., K, K)`.

    `accuracy`; `mean_iou` and `macro_f1` over the classes that are there, true or
    predicted; Cohen's `kappa`.
    """
    counts = confusion_KK.astype(np.float64)
    total = counts.sum(axis=(-2, -1))
    hits, union = _hits_and_union(counts)
    accuracy = _over(hits.sum(axis=-1), total)
    by_chance = _over((counts.sum(axis=-1) * counts.sum(axis=-2)).sum(-1), total**2)
    return {
        "accuracy": accuracy,
        "mean_iou": _mean_known(_over(hits, union)),
        "macro_f1": _mean_known(_over(2 * hits, union + hits)),
        "kappa": _over(accuracy - by_chance, 1 - by_chance),
    }


def intervals(
    confusion_BKK: NDArray[np.int64], seed: int
) -> dict[str, tuple[float, float]]:
    """Return a 95 % interval of each figure: blocks drawn with replacement.

    Blocks, not cells: cells of a block resemble each other and would make every
    interval too narrow.
    """
    rng = np.random.default_rng(seed)
    blocks = len(confusion_BKK)
    share_B = np.full(blocks, 1 / blocks)
    flat_BC = confusion_BKK.reshape(blocks, -1)
    drawn = []
    for _ in range(DRAWS // _DRAWS_AT_ONCE):
        times_RB = rng.multinomial(blocks, share_B, size=_DRAWS_AT_ONCE)
        drawn.append(times_RB @ flat_BC)
    matrices = np.concatenate(drawn).reshape(-1, *confusion_BKK.shape[1:])
    tail = (100 - LEVEL) / 2
    ends = {}
    for name, values in scores_of(matrices).items():
        known = values[np.isfinite(values)]
        low, high = np.percentile(known, [tail, 100 - tail]) if len(known) else (0, 0)
        ends[name] = (float(low), float(high))
    return ends


def _hits_and_union(
    counts: NDArray[np.int64] | NDArray[np.float64],
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the right cells of each class, and those that are it or are called it."""
    hits = np.diagonal(counts, axis1=-2, axis2=-1).astype(np.float64)
    return hits, counts.sum(axis=-1) + counts.sum(axis=-2) - hits


def _over(
    above: NDArray[np.float64], below: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return a ratio, NaN where it has no meaning."""
    ratio: NDArray[np.float64] = np.full(np.shape(above), np.nan)
    np.divide(above, below, out=ratio, where=np.asarray(below) != 0)
    return ratio


def _mean_known(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the mean over the last axis of what is not NaN."""
    known = np.isfinite(values)
    return _over(np.where(known, values, 0).sum(-1), known.sum(-1).astype(np.float64))
