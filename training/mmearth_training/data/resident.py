"""A whole data set in the memory of the device that trains, where samples are made.

A small data set is read once; after that no process reads and nothing is copied.

Shapes: N samples, B bands.
"""

from __future__ import annotations

from contextlib import closing
from typing import TYPE_CHECKING, Final

import torch

from mmearth_infer.errors import DataError
from mmearth_training.data.augment import Looks
from mmearth_training.data.batch import Numbers, look_at

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator, Mapping, Sequence

    from torch import Tensor

    from mmearth_training.data.batch import Batch, SampleConfig
    from mmearth_training.data.draws import Key
    from mmearth_training.data.folder import DataFolder
    from mmearth_training.data.standardise import Standardiser
    from mmearth_training.data.tiles import Tiles

_READ_TILES: Final = 64  # at once, so that the host holds few of them as stored


class ResidentSamples:
    """Makes batches of tiles that lie on the device."""

    def __init__(
        self,
        *,
        folder: DataFolder,
        config: SampleConfig,
        standardise: Standardiser,
        device: torch.device,
    ) -> None:
        """Read every tile.

        Raises:
            DataError: If one cannot be read, or the device has too little memory.

        """
        self.folder, self.config, self.standardise = folder, config, standardise
        self._device = device
        with closing(folder.open()) as tiles:
            try:
                self._tiles, self._numbers = self._read(tiles)
            except torch.OutOfMemoryError as error:
                raise DataError(
                    f"`{folder.name}` does not fit into the memory of `{device}`",
                    hint='set data.loader = "workers" in the recipe',
                ) from error

    def batches(
        self, keys: Iterator[list[Key]], *, workers: int = 0, pin: bool = False
    ) -> Generator[Batch]:
        """Yield the batches of some keys; nobody has to read or pin them."""
        _ = workers, pin
        for batch in keys:
            yield self.make(batch)

    def make(self, keys: Sequence[Key]) -> Batch:
        """Return the samples of some keys."""
        looks = Looks.of(keys, seed=self.config.seed, device=self._device)
        return look_at(
            {name: values[looks.row_N] for name, values in self._tiles.items()},
            Numbers(
                mean_NB=self._numbers.mean_NB[looks.row_N],
                std_NB=self._numbers.std_NB[looks.row_N],
            ),
            looks,
            self.config,
        )

    def _read(self, tiles: Tiles) -> tuple[Mapping[str, Tensor], Numbers]:
        """Return all tiles standardised, and what standardised them."""
        parts: dict[str, list[Tensor]] = {name: [] for name in self.config.stored}
        for start in range(0, len(tiles), _READ_TILES):
            rows = range(start, min(start + _READ_TILES, len(tiles)))
            levels = tiles.levels(rows)
            for name, stored in tiles.read(rows, self.config.stored).items():
                values = torch.from_numpy(self.standardise(name, stored, levels))
                parts[name].append(values.to(self._device))
        numbers = self.standardise.numbers(tiles.levels(range(len(tiles))))
        return {name: torch.cat(part) for name, part in parts.items()}, Numbers(
            mean_NB=numbers.mean_NB.to(self._device),
            std_NB=numbers.std_NB.to(self._device),
        )
