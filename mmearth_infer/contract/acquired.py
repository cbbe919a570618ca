"""When a scene was taken: a moment, or a range that holds it, in UTC."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

LAUNCH: Final = datetime(2015, 6, 23, 1, 52, tzinfo=UTC)
"""Launch of Sentinel-2A: no scene is older."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Acquired:
    """A moment, or the range that holds it.

    `parse_acquired(str(a), a.evidence) == a`, to the millisecond.
    """

    start: datetime
    """First moment it may have been."""

    end: datetime
    """Last moment; the same as `start` if it is known."""

    evidence: str
    """What says so."""

    def __str__(self) -> str:
        """Return it as RFC 3339, a range as START/END."""
        start, end = rfc3339(self.start), rfc3339(self.end)
        return start if start == end else f"{start}/{end}"


def rfc3339(moment: datetime) -> str:
    """Return a moment in UTC, with milliseconds where it has any.

    >>> rfc3339(datetime(2020, 2, 23, 3, 37, 31, tzinfo=UTC))
    '2020-02-23T03:37:31Z'
    """
    precision = "milliseconds" if moment.microsecond else "seconds"
    text = moment.astimezone(UTC).isoformat(timespec=precision)
    return text.replace("+00:00", "Z")


def parse_acquired(text: str, evidence: str) -> Acquired:
    """Return a moment or START/END as a value; without a zone it is UTC.

    Args:
        text: ISO 8601.
        evidence: What says so.

    Raises:
        ValueError: If it is none.

    """
    first, _, last = text.partition("/")
    try:
        start, end = (
            (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).astimezone(UTC)
            for moment in map(datetime.fromisoformat, (first, last or first))
        )
    except (ValueError, OverflowError) as error:  # the latter beyond year 1 or 9999
        raise ValueError("is not a time") from error
    if start > end:
        raise ValueError("ends before it starts")
    return Acquired(start=start, end=end, evidence=evidence)
