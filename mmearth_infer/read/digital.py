"""From a file's values to digital numbers: nodata, scale, offset, type."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np

from mmearth_infer.errors import SceneError

if TYPE_CHECKING:
    from numpy.typing import NDArray

MAX_DN: Final = 65535
"""Largest digital number that uint16 holds."""

LARGEST_REFLECTANCE: Final = 10.0
"""Floats up to here are taken for reflectance, larger ones for digital numbers."""

FILL_VALUE: Final = -1000.0
"""Nothing that was measured is this low; -9999 is common where nodata is not named."""

_PART: Final = 2**20


def to_dn(
    raw: NDArray[Any], *, nodata: float | None, scale: float | None, offset_dn: int
) -> NDArray[np.uint16]:
    """Turn a file's values into digital numbers without offset.

    0 is nodata, and nothing else becomes 0: a valid value that scale or offset
    bring to 0 or below becomes 1.

    Args:
        raw: Values of the file, any shape.
        nodata: Value that means nothing was measured, beside 0 and NaN.
        scale: Factor to digital numbers, None for 1.
        offset_dn: What is added to every valid number, 0 or -1000.

    """
    plain = raw.dtype == np.uint16 and scale is None and offset_dn == 0
    if plain and nodata in (None, 0):
        return raw
    dn = np.empty(raw.size, dtype=np.uint16)
    flat = raw.reshape(-1)
    for start in range(0, raw.size, _PART):  # so that wide copies stay small
        part = slice(start, start + _PART)
        measured = blanked(flat[part], nodata=nodata)
        values = measured if scale is None else measured.astype(np.float64) * scale
        # Clipped before the cast, which is undefined for numbers too large for it.
        whole = np.rint(np.clip(values, -MAX_DN, 2 * MAX_DN)).astype(np.int64)
        dn[part] = np.where(measured == 0, 0, np.clip(whole + offset_dn, 1, MAX_DN))
    return dn.reshape(raw.shape)


def blanked(raw: NDArray[Any], *, nodata: float | None) -> NDArray[Any]:
    """Return a file's values, 0 where nothing was measured.

    Args:
        raw: Values of the file.
        nodata: Value that means nothing was measured, beside 0, NaN and infinity.

    """
    missing = ~np.isfinite(raw)
    if nodata is not None:
        missing |= raw == nodata
    return np.where(missing, 0, raw)


def check_values(sample: NDArray[Any], *, scale: float | None, source: str) -> None:
    """Refuse values that are not digital numbers, unless a scale makes them so.

    Args:
        sample: Values of the file, nodata left out.
        scale: What the user said.
        source: Name of the file, for messages.

    Raises:
        SceneError: For reflectance, 8-bit pictures, or a scale that cannot be.

    """
    if scale is not None and not (np.isfinite(scale) and scale > 0):
        raise SceneError(f"--scale {scale} is not a factor above 0")
    if sample.dtype.itemsize == 1 and scale is None:
        raise SceneError(
            f"`{source}` holds {sample.dtype} pixels, too few values for reflectance",
            hint="use the original product; a stretched picture cannot be undone "
            "(--scale if a plain factor gives digital numbers)",
        )
    if sample.size == 0:
        return
    low, high = float(sample.min()), float(sample.max())
    if low <= FILL_VALUE:
        raise SceneError(
            f"`{source}` holds values down to {low:.6g} that it does not call nodata",
            hint=f"if that means nodata, name it: `rio edit-info --nodata {low:.6g}`",
        )
    if scale is not None:
        if float(np.median(sample)) * scale > MAX_DN:
            raise SceneError(
                f"--scale {scale:g} brings most values of `{source}` past {MAX_DN}",
                hint="digital numbers need no --scale, reflectance (0 to 1) 10000",
            )
        return
    small = high <= LARGEST_REFLECTANCE
    if sample.dtype.kind == "f" and (small or np.any(sample != np.rint(sample))):
        raise SceneError(
            f"`{source}` holds {sample.dtype} values from {low:.4g} to {high:.4g}, "
            "not digital numbers",
            hint="if they are reflectance from 0 to 1, pass --scale 10000"
            if small
            else "if they are resampled digital numbers, pass --scale 1",
        )
