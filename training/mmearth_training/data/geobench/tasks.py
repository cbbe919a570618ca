"""The five Sentinel-2 tasks of GEO-Bench v1.0, and what is peculiar about each.

ADR 0020 has the sources.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING, Final, Literal

from mmearth_infer.contract.bands import BANDS
from mmearth_infer.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Mapping

Kind = Literal["multiclass", "multilabel", "segmentation"]
"""One class an image, any number of them, or one a pixel."""

_SUFFIXES: Final = {
    "B1": "01 - Coastal aerosol",
    "B2": "02 - Blue",
    "B3": "03 - Green",
    "B4": "04 - Red",
    "B5": "05 - Vegetation Red Edge",
    "B6": "06 - Vegetation Red Edge",
    "B7": "07 - Vegetation Red Edge",
    "B8": "08 - NIR",
    "B8A": "08A - Vegetation Red Edge",
    "B9": "09 - Water vapour",
    "B10": "10 - SWIR - Cirrus",
    "B11": "11 - SWIR",
    "B12": "12 - SWIR",
}

GEOBENCH_NAMES: Final[Mapping[str, str]] = MappingProxyType(_SUFFIXES)
"""What GEO-Bench calls each band of Sentinel-2."""

_EUROSAT: Final = {
    "B9": GEOBENCH_NAMES["B8A"],
    "B10": GEOBENCH_NAMES["B9"],
    "B11": GEOBENCH_NAMES["B10"],
    "B12": GEOBENCH_NAMES["B11"],
    "B8A": GEOBENCH_NAMES["B12"],
}


@dataclass(frozen=True, slots=True, kw_only=True)
class GeobenchTask:
    """A data set of GEO-Bench."""

    name: str
    """What it is called, and its folder."""

    kind: Kind
    """What is to be told."""

    classes: int
    """How many classes there are."""

    side_px: int
    """Side of its images."""

    samples: tuple[int, int, int]
    """Samples to train, validate and test on in the paper, about."""

    renamed: Mapping[str, str] = field(default_factory=dict)
    """Name in the files of the bands that are stored under that of another."""

    filled: Mapping[str, str] = field(default_factory=dict)
    """What stands in for bands that the files lack: the nearest in wavelength."""

    dn_per_unit: float = 1.0
    """Digital numbers in one unit of the pixels; statistics are in digital numbers."""

    also: tuple[str, ...] = ()
    """Other names of its folder."""

    def stored(self, band: str) -> str:
        """Return the name in the files of what a model takes as this band.

        Raises:
            DataError: If there is no such band in Sentinel-2.

        """
        if band not in BANDS:
            raise DataError(f"`{band}` is no band of Sentinel-2")
        band = self.filled.get(band, band)
        return self.renamed.get(band, GEOBENCH_NAMES[band])


_TASKS: Final = (
    GeobenchTask(
        name="m-bigearthnet",
        kind="multilabel",
        classes=43,
        side_px=120,
        samples=(20_000, 1000, 1000),
    ),
    GeobenchTask(
        name="m-so2sat",
        kind="multiclass",
        classes=17,
        side_px=32,
        samples=(19_992, 986, 986),
        filled={"B1": "B2", "B9": "B8A"},
        dn_per_unit=10_000.0,
    ),
    GeobenchTask(
        name="m-eurosat",
        kind="multiclass",
        classes=10,
        side_px=64,
        samples=(16_000, 1000, 1000),
        renamed=_EUROSAT,
    ),
    GeobenchTask(
        name="m-cashew-plant",
        kind="segmentation",
        classes=7,
        side_px=256,
        samples=(1350, 400, 50),
        also=("m-cashew-plantation",),
    ),
    GeobenchTask(
        name="m-SA-crop-type",
        kind="segmentation",
        classes=10,
        side_px=256,
        samples=(3000, 1000, 1000),
    ),
)

TASKS: Final[Mapping[str, GeobenchTask]] = MappingProxyType(
    {task.name: task for task in _TASKS}
)
"""The tasks by name, in the order of the paper."""
