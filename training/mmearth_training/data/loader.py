"""Batches for training: read in workers, in an order that depends on the seed alone.

Shapes: N samples, B bands, C channels, h w pixels of a crop, V visible and U hidden
patches.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from mmearth_infer.errors import DataError, MMEarthError
from mmearth_training.data.draws import Key, draw_look, epoch_order
from mmearth_training.data.layout import reason
from mmearth_training.data.standardise import Standardiser, crop
from mmearth_training.modalities import INPUT, MODALITIES
from mmearth_training.model.masking import Mask

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator, Mapping, Sequence

    from mmearth_training.data.folder import DataFolder
    from mmearth_training.data.tiles import Tiles


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """Samples on their way to the model."""

    x_NBhw: Tensor
    """Standardised Sentinel-2, missing pixels 0."""

    targets: Mapping[str, Tensor]
    """A task: `(N, C, h, w)` or `(N, C)` with NaN, `(N, h, w)` or `(N,)` with -1."""

    visible_NV: Tensor
    """Patches the encoder sees."""

    hidden_NU: Tensor
    """All others."""

    def __len__(self) -> int:
        """Samples."""
        return len(self.x_NBhw)

    @property
    def mask(self) -> Mask:
        """What the encoder sees."""
        return Mask(self.visible_NV, self.hidden_NU)

    def to(self, device: torch.device) -> Batch:
        """Return the batch on a device; copies run beside the host's work."""
        return self._each(lambda tensor: tensor.to(device, non_blocking=True))

    def pin_memory(self) -> Batch:
        """Return the batch in memory that a GPU can copy from by itself."""
        return self._each(Tensor.pin_memory)

    def _each(self, change: Any) -> Batch:  # noqa: ANN401 -- Tensor to Tensor
        return Batch(
            x_NBhw=change(self.x_NBhw),
            targets={name: change(value) for name, value in self.targets.items()},
            visible_NV=change(self.visible_NV),
            hidden_NU=change(self.hidden_NU),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class SampleConfig:
    """What a sample is."""

    tasks: tuple[str, ...]
    """Names of the tasks."""

    crop_px: int
    """Side of a crop."""

    patches: int
    """Patches of a crop."""

    visible: int
    """How many of them the encoder sees."""

    seed: int
    """Seed of the run."""


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
        names = tuple(dict.fromkeys((INPUT, *config.tasks)))
        stored = self.tiles.read(rows, names)
        levels = self.tiles.levels(rows)
        looks = [
            draw_look(
                key,
                seed=config.seed,
                slack_px=self.tiles.tile_px - config.crop_px,
                patches=config.patches,
                visible=config.visible,
            )
            for key in keys
        ]
        learnt = {}
        for name in names:
            values = stored[name]
            if MODALITIES[name].level == "pixel":
                values = crop(values, looks, config.crop_px)
            learnt[name] = torch.from_numpy(self.standardise(name, values, levels))
        visible_NV = np.stack([look.visible_V for look in looks])
        hidden_NP = np.ones((len(keys), config.patches), bool)
        np.put_along_axis(hidden_NP, visible_NV, values=False, axis=1)
        hidden_NU = np.nonzero(hidden_NP)[1].reshape(len(keys), -1)
        return Batch(
            x_NBhw=torch.nan_to_num(learnt[INPUT], nan=0.0),
            targets={name: learnt[name] for name in config.tasks},
            visible_NV=torch.from_numpy(visible_NV),
            hidden_NU=torch.from_numpy(hidden_NU),
        )


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

    def __post_init__(self) -> None:
        """Refuse fewer samples than a batch.

        Raises:
            DataError: Naming both.

        """
        if len(self.rows) < self.batch:
            raise DataError(
                f"{len(self.rows)} training tiles do not fill a batch of {self.batch}",
                hint="lower optim.batch with --batch",
            )

    @property
    def steps_an_epoch(self) -> int:
        """Steps of the optimiser in an epoch."""
        return len(self.rows) // self.batch

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
                order = epoch_order(self.rows, seed=self.seed, epoch=epoch)
            rows = order[number * self.batch : (number + 1) * self.batch]
            for first in range(0, self.batch, together):
                own = first + rank * self.micro_batch
                yield [
                    Key(row=int(row), epoch=epoch)
                    for row in rows[own : own + self.micro_batch]
                ]


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
