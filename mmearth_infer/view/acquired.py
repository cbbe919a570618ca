"""When a scene was taken, as far as it can be told.

A store keeps no clock, and a scene file need not say when it was taken. STAC wants a
time or a range that holds it, so it is, by the first that applies:

1. what the user says,
2. the sensing time in the name of a Sentinel-2 product, granule or band file,
3. the day in a name as Earth Search writes them,
4. between the launch of Sentinel-2A and the last change of the store.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime, time, timedelta
from typing import TYPE_CHECKING, Final

from mmearth_infer.errors import StoreError

if TYPE_CHECKING:
    from collections.abc import Callable

LAUNCH: Final = datetime(2015, 6, 23, 1, 52, tzinfo=UTC)
"""Launch of Sentinel-2A: no scene is older."""

_TIMES: Final = (
    re.compile(r"S2[A-Z]_MSIL(?:1C|2A)_(\d{8}T\d{6})"),
    re.compile(r"L(?:1C|2A)_T\d{2}[A-Z]{3}_A\d{6}_(\d{8}T\d{6})"),
    re.compile(r"T\d{2}[A-Z]{3}_(\d{8}T\d{6})"),
)
_DAYS: Final = (re.compile(r"S2[A-Z]_\d{1,2}[A-Z]{3}_(\d{8})"),)


@dataclass(frozen=True, slots=True, kw_only=True)
class Acquired:
    """A time, or the range that holds it. In UTC."""

    start: datetime
    """First moment it may have been."""

    end: datetime
    """Last moment; the same as `start` if the time is known."""

    evidence: str
    """What says so."""

    @property
    def properties(self) -> dict[str, str | None]:
        """Return it as properties of a STAC item."""
        if self.start == self.end:
            return {"datetime": _text(self.start)}
        return {
            "datetime": None,
            "start_datetime": _text(self.start),
            "end_datetime": _text(self.end),
        }


def _text(moment: datetime) -> str:
    """Return a moment as RFC 3339 in UTC."""
    return moment.astimezone(UTC).isoformat().replace("+00:00", "Z")


def acquired(
    scene: str, *, said: str | None, latest: Callable[[], datetime]
) -> Acquired:
    """Return when a scene was taken.

    Args:
        scene: Its name.
        said: What the user says: a time, or START/END; None for nothing.
        latest: A moment at which it had been taken.

    Raises:
        StoreError: If what the user says is no time.

    """
    if said is not None:
        return _parse(said)
    for pattern in _TIMES:
        moment = _find(pattern, scene, "%Y%m%dT%H%M%S")
        if moment is not None:
            return Acquired(start=moment, end=moment, evidence="the scene's name")
    for pattern in _DAYS:
        moment = _find(pattern, scene, "%Y%m%d")
        if moment is not None:
            end = datetime.combine(moment, time(23, 59, 59), UTC)
            return Acquired(start=moment, end=end, evidence="the day in its name")
    return Acquired(
        start=LAUNCH,
        end=max(latest(), LAUNCH + timedelta(seconds=1)).replace(microsecond=0),
        evidence="unknown: from the launch of Sentinel-2A until the store was made",
    )


def _find(pattern: re.Pattern[str], scene: str, form: str) -> datetime | None:
    """Return the time in a name, if there is one."""
    for text in pattern.findall(scene):
        try:
            return datetime.strptime(text, form).replace(tzinfo=UTC)
        except ValueError:
            continue
    return None


def _parse(said: str) -> Acquired:
    """Return the time or range that a user typed; without a zone it is UTC.

    Raises:
        StoreError: If it is none.

    """
    first, _, last = said.partition("/")
    try:
        start, end = (
            moment if moment.tzinfo else moment.replace(tzinfo=UTC)
            for moment in map(datetime.fromisoformat, (first, last or first))
        )
    except ValueError as error:
        raise StoreError(
            f"`{said}` is not a time",
            hint="--datetime takes 2024-05-01T10:32:45Z, or START/END",
        ) from error
    if start > end:
        raise StoreError(
            f"`{said}` ends before it starts", hint="--datetime takes START/END"
        )
    return Acquired(start=start, end=end, evidence="--datetime")
