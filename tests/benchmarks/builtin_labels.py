"""Real labels that pretraining never saw, and the features of what they stand on.

Shapes: N samples, C bands, H W pixels, h w cells, D features.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING

import numpy as np
import rasterio
from rasterio.features import rasterize

from mmearth_infer.contract.bands import find_band
from tests.helpers.data import DATA, RSTOOLBOX, SEN1FLOODS

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from mmearth_infer.contract.bands import ProductLevel

    Floats = NDArray[np.float32]
    Ints = NDArray[np.int64]
    Standardise = Callable[[Floats, Sequence[str], ProductLevel], Floats]
    Features = Callable[[Floats], Floats]

EUROSAT_BANDS = (
    *("B1", "B2", "B3", "B4", "B5", "B6", "B7", "B8"),
    *("B9", "B10", "B11", "B12", "B8A"),
)
_CELL_PX = 16
_BLOCKS = 8  # a side of the flood scene


@dataclass(frozen=True, slots=True, kw_only=True)
class Samples:
    """Features of labelled samples."""

    features_ND: Floats  # noqa: N815 -- an array's name carries its axes
    """Features."""

    labels_N: Ints  # noqa: N815 -- likewise
    """Classes."""

    groups_N: Ints | None = None  # noqa: N815 -- likewise
    """What folds keep together."""

    @property
    def units_N(self) -> Ints:  # noqa: N802 -- likewise
        """What is drawn for an interval: groups, or samples without them."""
        return np.arange(len(self.labels_N)) if self.groups_N is None else self.groups_N


def chips(standardise: Standardise, features: Features) -> Samples:
    """Return features of the EuroSAT chips, from pixels to `(D,)`."""
    rows, labels = [], []
    for dn_CHW, label in _eurosat():
        rows.append(features(standardise(dn_CHW, EUROSAT_BANDS, "l1c")))
        labels.append(label)
    return Samples(features_ND=np.stack(rows), labels_N=np.array(labels))


def polygons(standardise: Standardise, features: Features) -> Samples:
    """Return features of the cells under each polygon, from pixels to `(D, h, w)`.

    A cell is of the polygon that most of its labelled pixels are in.
    """
    dn_CHW, classes_HW, polygons_HW = _amazon()
    x_CHW = _whole(standardise(dn_CHW, _names_in(RSTOOLBOX), "l2a"))
    map_Dhw = features(x_CHW)
    side_px = x_CHW.shape[1] // map_Dhw.shape[1]
    rows, cols = np.nonzero(classes_HW)
    places = np.stack([rows // side_px, cols // side_px, polygons_HW[rows, cols]])
    found, first, count = np.unique(
        places, axis=1, return_index=True, return_counts=True
    )
    most_first = np.argsort(-count, kind="stable")
    found, first = found[:, most_first], first[most_first]
    _, once = np.unique(found[:2], axis=1, return_index=True)
    (row_N, col_N, group_N), pixel_N = found[:, once], first[once]
    return Samples(
        features_ND=map_Dhw[:, row_N, col_N].T.copy(),
        labels_N=classes_HW[rows[pixel_N], cols[pixel_N]],
        groups_N=group_N,
    )


def water(standardise: Standardise, features: Features) -> Samples:
    """Return features of the cells of the flood scene, water where most of it is."""
    dn_CHW, mask_HW = _floods()
    map_Dhw = features(standardise(dn_CHW, _names_in(SEN1FLOODS), "l1c"))
    side_px = dn_CHW.shape[1] // map_Dhw.shape[1]
    count = mask_HW.shape[0] // side_px
    cells = mask_HW.reshape(count, side_px, count, side_px)
    known, wet = (cells >= 0).mean((1, 3)), (cells == 1).mean((1, 3))
    rows, cols = np.nonzero(known > 0.9)
    return Samples(
        features_ND=map_Dhw[:, rows, cols].T.copy(),
        labels_N=(wet[rows, cols] > 0.5).astype(np.int64),
        groups_N=rows * _BLOCKS // count * _BLOCKS + cols * _BLOCKS // count,
    )


def bands_of_image(x_CHW: Floats) -> Floats:
    """Return mean and standard deviation of each band."""
    return np.concatenate([x_CHW.mean((1, 2)), x_CHW.std((1, 2))])


def bands_of_cells(side_px: int) -> Features:
    """Return what gives mean and deviation of each band in cells of some side."""

    def features(x_CHW: Floats) -> Floats:
        bands, height, width = x_CHW.shape
        cells = x_CHW.reshape(
            bands, height // side_px, side_px, width // side_px, side_px
        )
        return np.concatenate([cells.mean((2, 4)), cells.std((2, 4))])

    return features


@cache
def _eurosat() -> tuple[tuple[Floats, int], ...]:
    """Return chips and their classes."""
    folders = sorted(path for path in (DATA / "eurosat").iterdir() if path.is_dir())
    found = []
    for number, folder in enumerate(folders):
        for path in sorted(folder.glob("*.tif")):
            with rasterio.open(path) as file:
                found.append((file.read().astype(np.float32), number))
    return tuple(found)


@cache
def _amazon() -> tuple[Floats, Ints, Ints]:
    """Return pixels without the offset, classes from 1 on, and polygons from 1 on."""
    with rasterio.open(RSTOOLBOX) as file:
        dn_CHW = np.maximum(file.read().astype(np.float32) - 1000, 1)
        shape, transform = file.shape, file.transform
    path = RSTOOLBOX.with_name("rstoolbox_trainingPolygons_sen2.geojson")
    features = json.loads(path.read_text())["features"]
    names = sorted({one["properties"]["class"] for one in features})

    def burn(values: Sequence[int]) -> Ints:
        pairs = [
            (one["geometry"], value)
            for one, value in zip(features, values, strict=True)
        ]
        burnt: Ints = rasterize(
            pairs, out_shape=shape, transform=transform, dtype="int32"
        ).astype(np.int64)
        return burnt

    classes = burn([1 + names.index(one["properties"]["class"]) for one in features])
    return dn_CHW, classes, burn(range(1, len(features) + 1))


@cache
def _floods() -> tuple[Floats, Ints]:
    """Return pixels and the water mask: -1 unknown, 0 dry, 1 water."""
    with rasterio.open(SEN1FLOODS) as file:
        dn_CHW = file.read().astype(np.float32)
    label = SEN1FLOODS.with_name(SEN1FLOODS.name.replace("S2Hand", "LabelHand"))
    with rasterio.open(label) as file:
        return dn_CHW, file.read(1).astype(np.int64)


def _names_in(path: Path) -> list[str]:
    """Return the bands of a file by the names the model uses."""
    with rasterio.open(path) as file:
        return [str(find_band(name)) for name in file.descriptions]


def _whole(x_CHW: Floats) -> Floats:
    """Return pixels with edges repeated up to whole cells."""
    rest = [(-length) % _CELL_PX for length in x_CHW.shape[1:]]
    return np.pad(x_CHW, ((0, 0), (0, rest[0]), (0, rest[1])), mode="edge")
