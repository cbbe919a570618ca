"""Work in lanes: in order, at once, and errors where they belong."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING

import pytest

from mmearth_infer.feed.lanes import in_lanes

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.mark.parametrize("lanes", [1, 2, 3])
def test_items_come_in_order_with_what_became_of_them(lanes: int) -> None:
    def slow_first(n: int) -> int:
        time.sleep(0.02 if n % 3 == 0 else 0)
        return -n

    with in_lanes(iter(range(20)), slow_first, lanes=lanes) as done:
        assert list(done) == [(n, -n) for n in range(20)]


def test_as_many_are_under_way_as_there_are_lanes() -> None:
    """Three meet at a barrier, which fewer threads could not pass."""
    meeting = threading.Barrier(3, timeout=20)
    with in_lanes(iter(range(6)), lambda _: meeting.wait() >= 0, lanes=3) as done:
        assert all(met for _, met in done)


def test_no_more_are_taken_than_lanes_and_one() -> None:
    taken = []

    def items() -> Iterator[int]:
        for n in range(10):
            taken.append(n)
            yield n

    with in_lanes(items(), lambda n: n, lanes=2) as done:
        for n, _ in done:
            assert len(taken) <= n + 3


@pytest.mark.parametrize("lanes", [1, 3])
def test_an_error_comes_in_its_place_and_ends_the_rest(lanes: int) -> None:
    worked = []

    def fails(n: int) -> int:
        worked.append(n)
        if n == 4:
            raise ValueError(n)
        return n

    came: list[int] = []
    with in_lanes(iter(range(100)), fails, lanes=lanes) as done:
        with pytest.raises(ValueError, match="4"):
            came.extend(n for n, _ in done)
        assert came == [0, 1, 2, 3]
    assert len(worked) <= 5 + lanes
    assert not [t for t in threading.enumerate() if t.name.startswith("lane")]
