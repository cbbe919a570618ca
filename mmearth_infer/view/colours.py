"""Numbers from 0 to 1 as colours that look evenly spaced.

The ramp goes from dark violet over teal to pale yellow. Its lightness in Oklab rises
by equal steps (B. Ottosson, "A perceptual color space for image processing", 2020),
so that it reads the same in grey and for people who do not see all colours.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

STEPS: Final = 256
"""Colours of the ramp."""

LIGHTNESS: Final = (0.24, 0.94)
"""From the first colour to the last."""

HUE_DEGREES: Final = (305.0, 100.0)
"""From violet, through blue and green, to yellow."""

CHROMA: Final = 0.095
"""The strongest that screens show at every colour between."""

_LINEAR_BELOW: Final = 0.0031308
"""sRGB is a straight line up to there."""

_LMS_OF_LAB: Final = np.array(
    [
        [1.0, 0.3963377774, 0.2158037573],
        [1.0, -0.1055613458, -0.0638541728],
        [1.0, -0.0894841775, -1.2914855480],
    ]
)
_LINEAR_OF_LMS: Final = np.array(
    [
        [4.0767416621, -3.3077115913, 0.2309699292],
        [-1.2684380046, 2.6097574011, -0.3413193965],
        [-0.0041960863, -0.7034186147, 1.7076147010],
    ]
)


def _ramp() -> NDArray[np.uint8]:
    """Return the colours, `(STEPS, 3)` in sRGB."""
    at = np.linspace(0.0, 1.0, STEPS)
    lightness = np.interp(at, (0, 1), LIGHTNESS)
    hue = np.radians(np.interp(at, (0, 1), HUE_DEGREES))
    lab = np.stack([lightness, CHROMA * np.cos(hue), CHROMA * np.sin(hue)], axis=1)
    linear = np.clip((lab @ _LMS_OF_LAB.T) ** 3 @ _LINEAR_OF_LMS.T, 0, 1)
    curve = 1.055 * linear ** (1 / 2.4) - 0.055
    srgb = np.where(linear <= _LINEAR_BELOW, 12.92 * linear, curve)
    ramp: NDArray[np.uint8] = np.rint(255 * srgb).astype(np.uint8)
    return ramp


RAMP: Final = _ramp()
"""The colours, `(STEPS, 3)`, from 0 to 1."""


def paint_ramp(values_HW: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Return `rgba_4HW` of values, bounded to 0 and 1; NaN is clear."""
    valid_HW = np.isfinite(values_HW)
    index_HW = np.rint(np.clip(np.where(valid_HW, values_HW, 0), 0, 1) * (STEPS - 1))
    rgb_3HW = np.moveaxis(RAMP[index_HW.astype(np.intp)], -1, 0)
    return _with_alpha(rgb_3HW, valid_HW)


def paint_rgb(colours_3HW: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Return `rgba_4HW` of red, green and blue, bounded likewise; NaN is clear."""
    valid_HW: NDArray[np.bool_] = np.logical_and.reduce(np.isfinite(colours_3HW))
    bounded_3HW = np.clip(np.where(valid_HW, colours_3HW, 0), 0, 1)
    return _with_alpha(np.rint(255 * bounded_3HW).astype(np.uint8), valid_HW)


def _with_alpha(
    rgb_3HW: NDArray[np.uint8], valid_HW: NDArray[np.bool_]
) -> NDArray[np.uint8]:
    """Add what is seen and what is not; what is not is black."""
    alpha_HW = np.where(valid_HW, np.uint8(255), np.uint8(0))
    return np.concatenate([rgb_3HW * valid_HW, alpha_HW[None]])
