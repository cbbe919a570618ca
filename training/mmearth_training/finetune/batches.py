"""From tiles to batches: order, turns, standardised pixels.

Shapes: N tiles, B bands, H W pixels.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from mmearth_infer.contract.normalize import Statistics
from mmearth_infer.errors import DataError
from mmearth_training.data.draws import epoch_order

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from mmearth_infer.contract.bands import ProductLevel
    from mmearth_training.finetune.tiles import LabelledTiles

TURNS = 8
"""Ways to lay a square tile: four turns, each of them mirrored or not."""

_TURN = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelledBatch:
    """Tiles as the network sees them."""

    x_NBHW: Tensor  # noqa: N815 -- a tensor's name carries its axes
    """Standardised pixels, 0 where all bands are missing."""

    classes_NHW: Tensor  # noqa: N815 -- likewise
    """int64, -1 where nothing is known."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Batches:
    """Makes batches of tiles."""

    tiles: LabelledTiles
    """The tiles."""

    statistics: Mapping[ProductLevel, Statistics]
    """What standardises them."""

    size: int
    """Tiles a batch; the last of an epoch may have fewer."""

    seed: int
    """Seed of the run."""

    device: torch.device
    """Where they are computed on."""

    turns: bool = True
    """Whether tiles to train on are turned and mirrored."""

    @property
    def steps_an_epoch(self) -> int:
        """Batches that hold all tiles to train on."""
        return -(-len(self.tiles.rows("train")) // self.size)

    def training(self, step: int) -> LabelledBatch:
        """Return the batch of a step, counted from 1; nothing else decides it."""
        epoch, place = divmod(step - 1, self.steps_an_epoch)
        rows = self.tiles.rows("train").tolist()
        order = epoch_order(rows, seed=self.seed, epoch=epoch)
        chosen = order[place * self.size : (place + 1) * self.size]
        if not self.turns:
            return self.of(chosen.tolist())
        rng = np.random.default_rng((self.seed, _TURN, step))
        turns = rng.integers(0, TURNS, len(chosen)).tolist()
        batch = self.of(chosen.tolist())
        return LabelledBatch(
            x_NBHW=torch.stack(
                [turned(x, n) for x, n in zip(batch.x_NBHW, turns, strict=True)]
            ),
            classes_NHW=torch.stack(
                [turned(x, n) for x, n in zip(batch.classes_NHW, turns, strict=True)]
            ),
        )

    def held_out(self, split: str) -> Iterator[LabelledBatch]:
        """Yield all tiles of a split as they are, in order."""
        rows = self.tiles.rows(split).tolist()
        for start in range(0, len(rows), self.size):
            yield self.of(rows[start : start + self.size])

    def of(self, rows: Sequence[int]) -> LabelledBatch:
        """Return chosen tiles as they are."""
        numbers = [self.statistics[self.tiles.levels[row]] for row in rows]
        mean_NB11 = torch.tensor([one.mean for one in numbers])[..., None, None]
        std_NB11 = torch.tensor([one.std for one in numbers])[..., None, None]
        dn_NBHW = torch.from_numpy(self.tiles.dn_NBHW[rows].astype(np.float32))
        present_N1HW = dn_NBHW.amax(dim=1, keepdim=True) > 0
        x_NBHW = (dn_NBHW - mean_NB11) / std_NB11 * present_N1HW
        classes = self.tiles.classes_NHW[rows].astype(np.int64)
        return LabelledBatch(
            x_NBHW=x_NBHW.to(self.device),
            classes_NHW=torch.from_numpy(classes).to(self.device),
        )


def turned(x: Tensor, turn: int) -> Tensor:
    """Return the last two axes, which are equal, in one of the `TURNS` ways."""
    x = torch.rot90(x, turn % 4, (-2, -1))
    return x.flip(-1) if turn >= TURNS // 2 else x


def measure_statistics(tiles: LabelledTiles) -> dict[ProductLevel, Statistics]:
    """Return mean and deviation of the tiles to train on, by product level.

    Raises:
        DataError: If a level occurs that no tile to train on has.

    """
    train = tiles.rows("train")
    found: dict[ProductLevel, Statistics] = {}
    for level in dict.fromkeys(tiles.levels):
        rows = [row for row in train if tiles.levels[row] == level]
        if not rows:
            raise DataError(
                f"no tile to train on is of product {level.upper()}, all are held out",
                hint="data.statistics = 'pretraining', or give more ground",
            )
        dn_BP = np.moveaxis(tiles.dn_NBHW[rows], 1, 0).reshape(
            tiles.dn_NBHW.shape[1], -1
        )
        dn_BP = dn_BP[:, dn_BP.any(axis=0)].astype(np.float64)
        found[level] = Statistics(
            mean=tuple(dn_BP.mean(axis=1).tolist()),
            std=tuple(np.maximum(dn_BP.std(axis=1), 1.0).tolist()),
        )
    return found
