"""Statistics of each channel over the training tiles, in one pass and in float64.

Shapes: N tiles, C channels, P values of a channel.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np

from mmearth_training.modalities import INPUT, MODALITIES, Modality

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from numpy.typing import NDArray

    from mmearth_training.data.tiles import Tiles

BATCH: Final = 8
"""Tiles in memory at a time."""


class RunningStatistics:
    """Mean, standard deviation, least and largest value a channel.

    Chan, Golub and LeVeque (1979): parts are merged by their means and summed
    squares, so any order and any cut of the data gives the same to rounding.
    """

    def __init__(self, channels: int) -> None:
        """Begin with nothing."""
        self._count = np.zeros(channels)
        self._mean = np.zeros(channels)
        self._squares = np.zeros(channels)
        self._least = np.full(channels, np.inf)
        self._largest = np.full(channels, -np.inf)

    def add(self, values_CP: NDArray[Any], valid_CP: NDArray[np.bool_]) -> None:
        """Take in values; those that are not valid count for nothing."""
        count = valid_CP.sum(axis=1)
        some = np.maximum(count, 1)
        values = np.where(valid_CP, values_CP, 0).astype(np.float64)
        mean = values.sum(axis=1) / some
        centred = np.where(valid_CP, values - mean[:, None], 0)
        squares = (centred**2).sum(axis=1)
        total = self._count + count
        share = count / np.maximum(total, 1)
        apart = mean - self._mean
        self._squares += squares + apart**2 * self._count * share
        self._mean += apart * share
        self._count = total
        low = np.where(valid_CP, values, np.inf).min(axis=1, initial=np.inf)
        high = np.where(valid_CP, values, -np.inf).max(axis=1, initial=-np.inf)
        self._least = np.minimum(self._least, low)
        self._largest = np.maximum(self._largest, high)

    def figures(self) -> dict[str, list[float]]:
        """Return `mean`, `std`, `min`, `max` as published.

        NaN where a channel has no value at all, such as B10 of L2A. A channel that
        never varies has 1 for its standard deviation: it then standardises to 0.
        """
        some = self._count > 0
        std = np.sqrt(self._squares / np.maximum(self._count, 1))
        flat = self._least == self._largest
        figures = {
            "mean": self._mean,
            "std": np.where(flat, 1.0, std),
            "min": self._least,
            "max": self._largest,
        }
        return {
            name: np.where(some, values, np.nan).tolist()
            for name, values in figures.items()
        }


def compute_statistics(
    tiles: Tiles, rows: Sequence[int], names: Iterable[str] = MODALITIES
) -> dict[str, dict[str, list[float]]]:
    """Return the content of NAME_band_stats.json.

    Args:
        tiles: The data.
        rows: Tiles to look at: the training split, for what is held out must not
            leak into what the model sees.
        names: Modalities; classes have no statistics and are passed over.

    Returns:
        By modality, `sentinel2` by product level, and only levels that occur.

    Raises:
        DataError: If a tile cannot be read.

    """
    wanted = [name for name in names if MODALITIES[name].kind == "continuous"]
    running: dict[str, RunningStatistics] = {}
    for first in range(0, len(rows), BATCH):
        batch = rows[first : first + BATCH]
        levels = np.array(tiles.levels(batch))
        for name, values in tiles.read(batch, wanted).items():
            modality = MODALITIES[name]
            parts: dict[str, Any] = {name: slice(None)}
            if name == INPUT:
                parts = {f"{name}_{level}": levels == level for level in set(levels)}
            for key, part in parts.items():
                values_CP = np.moveaxis(values[part], 1, 0).reshape(modality.width, -1)
                entry = running.setdefault(key, RunningStatistics(modality.width))
                entry.add(values_CP, is_valid(values_CP, modality))
    return {key: entry.figures() for key, entry in running.items()}


def is_valid(values: NDArray[Any], modality: Modality) -> NDArray[np.bool_]:
    """Tell which stored values of a quantity were measured."""
    valid: NDArray[np.bool_] = np.isfinite(values)
    for missing in modality.nodata:
        valid &= values != missing
    return valid
