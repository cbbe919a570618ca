"""Real scenes as a source of tiles: what they are, where they lie, their pixels.

Shapes: C the 13 stored bands, H W pixels.
"""

from __future__ import annotations

import datetime as dt
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np
from rasterio.warp import transform, transform_bounds

from mmearth_infer.contract.bands import L2A_BANDS
from mmearth_infer.errors import DataError
from mmearth_infer.grid.window import Window
from mmearth_infer.read.options import OffsetChoice, ProductChoice, SceneOptions
from mmearth_infer.read.source import open_source
from mmearth_training.modalities import STORED_BANDS

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

    from mmearth_infer.seams import Scene
    from mmearth_training.data.scene_list import Asked

__all__ = [
    "OffsetChoice",
    "ProductChoice",
    "SceneOptions",
    "Surveyed",
    "read_windows",
    "survey",
]  # the door to `read`

_WGS84: Final = "EPSG:4326"
_SENSED: Final = re.compile(r"(?<!\d)(20\d{2})([01]\d)([0-3]\d)T\d{6}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Surveyed:
    """A scene that was opened, decided about and closed again."""

    path: str
    """What the user typed."""

    options: SceneOptions
    """How it is read."""

    stride_px: int
    """Distance of neighbouring tiles."""

    scene: Scene
    """What was decided."""

    date: dt.date | None
    """When it was taken, if anything says so."""

    ground: int
    """Number of the ground it shows; scenes that overlap have the same."""

    whole: bool
    """Whether its ground cannot be cut: other scenes show it on other grids."""

    def lat_lon_deg(self, window: Window) -> tuple[float, float]:
        """Return latitude and longitude of a window's centre, in degrees."""
        box = self.scene.geobox
        x, y = box.transform @ (
            window.col + window.width / 2,
            window.row + window.height / 2,
        )
        (lon,), (lat,) = transform(box.crs, _WGS84, [x], [y])
        return lat, lon


def survey(every: Sequence[Asked]) -> tuple[Surveyed, ...]:
    """Open each scene once and find out what it is.

    Raises:
        SceneError: If one cannot be read.
        DataError: If one lacks bands, or is cut otherwise than another of its ground.

    """
    scenes = []
    for asked in every:
        with open_source(asked.path, options=asked.options, wanted=None) as source:
            scenes.append(source.scene)
        missing = [band for band in L2A_BANDS if band not in scenes[-1].bands]
        if missing:
            raise DataError(
                f"`{scenes[-1].name}` lacks {', '.join(missing)}",
                hint="a data set has all bands, B10 of L2A apart",
            )
    grounds = _grounds(scenes)
    boxes: dict[int, set[object]] = {}
    strides: dict[int, int] = {}
    for asked, scene, ground in zip(every, scenes, grounds, strict=True):
        boxes.setdefault(ground, set()).add(_grid(scene))
        if strides.setdefault(ground, asked.stride_px) != asked.stride_px:
            raise DataError(
                f"`{scene.name}` has a stride of {asked.stride_px} px, another scene "
                f"of its ground {strides[ground]} px",
                hint="scenes that overlap are cut alike",
            )
    return tuple(
        Surveyed(
            path=asked.path,
            options=asked.options,
            stride_px=asked.stride_px,
            scene=scene,
            date=asked.date or _date_in(scene.name),
            ground=ground,
            whole=len(boxes[ground]) > 1,
        )
        for asked, scene, ground in zip(every, scenes, grounds, strict=True)
    )


def read_windows(
    surveyed: Surveyed,
    windows: Sequence[Window],
    *,
    margin_px: int,
) -> Iterator[tuple[NDArray[np.uint16], tuple[slice, slice]]]:
    """Yield `dn_CHW` around each window, and where the window is in it.

    Bands come in the order of `STORED_BANDS`, 0 where the scene has none. The margin
    ends where the scene does.
    """
    box = surveyed.scene.geobox
    with open_source(surveyed.path, options=surveyed.options, wanted=None) as source:
        for window in windows:
            frame = Window(
                row=window.row - margin_px,
                col=window.col - margin_px,
                height=window.height + 2 * margin_px,
                width=window.width + 2 * margin_px,
            ).clipped(box.height, box.width)
            dn_CHW = np.zeros((len(STORED_BANDS), frame.height, frame.width), np.uint16)
            read = source.read_wanted(frame)
            for band, pixels_HW in zip(source.scene.bands, read, strict=True):
                dn_CHW[STORED_BANDS.index(band)] = pixels_HW
            yield dn_CHW, window.seen_from(frame).slices


def _grounds(scenes: Sequence[Scene]) -> list[int]:
    """Number the ground each scene shows; scenes that overlap share a number."""
    bounds = [
        transform_bounds(scene.geobox.crs, _WGS84, *scene.geobox.bounds)
        for scene in scenes
    ]
    numbers = list(range(len(scenes)))
    for one, here in enumerate(bounds):
        for other, there in enumerate(bounds[:one]):
            if _overlap(here, there) and numbers[one] != numbers[other]:
                gone, kept = numbers[one], numbers[other]
                numbers = [kept if number == gone else number for number in numbers]
    return numbers


def _overlap(here: tuple[float, ...], there: tuple[float, ...]) -> bool:
    """Tell whether two boxes share an area."""
    return all(
        here[low] < there[low + 2] and there[low] < here[low + 2] for low in (0, 1)
    )


def _grid(scene: Scene) -> object:
    """Return what two scenes of the same pixels have in common."""
    box = scene.geobox
    return box.crs.to_wkt(), tuple(box.transform), box.height, box.width


def _date_in(name: str) -> dt.date | None:
    """Return the sensing date in a product's name, such as `_20200223T034759_`."""
    found = _SENSED.search(name)
    if found is None:
        return None
    year, month, day = (int(part) for part in found.groups())
    try:
        return dt.date(year, month, day)
    except ValueError:
        return None
