"""Gets a small text file, from here or from the web."""

from __future__ import annotations

import time
import urllib.error
import urllib.request
from http.client import HTTPException
from pathlib import Path
from typing import Final

from mmearth_infer.errors import SceneError
from mmearth_infer.read.raster import shown

TIMEOUT_S: Final = 30.0
"""How long a server may keep silent."""

PAUSES_S: Final = (1.0, 2.0, 4.0)
"""Waits before a server that is busy is asked again."""

_BUSY: Final = {429, 500, 502, 503, 504}


def is_web(place: str) -> bool:
    """Tell whether a place is an address on the web."""
    return place.lower().startswith(("https://", "http://"))


def fetch(place: str, *, max_bytes: int) -> bytes:
    """Return what a file holds.

    Args:
        place: Path or address.
        max_bytes: What is larger is refused.

    Raises:
        SceneError: If it cannot be had, or is too large.

    """
    try:
        said = _ask(place, max_bytes + 1) if is_web(place) else _read(place, max_bytes)
    except FileNotFoundError as error:
        raise SceneError(
            f"there is no file `{place}`",
            hint="check the path; `demo` is the built-in scene",
        ) from error
    except (OSError, HTTPException, ValueError) as error:
        words = (getattr(error, name, None) for name in ("reason", "strerror"))
        why = next((word for word in words if word), error)
        raise SceneError(
            f"cannot read `{shown(place)}`: {why}",
            hint="check the address and the connection"
            if is_web(place)
            else "check the path",
        ) from error
    if len(said) > max_bytes:
        raise SceneError(
            f"`{shown(place)}` is larger than the {max_bytes} bytes it may have",
            hint="check that it is the file you mean",
        )
    return said


def _read(place: str, max_bytes: int) -> bytes:
    with Path(place).open("rb") as file:
        return file.read(max_bytes + 1)


def _ask(address: str, at_most: int) -> bytes:
    """Return what a server answers, asking again while it is busy."""
    for pause_s in (*PAUSES_S, None):
        try:
            with urllib.request.urlopen(address, timeout=TIMEOUT_S) as answer:  # noqa: S310 -- http only
                said: bytes = answer.read(at_most)
                return said
        except urllib.error.HTTPError as error:
            error.close()
            if pause_s is None or error.code not in _BUSY:
                raise
        time.sleep(pause_s)
    raise AssertionError  # the last one returns or raises
