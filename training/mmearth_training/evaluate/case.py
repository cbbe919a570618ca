"""One cell of the table: an encoder, a data set, and how one is tried on the other."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from mmearth_infer.contract.normalize import pretraining_statistics
from mmearth_infer.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import torch
    from torch import Tensor

    from mmearth_infer.contract.normalize import Statistics
    from mmearth_training.data.geobench.folder import GeobenchFolder
    from mmearth_training.data.geobench.images import Images
    from mmearth_training.evaluate.contender import Contender
    from mmearth_training.evaluate.settings import Setting
    from mmearth_training.model.encoder import Geometry

InputStatistics = Literal["dataset", "l2a", "l1c"]
"""The data set's own numbers, or those of pretraining on a product level."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Case:
    """What a linear probe or fine-tuning starts with."""

    folder: GeobenchFolder
    """The data set."""

    images: Images
    """Its pixels, in the bands of the encoder."""

    splits: Mapping[str, tuple[str, ...]]
    """Names of its samples by split."""

    contender: Contender
    """The encoder."""

    statistics: Statistics
    """What standardises its input."""

    setting: Setting
    """How it is trained."""

    geometry: Geometry
    """How borders are treated where images are pooled."""

    micro_batch: int
    """Images that are computed at once."""

    seed: int
    """Seed of everything that is drawn."""

    device: torch.device
    """Where it is computed."""

    def inputs(self, samples: Sequence[str]) -> Tensor:
        """Return `x_NBHW` of samples, on the device."""
        return self.images.standardised(samples, self.statistics, self.device)


def choose_statistics(
    folder: GeobenchFolder, contender: Contender, asked: InputStatistics
) -> Statistics:
    """Return what standardises the input.

    Raises:
        DataError: If the encoder knows no such level, or the data set lacks some.
        ManifestError: If pretraining has no statistics of a band.

    """
    if asked == "dataset":
        return folder.statistics(contender.bands)
    checkpoint = contender.checkpoint
    known = (
        checkpoint.statistics if checkpoint else pretraining_statistics(contender.bands)
    )
    if asked not in known:
        raise DataError(
            f"`{contender.name}` has no statistics of {asked.upper()}",
            hint=f"--statistics dataset, or {', '.join(known)}",
        )
    return known[asked]
