"""From stored tiles to what is learnt: cropped, standardised, missing values named.

Shapes: N samples, C channels, H W pixels of a tile, h w of a crop.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from mmearth_training.data.batch import Numbers
from mmearth_training.data.folder import statistics_of
from mmearth_training.losses import MISSING_CLASS
from mmearth_training.modalities import INPUT, MODALITIES, STORED_BANDS

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from mmearth_infer.contract.bands import ProductLevel
    from mmearth_infer.contract.normalize import Statistics
    from mmearth_training.data.draws import Look
    from mmearth_training.data.folder import DataFolder
    from mmearth_training.modalities import Modality


@dataclass(frozen=True, slots=True, kw_only=True)
class Standardiser:
    """Knows the statistics of a data set for the channels that are used."""

    bands: tuple[str, ...]
    """Bands of Sentinel-2 that are used, in order."""

    optical: Mapping[ProductLevel, Statistics]
    """Statistics of those bands, for each product level that occurs."""

    others: Mapping[str, Statistics]
    """Statistics of the other continuous modalities."""

    def numbers(self, levels: Sequence[ProductLevel]) -> Numbers:
        """Return what standardises Sentinel-2, sample by sample."""
        chosen = [self.optical[level] for level in levels]
        return Numbers(
            mean_NB=torch.tensor([one.mean for one in chosen], dtype=torch.float32),
            std_NB=torch.tensor([one.std for one in chosen], dtype=torch.float32),
        )

    def __call__(
        self,
        name: str,
        stored: NDArray[Any],
        levels: Sequence[ProductLevel],
    ) -> NDArray[Any]:
        """Return a modality as it is learnt.

        Args:
            name: A modality.
            stored: Its values as `Tiles.read` gives them, or crops of them.
            levels: Product level of each sample.

        Returns:
            float32 of the same shape, NaN where missing (`sentinel2` has the chosen
            bands only); for classes int64 `(N, h, w)` or `(N,)`, -1 where missing.

        """
        task = MODALITIES[name]
        if task.kind == "categorical":
            return _classes(task, stored)
        if name == INPUT:
            stored = stored[:, [STORED_BANDS.index(band) for band in self.bands]]
            chosen = [self.optical[level] for level in levels]
        else:
            chosen = [self.others[name]] * len(stored)
        values = stored.astype(np.float32)
        missing = ~np.isfinite(values)
        for value in task.nodata:
            missing |= stored == value
        axes = (1,) * (stored.ndim - 2)
        mean = np.array([one.mean for one in chosen], np.float32)
        std = np.array([one.std for one in chosen], np.float32)
        with np.errstate(invalid="ignore", over="ignore"):
            values -= mean.reshape(*mean.shape, *axes)
            values /= std.reshape(*std.shape, *axes)
        values[missing] = np.nan
        return values


def open_standardiser(
    folder: DataFolder,
    *,
    names: Sequence[str],
    bands: Sequence[str],
    levels: Sequence[ProductLevel],
) -> Standardiser:
    """Take the statistics that are needed out of a data set.

    Raises:
        DataError: If it lacks one.

    """
    continuous = [
        MODALITIES[name]
        for name in names
        if name != INPUT and MODALITIES[name].kind == "continuous"
    ]
    return Standardiser(
        bands=tuple(bands),
        optical={level: statistics_of(folder, INPUT, bands, level) for level in levels},
        others={
            task.name: statistics_of(folder, task.name, task.channels, None)
            for task in continuous
        },
    )


def crop(stored: NDArray[Any], looks: Sequence[Look], crop_px: int) -> NDArray[Any]:
    """Cut each sample's crop out of `(N, ..., H, W)`."""
    return np.stack(
        [
            tile[
                ...,
                look.top_px : look.top_px + crop_px,
                look.left_px : look.left_px + crop_px,
            ]
            for tile, look in zip(stored, looks, strict=True)
        ]
    )


def _classes(task: Modality, stored: NDArray[Any]) -> NDArray[np.int64]:
    """Return class numbers; what is no known code, or no single 1, is missing."""
    if task.one_hot:
        ones = stored == 1
        single = (ones.sum(axis=1) == 1) & ((stored == 0) | ones).all(axis=1)
        return np.where(single, ones.argmax(axis=1), MISSING_CLASS).astype(np.int64)
    classes = np.full(stored.shape, MISSING_CLASS, np.int64)
    for number, code in enumerate(task.codes):
        classes[stored == code] = number
    return classes
