"""Images of a data set in memory, read when they are first needed.

Shapes: N samples, B bands, H W pixels.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np
import torch

from mmearth_infer.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray
    from torch import Tensor

    from mmearth_infer.contract.normalize import Statistics
    from mmearth_training.data.geobench.folder import GeobenchFolder

_UINT16: Final = np.iinfo(np.uint16)


class Images:
    """Samples of a data set by name."""

    def __init__(
        self, folder: GeobenchFolder, bands: Sequence[str], *, keep: bool = True
    ) -> None:
        """Choose what is read.

        Args:
            folder: The data set.
            bands: Bands in the order of the model.
            keep: Hold what was read: two bytes a value where all values are whole.

        """
        self._folder, self._bands, self._keep = folder, tuple(bands), keep
        self._kept: dict[str, NDArray[np.generic]] = {}
        self._shape: tuple[int, ...] = ()

    def dn(self, samples: Sequence[str]) -> NDArray[np.float32]:
        """Return `dn_NBHW` of samples.

        Raises:
            DataError: If one cannot be read, or is larger or smaller than the others.

        """
        read = [self._one(sample) for sample in samples]
        return np.stack(read).astype(np.float32)

    def standardised(
        self, samples: Sequence[str], statistics: Statistics, device: torch.device
    ) -> Tensor:
        """Return `x_NBHW`, 0 where all bands are missing.

        Raises:
            DataError: As `dn` does.

        """
        dn_NBHW = torch.from_numpy(self.dn(samples)).to(device)
        mean_B11 = torch.tensor(statistics.mean, device=device)[:, None, None]
        std_B11 = torch.tensor(statistics.std, device=device)[:, None, None]
        present_N1HW = (dn_NBHW != 0).any(dim=1, keepdim=True)
        return (dn_NBHW - mean_B11) / std_B11 * present_N1HW

    def _one(self, sample: str) -> NDArray[np.generic]:
        """Return one sample, packed."""
        if sample in self._kept:
            return self._kept[sample]
        dn_BHW = self._folder.read(sample, self._bands)
        self._shape = self._shape or dn_BHW.shape
        if dn_BHW.shape != self._shape:
            raise DataError(
                f"sample `{sample}` is {dn_BHW.shape[-1]} px wide, others are "
                f"{self._shape[-1]} px",
                hint="images of a data set of GEO-Bench are of one size",
            )
        packed = _packed(dn_BHW)
        if self._keep:
            self._kept[sample] = packed
        return packed


def _packed(dn_BHW: NDArray[np.float32]) -> NDArray[np.generic]:
    """Return the same values in half the memory, where that is possible."""
    low, high = float(dn_BHW.min()), float(dn_BHW.max())
    if low < _UINT16.min or high > _UINT16.max:
        return dn_BHW
    whole = dn_BHW.astype(np.uint16)
    return whole if (whole == dn_BHW).all() else dn_BHW
