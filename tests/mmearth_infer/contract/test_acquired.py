"""Times are written and read without loss, in UTC."""

from datetime import datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmearth_infer.contract.acquired import LAUNCH, Acquired, parse_acquired

moments = st.integers(0, 10**12).map(lambda ms: LAUNCH + timedelta(milliseconds=ms))


@given(start=moments, length_ms=st.integers(0, 10**9))
def test_what_is_written_is_read(start: datetime, length_ms: int) -> None:
    """`parse_acquired(str(a), a.evidence) == a`, to the millisecond."""
    end = start + timedelta(milliseconds=length_ms)
    one = Acquired(start=start, end=end, evidence="e")
    assert parse_acquired(str(one), "e") == one
    assert ("/" in str(one)) == (length_ms > 0)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2024-05-01T12:32:45+02:00", "2024-05-01T10:32:45Z"),
        ("2024-05-01", "2024-05-01T00:00:00Z"),
        ("2024-05-01T10:32:45.024Z", "2024-05-01T10:32:45.024Z"),
    ],
)
def test_zones_become_utc(text: str, expected: str) -> None:
    assert str(parse_acquired(text, "")) == expected


@pytest.mark.parametrize(
    "text", ["", "/", "now", "0001-01-01T00:00+05:00", "2024-05-03/2024-05-01", "a/b/c"]
)
def test_what_is_no_time(text: str) -> None:
    with pytest.raises(ValueError, match=r"is not a time|ends before it starts"):
        parse_acquired(text, "")
