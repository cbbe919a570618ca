"""Batches for training: read in workers, in an order that depends on the seed alone.

Shapes: N samples, B bands, C channels, h w pixels of a crop, V visible and U hidden
patches.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset

from mmearth_infer.errors import DataError, MMEarthError
from mmearth_training.data.augment import PLAIN, Looks
from mmearth_training.data.batch import Batch, SampleConfig, assemble, look_at
from mmearth_training.data.draws import Key, draw_look, epoch_order
from mmearth_training.data.layout import reason
from mmearth_training.data.standardise import Standardiser, crop
from mmearth_training.modalities import MODALITIES

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator, Sequence

    from mmearth_training.data.folder import DataFolder
    from mmearth_training.data.tiles import Tiles


class SampleSource(Protocol):
    """Makes batches out of keys."""

    @property
    def folder(self) -> DataFolder:
        """The data set."""
        ...

    @property
    def standardise(self) -> Standardiser:
        """Its statistics."""
        ...

    def batches(
        self, keys: Iterator[list[Key]], *, workers: int, pin: bool = False
    ) -> Generator[Batch]:
        """Yield the batches of some keys, in order."""
        ...


@dataclass(slots=True, kw_only=True)
class Samples(Dataset[Any]):
    """Makes batches out of keys. The file is opened where it is first read."""

    folder: DataFolder
    """The data set."""

    config: SampleConfig
    """What a sample is."""

    standardise: Standardiser
    """Statistics."""

    tiles: Tiles | None = field(default=None, init=False)
    """The open file."""

    opened_by: int = field(default=-1, init=False)
    """Process that opened it; a copy of this object in another opens its own."""

    def __getitem__(self, key: Key) -> Any:  # noqa: ANN401
        """Return one sample as a batch, or the error that kept it."""
        return self.__getitems__([key])

    def __getitems__(self, keys: Sequence[Key]) -> Batch | MMEarthError:
        """Return a batch, or the error that kept it from being made.

        An exception would lose its hint on the way from a worker; it is raised by
        `iterate`.
        """
        try:
            return self.make(keys)
        except MMEarthError as error:
            return error

    def make(self, keys: Sequence[Key]) -> Batch:
        """Read, crop and standardise the tiles of some keys.

        Raises:
            DataError: If a tile cannot be read.

        """
        if self.tiles is None or self.opened_by != os.getpid():
            self.tiles, self.opened_by = self.folder.open(), os.getpid()
        config, rows = self.config, [key.row for key in keys]
        stored = self.tiles.read(rows, config.stored)
        levels = self.tiles.levels(rows)
        numbers = self.standardise.numbers(levels)
        if config.augment != PLAIN:
            tiles = {
                name: torch.from_numpy(self.standardise(name, values, levels))
                for name, values in stored.items()
            }
            looks = Looks.of(keys, seed=config.seed, device=torch.device("cpu"))
            return look_at(tiles, numbers, looks, config)
        looks_N = [
            draw_look(
                key,
                seed=config.seed,
                slack_px=self.tiles.tile_px - config.crop_px,
                patches=config.patches,
                visible=config.visible,
            )
            for key in keys
        ]
        cropped = {}
        for name, values in stored.items():
            if MODALITIES[name].level == "pixel":
                values = crop(values, looks_N, config.crop_px)  # noqa: PLW2901
            cropped[name] = torch.from_numpy(self.standardise(name, values, levels))
        visible_NV = np.stack([look.visible_V for look in looks_N])
        hidden_NP = np.ones((len(keys), config.patches), bool)
        np.put_along_axis(hidden_NP, visible_NV, values=False, axis=1)
        hidden_NU = np.nonzero(hidden_NP)[1].reshape(len(keys), -1)
        return assemble(
            cropped,
            numbers,
            torch.from_numpy(visible_NV),
            torch.from_numpy(hidden_NU),
            config,
        )

    def batches(
        self, keys: Iterator[list[Key]], *, workers: int, pin: bool = False
    ) -> Generator[Batch]:
        """Yield the batches of some keys; see `iterate`."""
        return iterate(self, keys, workers=workers, pin=pin)


@dataclass(frozen=True, slots=True, kw_only=True)
class Schedule:
    """Which samples each process sees, micro batch by micro batch.

    Law: the samples of a step are the same whatever the number of processes, and in
    the same order when the micro batches of the processes are laid side by side.
    """

    rows: tuple[int, ...]
    """Rows of the training split."""

    seed: int
    """Seed of the run."""

    batch: int
    """Samples a step."""

    micro_batch: int
    """Samples of one process at once."""

    epochs: int
    """Passes over the rows; what does not fill a batch is left out."""

    looks: int = 1
    """How often an epoch looks at each row, each time in another way."""

    def __post_init__(self) -> None:
        """Refuse fewer samples than a batch.

        Raises:
            DataError: Naming both.

        """
        if self.samples < self.batch:
            raise DataError(
                f"{len(self.rows)} training tiles do not fill a batch of {self.batch}",
                hint="lower optim.batch with --batch, or raise data.looks",
            )

    @property
    def samples(self) -> int:
        """Samples of an epoch."""
        return len(self.rows) * self.looks

    @property
    def steps_an_epoch(self) -> int:
        """Steps of the optimiser in an epoch."""
        return self.samples // self.batch

    @property
    def steps(self) -> int:
        """Steps of the whole run."""
        return self.steps_an_epoch * self.epochs

    def micro_batches(
        self, start: int, *, rank: int = 0, processes: int = 1
    ) -> Iterator[list[Key]]:
        """Yield the keys of one process, from a step to the end."""
        together = self.micro_batch * processes
        for step in range(start, self.steps):
            epoch, number = divmod(step, self.steps_an_epoch)
            if step == start or number == 0:
                order = epoch_order(range(self.samples), seed=self.seed, epoch=epoch)
            places = order[number * self.batch : (number + 1) * self.batch]
            for first in range(0, self.batch, together):
                own = first + rank * self.micro_batch
                yield [
                    self._key(int(place), epoch)
                    for place in places[own : own + self.micro_batch]
                ]

    def _key(self, place: int, epoch: int) -> Key:
        """Return the look at a place of an epoch."""
        look, number = divmod(place, len(self.rows))
        return Key(row=self.rows[number], epoch=epoch * self.looks + look)


def held_out(rows: Sequence[int], batch: int) -> Iterator[list[Key]]:
    """Yield the keys of a split in order, the last batch perhaps smaller."""
    for start in range(0, len(rows), batch):
        yield [Key(row=row, epoch=None) for row in rows[start : start + batch]]


def iterate(
    samples: Samples, keys: Iterator[list[Key]], *, workers: int, pin: bool = False
) -> Generator[Batch]:
    """Yield the batches of some keys, read ahead by worker processes.

    Closing it ends them.

    Args:
        samples: Makes them.
        keys: Their keys, in order.
        workers: Processes that read; 0 reads in this one.
        pin: Put batches into pinned memory.

    Raises:
        DataError: If a tile cannot be read.

    """
    loader: DataLoader[Any] = DataLoader(
        samples,
        batch_sampler=_Keys(keys),
        collate_fn=_as_is,
        num_workers=workers,
        pin_memory=pin,
    )
    arriving = iter(loader)
    while True:
        try:
            batch = next(arriving, None)
        except RuntimeError as error:  # the loader's own word for a worker's death
            raise DataError(
                f"a process that reads died: {reason(error)}",
                hint="memory or shared memory has run out; lower --batch-size, or "
                "read with --workers 0",
            ) from error
        if isinstance(batch, MMEarthError):
            raise batch
        if batch is None:
            return
        yield batch


class _Keys:
    """Batches of keys as PyTorch's loader wants them."""

    def __init__(self, keys: Iterator[list[Key]]) -> None:
        self._keys = keys

    def __iter__(self) -> Iterator[list[Key]]:
        return self._keys


def _as_is(batch: Any) -> Any:  # noqa: ANN401 -- a batch, or an error
    return batch
