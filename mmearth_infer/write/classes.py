"""How maps of classes are kept: the likeliest class, and the probability of each.

Shapes: K classes, H W cells.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from mmearth_infer.contract.classes import NODATA_CLASS
from mmearth_infer.write.encode import Kept

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from mmearth_infer.contract.classes import MapClass


@dataclass(frozen=True, slots=True, kw_only=True)
class ClassEncoding(Kept):
    """The class with the largest logit, in uint8."""

    classes: tuple[MapClass, ...]
    """In the order of the logits."""

    @property
    def dtype(self) -> np.dtype[Any]:
        """Type of the array."""
        return np.dtype(np.uint8)

    @property
    def nodata(self) -> float:
        """Value of cells without data."""
        return NODATA_CLASS

    @property
    def attributes(self) -> dict[str, Any]:
        """What the array says of it: flags as CF has them, and colours."""
        names = [one.name for one in self.classes]
        return {
            "flag_values": list(range(len(names))),
            "flag_meanings": " ".join(name.replace(" ", "_") for name in names),
            "classes": [{"name": one.name, "rgb": one.rgb} for one in self.classes],
        }

    def encode(self, features_DHW: NDArray[np.float32]) -> tuple[NDArray[Any], None]:
        """Return `(1, H, W)`: of equal logits the first; nodata where they are NaN."""
        class_HW = features_DHW.argmax(axis=0).astype(np.uint8)
        class_HW[np.isnan(features_DHW).any(axis=0)] = NODATA_CLASS
        return class_HW[None], None


@dataclass(frozen=True, slots=True, kw_only=True)
class ShareEncoding(Kept):
    """The softmax of the logits, in float32; NaN where there is no data."""

    classes: tuple[MapClass, ...]
    """In the order of the logits."""

    @property
    def dtype(self) -> np.dtype[Any]:
        """Type of the array."""
        return np.dtype(np.float32)

    @property
    def nodata(self) -> float:
        """Value of cells without data."""
        return np.nan

    @property
    def attributes(self) -> dict[str, Any]:
        """What the array says of it."""
        return {"classes": [one.name for one in self.classes]}

    def encode(self, features_DHW: NDArray[np.float32]) -> tuple[NDArray[Any], None]:
        """Return `(K, H, W)`, which add up to one."""
        shares_DHW = np.exp(features_DHW - features_DHW.max(axis=0))
        shares_DHW /= shares_DHW.sum(axis=0)
        return shares_DHW, None
