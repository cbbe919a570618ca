"""Mean and standard deviation of bands, by product level."""

from __future__ import annotations

import math
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

from mmearth_infer.contract.bands import MMEARTH_BANDS
from mmearth_infer.errors import ManifestError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from mmearth_infer.contract.bands import ProductLevel


@dataclass(frozen=True, slots=True, kw_only=True)
class Statistics:
    """What standardises the pixels of one product level: `(dn - mean) / std`."""

    mean: tuple[float, ...]
    """Mean a band, in digital numbers without offset."""

    std: tuple[float, ...]
    """Standard deviation a band, in digital numbers, above 0."""

    def __post_init__(self) -> None:
        """Refuse what would divide by zero or turn pixels into NaN.

        Raises:
            ManifestError: Naming the first value that cannot be.

        """
        if len(self.mean) != len(self.std):
            raise ManifestError(
                f"statistics have {len(self.mean)} means "
                f"and {len(self.std)} standard deviations"
            )
        for value in self.mean:
            if not math.isfinite(value):
                raise ManifestError(f"a mean of the statistics is {value}")
        for value in self.std:
            if not (math.isfinite(value) and value > 0):
                raise ManifestError(f"a standard deviation is {value}, not above 0")


PRETRAINING_SOURCE: Final = (
    "statistics of the MMEarth pretraining data, as published by downstream users "
    "(most likely the 64 px release)"
)
"""Where the figures below come from."""

_PRETRAINING: Final[Mapping[ProductLevel, tuple[Sequence[float], Sequence[float]]]] = {
    "l2a": (
        (
            1349.3977794889083,
            1479.9521800379623,
            1720.3688077425966,
            1899.1848715975957,
            2253.9309600057886,
            2808.2001963620132,
            3003.424149045887,
            3149.5364927329806,
            3110.840562275062,
            3213.7636154015954,
            2399.086213373806,
            1811.7986415136786,
        ),
        (
            2340.2916479338087,
            2375.872101251672,
            2256.8997709659416,
            2354.181051828758,
            2292.99569489449,
            2033.2166835293804,
            1920.1736418230105,
            1816.6152354201365,
            1988.1938283738782,
            1947.9031620588928,
            1473.224812450967,
            1390.6781165633136,
        ),
    ),
    "l1c": (
        (
            1864.880176877408,
            1656.9923384425733,
            1561.2433627865414,
            1633.6041005007844,
            1846.642924880421,
            2422.1354550099322,
            2706.1684786306714,
            2907.509651871235,
            2620.484567631748,
            974.4786592695265,
            2154.0573745085508,
            1464.8020890030184,
        ),
        (
            1520.0684839687428,
            1575.4239525583005,
            1474.3747757041376,
            1734.9206729983894,
            1697.1412804437439,
            1584.959816138674,
            1577.9910344404889,
            1560.2251591506092,
            1519.2164490452863,
            823.3855623314192,
            1311.5885770761618,
            1140.1057025823181,
        ),
    ),
}


def pretraining_statistics(
    bands: Sequence[str],
) -> Mapping[ProductLevel, Statistics]:
    """Return the statistics of the pretraining data for `bands`, in their order.

    Args:
        bands: Names out of `MMEARTH_BANDS`.

    Raises:
        ManifestError: For a band the data have no statistics of, such as B10.

    """
    for band in bands:
        if band not in MMEARTH_BANDS:
            raise ManifestError(
                f"the pretraining data have no statistics of band `{band}`",
                hint=f"they have those of {', '.join(MMEARTH_BANDS)}",
            )
    rows = [MMEARTH_BANDS.index(band) for band in bands]
    return MappingProxyType(
        {
            level: Statistics(
                mean=tuple(mean[row] for row in rows),
                std=tuple(std[row] for row in rows),
            )
            for level, (mean, std) in _PRETRAINING.items()
        }
    )
