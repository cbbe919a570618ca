"""Figures of the MMEarth paper, in percent, to stand beside ours.

Nedungadi et al., ECCV 2024, arXiv 2405.02771: ConvNeXt V2 atto throughout.
"""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Mapping

Column = tuple[str, str]
"""Task and mode."""

_BIG, _SO2SAT = "m-bigearthnet", "m-so2sat"
_CASHEW, _CROP = "m-cashew-plant", "m-SA-crop-type"
_COLUMNS: Final[tuple[Column, ...]] = (
    (_BIG, "ft"),
    (_BIG, "lp"),
    (_SO2SAT, "ft"),
    (_SO2SAT, "lp"),
    (_CASHEW, "seg"),
    (_CROP, "seg"),
)


def _row(*values: float) -> dict[Column, float]:
    return dict(zip(_COLUMNS, values, strict=True))


PUBLISHED: Final[Mapping[str, Mapping[Column, float]]] = MappingProxyType(
    {
        "ImageNet": _row(72.9, 57.2, 44.5, 34.9, 77.5, 27.4),
        "MMEarth, S2 only": _row(78.6, 64.5, 46.2, 28.6, 84.5, 33.3),
        "MMEarth, all modalities": {
            **_row(80.0, 68.2, 55.9, 44.2, 81.4, 34.5),
            (_SO2SAT, "elp"): 49.8,
        },
        "MMEarth, all modalities, L2A statistics": {
            (_BIG, "ft"): 82.3,
            (_BIG, "lp"): 71.3,
        },
        "MMEarth64, all modalities": _row(82.8, 67.4, 56.9, 42.3, 81.6, 35.8),
    }
)
"""Rows of the paper's tables: all samples, statistics of the data set unless said."""
