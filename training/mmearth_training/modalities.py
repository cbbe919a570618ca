"""The twelve modalities of MMEarth, one row each, and the sets the paper trains on.

Source: MMEarth paper, section 3 and appendix A; layout of data release v001.
"""

from __future__ import annotations

from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Final, Literal

from mmearth_infer.errors import RecipeError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

Level = Literal["pixel", "image"]
"""A value for every pixel of a tile, or one for the whole tile."""

Kind = Literal["continuous", "categorical"]
"""A quantity, or one of several classes."""

STORED_BANDS: Final = (
    *("B1", "B2", "B3", "B4", "B5", "B6", "B7"),
    *("B8A", "B8", "B9", "B10", "B11", "B12"),
)
"""Order of Sentinel-2 in the files: all 13 bands, B8A before B8."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Modality:
    """One pretext task, as stored and as learnt."""

    name: str
    """Name of its dataset in the h5 file, and of the task."""

    level: Level
    """Whether it has pixels."""

    kind: Kind
    """Whether it is regressed or classified."""

    channels: tuple[str, ...]
    """Names of its channels; of its classes when it is categorical, in their order."""

    dtype: str
    """How the files store it."""

    nodata: tuple[float, ...] = ()
    """Stored values that mean missing; what is not finite always does."""

    codes: tuple[int, ...] = ()
    """Stored value of each class; empty for one-hot rows and for quantities."""

    group: str = ""
    """What it is drawn with in plots of task uncertainties (paper, figure A4)."""

    @property
    def width(self) -> int:
        """Channels that are regressed, or classes that are told apart."""
        return len(self.channels)

    @property
    def one_hot(self) -> bool:
        """Whether a class is stored as a row of zeros with a single one."""
        return self.kind == "categorical" and not self.codes

    @property
    def stored_channels(self) -> int:
        """Channels in the file; 0 where the channel axis is left out."""
        return 0 if self.codes else self.width


def _numbered(name: str, count: int) -> tuple[str, ...]:
    return tuple(f"{name} {number}" for number in range(count))


_TABLE: Final = (
    Modality(
        name="sentinel2",
        level="pixel",
        kind="continuous",
        channels=STORED_BANDS,
        dtype="uint16",
        nodata=(0,),
        group="optical",
    ),
    Modality(
        name="sentinel1",
        level="pixel",
        kind="continuous",
        channels=tuple(
            f"{polarisation} {orbit}"
            for orbit in ("ascending", "descending")
            for polarisation in ("VV", "VH", "HH", "HV")
        ),
        dtype="float32",
        group="radar",
    ),
    Modality(
        name="aster",
        level="pixel",
        kind="continuous",
        channels=("elevation", "slope"),
        dtype="int16",
        nodata=(-32768,),
        group="terrain",
    ),
    Modality(
        name="era5",
        level="image",
        kind="continuous",
        channels=tuple(
            f"{period} {quantity}"
            for period in ("previous month", "month", "year")
            for quantity in (
                "mean temperature",
                "minimum temperature",
                "maximum temperature",
                "total precipitation",
            )
        ),
        dtype="float32",
        group="climate",
    ),
    Modality(
        name="dynamic_world",
        level="pixel",
        kind="categorical",
        channels=(
            *("water", "trees", "grass", "flooded vegetation", "crops"),
            *("shrub and scrub", "built", "bare", "snow and ice"),
        ),
        dtype="uint8",
        nodata=(0,),
        codes=(1, 2, 3, 4, 5, 6, 7, 8, 9),
        group="land cover",
    ),
    Modality(
        name="canopy_height_eth",
        level="pixel",
        kind="continuous",
        channels=("height", "standard deviation"),
        dtype="int8",
        # 255 in the int8 of the files: HDF5 saturates to 127, a cast by numpy wraps
        nodata=(255, -1, 127),
        group="vegetation",
    ),
    Modality(
        name="lat",
        level="image",
        kind="continuous",
        channels=("sin", "cos"),
        dtype="float32",
        group="location",
    ),
    Modality(
        name="lon",
        level="image",
        kind="continuous",
        channels=("sin", "cos"),
        dtype="float32",
        group="location",
    ),
    Modality(
        name="biome",
        level="image",
        kind="categorical",
        channels=_numbered("biome", 14),
        dtype="uint8",
        group="ecology",
    ),
    Modality(
        name="eco_region",
        level="image",
        kind="categorical",
        channels=_numbered("ecoregion", 846),
        dtype="uint16",
        group="ecology",
    ),
    Modality(
        name="month",
        level="image",
        kind="continuous",
        channels=("sin", "cos"),
        dtype="float32",
        group="time",
    ),
    Modality(
        name="esa_worldcover",
        level="pixel",
        kind="categorical",
        channels=(
            *("tree cover", "shrubland", "grassland", "cropland", "built-up"),
            *("bare or sparse vegetation", "snow and ice", "permanent water"),
            *("herbaceous wetland", "mangroves", "moss and lichen"),
        ),
        dtype="uint8",
        nodata=(0, 255),
        codes=(10, 20, 30, 40, 50, 60, 70, 80, 90, 95, 100),
        group="land cover",
    ),
)

MODALITIES: Final[Mapping[str, Modality]] = MappingProxyType(
    {modality.name: modality for modality in _TABLE}
)
"""All twelve by name, in the order of the published task list."""

INPUT: Final = "sentinel2"
"""The modality the encoder sees."""

INDEX_BANDS: Final[Mapping[str, tuple[str, str]]] = MappingProxyType(
    {"NDVI": ("B8", "B4"), "NDWI": ("B3", "B8"), "NBR": ("B8", "B12")}
)
"""Normalised differences of vegetation, open water and burn: which bands."""

INDICES: Final = Modality(
    name="indices",
    level="pixel",
    kind="continuous",
    channels=tuple(INDEX_BANDS),
    dtype="float32",
    group="optical",
)
"""A task that no file holds: computed from the input when samples are made."""

TASKS: Final[Mapping[str, Modality]] = MappingProxyType(
    {**MODALITIES, INDICES.name: INDICES}
)
"""Everything that can be learnt, by name."""


def _level(level: Level) -> tuple[str, ...]:
    return tuple(m.name for m in _TABLE if m.name == INPUT or m.level == level)


SETS: Final[Mapping[str, tuple[str, ...]]] = MappingProxyType(
    {
        "all": tuple(MODALITIES),
        "pixel": _level("pixel"),
        "image": _level("image"),
        "s2": (INPUT,),
        "rgb": (INPUT,),
    }
)
"""Tasks of the model sets in the paper. `rgb` reads and rebuilds three bands only."""

RGB_BANDS: Final = ("B2", "B3", "B4")
"""Bands of the set `rgb`, in the order the published models were trained with."""

MODEL_BANDS: Final = tuple(band for band in STORED_BANDS if band != "B10")
"""Bands of every other set: all but the cirrus band."""


def choose_tasks(chosen: str | Sequence[str]) -> tuple[str, ...]:
    """Return the tasks of a set, or of a list of names, in the order of the table.

    Raises:
        RecipeError: For a name that is no set or modality, or an empty list.

    """
    if isinstance(chosen, str):
        if chosen not in SETS:
            raise RecipeError(
                f"there is no set of tasks `{chosen}`",
                hint=f"choose one of {', '.join(SETS)}, or list modalities",
            )
        return SETS[chosen]
    unknown = [name for name in chosen if name not in TASKS]
    if unknown or not chosen:
        raise RecipeError(
            f"`{unknown[0]}` is no modality" if unknown else "no task is chosen",
            hint=f"the modalities are {', '.join(TASKS)}",
        )
    return tuple(name for name in TASKS if name in chosen)
