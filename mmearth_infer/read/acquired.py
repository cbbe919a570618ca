"""When a scene was taken, by what its metadata and names say."""

from __future__ import annotations

import re
from datetime import UTC, datetime, time
from typing import TYPE_CHECKING, Final

from mmearth_infer.contract.acquired import LAUNCH, Acquired, parse_acquired
from mmearth_infer.read.product import texts, upper_keys

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

_FIELDS: Final = (
    ("PRODUCT_START_TIME", "PRODUCT_STOP_TIME"),
    ("DATETIME", "DATETIME"),
    ("START_DATETIME", "END_DATETIME"),
)
"""Start and end by the metadata of products, then of STAC items."""

_MOMENTS: Final = (
    re.compile(r"S2[A-Z]_MSIL(?:1C|2A)_(\d{8}T\d{6})"),
    re.compile(r"L(?:1C|2A)_T\d{2}[A-Z]{3}_A\d{6}_(\d{8}T\d{6})"),
    re.compile(r"T\d{2}[A-Z]{3}_(\d{8}T\d{6})"),
    re.compile(r"(?<!\d)(\d{8}T\d{6})_\d{8}T\d{6}_T\d{2}[A-Z]{3}"),
)
"""Names of products, granules and band files, and what Earth Engine calls a tile."""

_DAYS: Final = (re.compile(r"S2[A-Z]_\d{1,2}[A-Z]{3}_(\d{8})"),)
"""Names of Earth Search's items."""


def find_acquired(name: str, tags: Mapping[str, str]) -> Acquired | None:
    """Return when a scene was taken, None where nothing tells.

    Metadata come first, then the sensing time in a name of Sentinel-2, then the day.
    What cannot be, such as a time before Sentinel-2, tells nothing.

    Args:
        name: File name or product name.
        tags: What the scene says of itself.

    """
    said = upper_keys(tags)
    for first, last in _FIELDS:
        start, end = said.get(first), said.get(last)
        if start is None:
            continue
        try:
            found = parse_acquired(f"{start}/{end or start}", f"{first}={start[:40]}")
        except ValueError:
            continue
        if found.start >= LAUNCH:
            return found
    return acquired_in_names(tuple(texts(name, tags)))


def acquired_in_names(names: Sequence[tuple[str, str]]) -> Acquired | None:
    """Return the sensing time in the first name that has one, else the day in one.

    Args:
        names: Where each stands, and the name.

    """
    for where, name in names:
        moment = _find(_MOMENTS, name, "%Y%m%dT%H%M%S")
        if moment is not None:
            return Acquired(start=moment, end=moment, evidence=where)
    for where, name in names:
        day = _find(_DAYS, name, "%Y%m%d")
        if day is not None:
            end = datetime.combine(day, time(23, 59, 59), UTC)
            return Acquired(start=day, end=end, evidence=f"the day in {where}")
    return None


def acquired_together(times: Iterable[Acquired | None]) -> Acquired | None:
    """Return the range in which several scenes were taken; None if one is unknown."""
    found = list(times)
    known = [one for one in found if one is not None]
    if len(known) < len(found):
        return None
    return Acquired(
        start=min(one.start for one in known),
        end=max(one.end for one in known),
        evidence="; ".join(dict.fromkeys(one.evidence for one in known)),
    )


def _find(patterns: Sequence[re.Pattern[str]], name: str, form: str) -> datetime | None:
    """Return the first time in a name that can be."""
    for pattern in patterns:
        for digits in pattern.findall(name):
            try:
                moment = datetime.strptime(digits, form).replace(tzinfo=UTC)
            except ValueError:
                continue
            if moment >= LAUNCH:
                return moment
    return None
