"""Reconstructions as colours: targets, what was visible, what was predicted.

Arrays are named with C channels, H W pixels, K classes and 3 colours from 0 to 1.
"""

from __future__ import annotations

from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

import numpy as np
from matplotlib import colormaps
from matplotlib.colors import to_rgb

from mmearth_infer.errors import TrainingError
from mmearth_training.modalities import (
    MODEL_BANDS,
    RGB_BANDS,
    STORED_BANDS,
    TASKS,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

HIDDEN: Final = "#404040"
"""Colour of patches that were hidden from the encoder."""

MISSING: Final = ("#ffffff", "#c0c0c0")
"""Colours of the stripes where a value is missing."""

PALETTES: Final[Mapping[str, tuple[str, ...]]] = MappingProxyType(
    {
        "dynamic_world": (
            *("#419bdf", "#397d49", "#88b053", "#7a87c6", "#e49635"),
            *("#dfc35a", "#c4281b", "#a59b8f", "#b39fe1"),
        ),
        "esa_worldcover": (
            *("#006400", "#ffbb22", "#ffff4c", "#f096ff", "#fa0000", "#b4b4b4"),
            *("#f0f0f0", "#0064c8", "#0096a0", "#00cf75", "#fae6a0"),
        ),
    }
)
"""Published colour of each class, in the order of `Modality.channels`."""

_SHOWN: Final[Mapping[str, tuple[tuple[str, ...], ...]]] = MappingProxyType(
    {
        "sentinel2": (("B4", "B3", "B2"),),
        "sentinel1": (
            ("VV ascending", "VH ascending"),
            ("VV descending", "VH descending"),
            ("HH ascending", "HV ascending"),
            ("HH descending", "HV descending"),
        ),
        "aster": (("elevation",),),
        "canopy_height_eth": (("height",),),
        "indices": (("NDVI",),),
    }
)
"""Channels shown of each task; the first of these sets that the target has values of.

Three are red, green, blue; two are magenta and green; one is a scale of `_SCALE`.
"""

_SCALE: Final = "cividis"
_PERCENTILES: Final = (2, 98)
_NARROWEST_SD: Final = 0.1
_STRIPE_PX: Final = 4
_BANDS: Final = {len(bands): bands for bands in (STORED_BANDS, MODEL_BANDS, RGB_BANDS)}


@dataclass(frozen=True, slots=True, kw_only=True)
class Reconstruction:
    """A pixel-level task on one sample: what was there, and what was predicted."""

    task: str
    """Name of the task in `TASKS`."""

    target: NDArray[np.float32]
    """`(C, H, W)` standardised, `(H, W)` class numbers from 0; NaN where missing."""

    prediction: NDArray[np.float32]
    """Like the target, for every patch; only hidden ones are shown."""

    hidden_HW: NDArray[np.bool_]  # noqa: N815 -- an array's name carries its axes
    """Where the encoder saw nothing."""

    channels: tuple[str, ...] = ()
    """Names of its C channels; empty for those the modality or the model has."""

    def __post_init__(self) -> None:
        """Refuse tasks without pixels, and shapes that do not match."""
        modality = TASKS.get(self.task)
        if modality is None or modality.level != "pixel":
            known = (m.name for m in TASKS.values() if m.level == "pixel")
            raise TrainingError(
                f"`{self.task}` has no pixels to draw",
                hint=f"pixel-level tasks are {', '.join(known)}",
            )
        shape = self.hidden_HW.shape
        if modality.kind == "continuous":
            shape = (len(self.channel_names), *shape)
        if not self.target.shape == self.prediction.shape == shape:
            raise TrainingError(
                f"target `{self.target.shape}` and prediction "
                f"`{self.prediction.shape}` of `{self.task}` are not `{shape}`",
                hint="give (C, H, W) of the channels, or (H, W) class numbers",
            )

    @property
    def channel_names(self) -> tuple[str, ...]:
        """Names of the C channels, or of the classes."""
        if self.channels:
            return self.channels
        if self.task == "sentinel2":
            return _BANDS.get(len(self.target), STORED_BANDS)
        return TASKS[self.task].channels


@dataclass(frozen=True, slots=True, kw_only=True)
class Pictures:
    """A reconstruction in colours, the target's own scale throughout."""

    target: NDArray[np.float32]
    """The target, `(H, W, 3)`."""

    visible: NDArray[np.float32]
    """The target where the patch was visible, `HIDDEN` elsewhere, `(H, W, 3)`."""

    pasted: NDArray[np.float32]
    """The target where visible, the prediction where hidden, `(H, W, 3)`."""

    caption: str
    """What the colours mean, for a quantity."""

    classes: tuple[int, ...]
    """Numbers of the classes that occur in the target or are predicted."""


def make_pictures(reconstruction: Reconstruction) -> Pictures:
    """Turn a reconstruction into colours.

    Quantities are stretched between percentiles 2 and 98 of the target, channel by
    channel, and the prediction with the same numbers. Where hidden, `pasted` shows
    the prediction, also where the target is missing; where visible, it is `target`.

    Raises:
        TrainingError: If a channel to show is not among the channels, or a number
            is not that of a class.

    """
    hidden_HW1 = reconstruction.hidden_HW[..., None]
    if TASKS[reconstruction.task].kind == "categorical":
        target, prediction = reconstruction.target, reconstruction.prediction
        target_HW3 = _paint(target, reconstruction.task)
        prediction_HW3 = _paint(prediction, reconstruction.task)
        used = np.append(target, prediction[reconstruction.hidden_HW])
        classes = tuple(int(number) for number in np.unique(used[np.isfinite(used)]))
        caption = ""
    else:
        target_HW3, prediction_HW3, caption = _stretch(reconstruction)
        classes = ()
    grey = np.asarray(to_rgb(HIDDEN), np.float32)
    return Pictures(
        target=target_HW3,
        visible=np.where(hidden_HW1, grey, target_HW3),
        pasted=np.where(hidden_HW1, prediction_HW3, target_HW3),
        caption=caption,
        classes=classes,
    )


def _paint(numbers_HW: NDArray[np.float32], task: str) -> NDArray[np.float32]:
    """Give each class its published colour."""
    palette_K3 = np.asarray([to_rgb(c) for c in PALETTES[task]], np.float32)
    there_HW = np.isfinite(numbers_HW)
    index_HW = np.where(there_HW, numbers_HW, 0).astype(np.int64)
    if index_HW.min() < 0 or index_HW.max() >= len(palette_K3):
        wrong = index_HW.min() if index_HW.min() < 0 else index_HW.max()
        raise TrainingError(
            f"`{task}` has no class number `{wrong}`",
            hint=f"classes are numbered 0 to {len(palette_K3) - 1}, missing ones NaN",
        )
    return _stripe(palette_K3[index_HW], there_HW)


def _stretch(
    reconstruction: Reconstruction,
) -> tuple[NDArray[np.float32], NDArray[np.float32], str]:
    """Return target and prediction in colours on one scale, and what the scale is."""
    names = reconstruction.channel_names
    for shown in _SHOWN[reconstruction.task]:
        missing = [name for name in shown if name not in names]
        if missing:
            raise TrainingError(
                f"`{reconstruction.task}` is drawn from {', '.join(shown)}, "
                f"but has no `{missing[0]}`",
                hint="name the channels of the reconstruction, or leave it out",
            )
        rows = [names.index(name) for name in shown]
        if np.isfinite(reconstruction.target[rows]).any():
            break
    else:
        shown = _SHOWN[reconstruction.task][0]
        rows = [names.index(name) for name in shown]
    target_CHW = reconstruction.target[rows]
    low_C, high_C = np.transpose([_limits(channel_HW) for channel_HW in target_CHW])
    colours = []
    for values_CHW in (target_CHW, reconstruction.prediction[rows]):
        there_HW = np.asarray(np.isfinite(values_CHW).all(axis=0), np.bool_)
        unit_HWC = np.moveaxis(np.where(there_HW, values_CHW, 0), 0, -1)
        unit_HWC = ((unit_HWC - low_C) / (high_C - low_C)).clip(0, 1)
        colours.append(_stripe(_mix(unit_HWC), there_HW))
    if len(shown) == 1:
        caption = f"{shown[0]}, {low_C[0]:.1f} (dark) to {high_C[0]:.1f} sd"
    else:
        hues = ("red", "green", "blue") if len(shown) > 2 else ("magenta", "green")  # noqa: PLR2004
        caption = ", ".join(f"{c} {hue}" for c, hue in zip(shown, hues, strict=True))
    return colours[0], colours[1], caption


def _mix(unit_HWC: NDArray[np.float32]) -> NDArray[np.float32]:
    """Turn one, two or three channels from 0 to 1 into colours."""
    count = unit_HWC.shape[-1]
    if count == 1:
        return np.asarray(colormaps[_SCALE](unit_HWC[..., 0])[..., :3], np.float32)
    order = (0, 1, 0) if count == 2 else (0, 1, 2)  # noqa: PLR2004 -- see `_SHOWN`
    return unit_HWC[..., order].astype(np.float32)


def _limits(values_HW: NDArray[np.float32]) -> tuple[float, float]:
    """Return the ends of a scale, in standard deviations of the data set."""
    known = values_HW[np.isfinite(values_HW)]
    if not known.size:
        return -1.0, 1.0
    low, high = np.percentile(known, _PERCENTILES)
    widen = max(0.0, _NARROWEST_SD - (high - low)) / 2
    return float(low - widen), float(high + widen)


def _stripe(
    colours_HW3: NDArray[np.float32], there_HW: NDArray[np.bool_]
) -> NDArray[np.float32]:
    """Draw diagonal stripes where values are missing."""
    row_HW, col_HW = np.indices(there_HW.shape)
    stripes_23 = np.asarray([to_rgb(colour) for colour in MISSING], np.float32)
    stripes_HW3 = stripes_23[(row_HW + col_HW) // _STRIPE_PX % 2]
    return np.where(there_HW[..., None], colours_HW3, stripes_HW3)
