"""When the scene of a store was taken, as far as it can be told.

A store keeps no clock, and a scene need not say when it was taken. STAC wants a time
or a range that holds it, so it is, by the first that applies:

1. what the user says,
2. what the scene said, by its metadata or its name (`read/acquired.py`),
3. what its name says, in a store that does not tell,
4. between the launch of Sentinel-2A and the last change of the store.
"""

from __future__ import annotations

from contextlib import suppress
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from mmearth_infer.contract.acquired import (
    LAUNCH,
    Acquired,
    parse_acquired,
    rfc3339,
)
from mmearth_infer.errors import StoreError
from mmearth_infer.read.acquired import acquired_in_names

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from datetime import datetime


def stac_time(when: Acquired) -> dict[str, str | None]:
    """Return a time as properties of a STAC item."""
    if when.start == when.end:
        return {"datetime": rfc3339(when.start)}
    return {
        "datetime": None,
        "start_datetime": rfc3339(when.start),
        "end_datetime": rfc3339(when.end),
    }


def acquired(
    scene: Mapping[str, Any], *, said: str | None, latest: Callable[[], datetime]
) -> Acquired:
    """Return when a scene was taken.

    Args:
        scene: What its store says of it.
        said: What the user says: a time, or START/END; None for nothing.
        latest: A moment at which it had been taken.

    Raises:
        StoreError: If what the user says is no time.

    """
    if said is not None:
        try:
            return parse_acquired(said, "--datetime")
        except ValueError as error:
            raise StoreError(
                f"`{said}` {error}",
                hint="--datetime takes 2024-05-01T10:32:45Z, or START/END",
            ) from error
    if scene.get("acquired"):
        with suppress(ValueError):  # changed by hand
            return parse_acquired(
                str(scene["acquired"]), str(scene.get("acquired_evidence"))
            )
    named = acquired_in_names([("the scene's name", str(scene.get("name", "")))])
    return named or Acquired(
        start=LAUNCH,
        end=max(latest(), LAUNCH + timedelta(seconds=1)).replace(microsecond=0),
        evidence="unknown: from the launch of Sentinel-2A until the store was made",
    )
