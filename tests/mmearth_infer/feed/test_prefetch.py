"""Reading ahead: as far as the bytes go, no further, and errors where they belong."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mmearth_infer.feed.prefetch import prefetch

if TYPE_CHECKING:
    from collections.abc import Iterator


@settings(deadline=None, max_examples=50)
@given(sizes=st.lists(st.integers(1, 9), max_size=12), most=st.integers(1, 30))
def test_items_come_in_order_and_hold_what_they_may(
    sizes: list[int], most: int
) -> None:
    """In use, waiting and under way, the last as large as the one before it: at most
    `most`, unless nothing waits.
    """
    made = 0
    taken: list[int] = []

    def items() -> Iterator[int]:
        nonlocal made
        for n, size in enumerate(sizes):
            held = sum(sizes[len(taken) : n])
            assert held + sizes[max(n - 1, 0)] <= most or n <= len(taken) + 1
            made += 1
            yield size

    with prefetch(items(), most_bytes=most, size_of=lambda size: size) as ahead:
        for size in ahead:
            taken.append(size)  # noqa: PERF402 -- `items` looks at it on the way
    assert taken == sizes
    assert made == len(sizes)


def test_it_reads_ahead_until_the_bytes_are_used() -> None:
    made = threading.Semaphore(0)
    count = 0

    def items() -> Iterator[int]:
        nonlocal count
        for _ in range(100):
            count += 1
            made.release()
            yield 10

    with prefetch(items(), most_bytes=40, size_of=lambda size: size) as ahead:
        next(ahead)
        for _ in range(4):
            assert made.acquire(timeout=10)
        time.sleep(0.05)
        assert count == 4
        next(ahead)
        assert made.acquire(timeout=10)


def test_an_error_comes_in_its_place() -> None:
    def items() -> Iterator[int]:
        yield 1
        yield 2
        raise OSError("told to")

    with prefetch(items(), most_bytes=99, size_of=lambda _: 1) as ahead:
        assert next(ahead) == 1
        assert next(ahead) == 2
        with pytest.raises(OSError, match="told to"):
            next(ahead)


def test_leaving_early_asks_no_more() -> None:
    asked = []

    def items() -> Iterator[int]:
        for n in range(100):
            asked.append(n)
            yield n

    before = threading.active_count()
    with prefetch(items(), most_bytes=2, size_of=lambda _: 1) as ahead:
        next(ahead)
    assert len(asked) < 10
    assert threading.active_count() == before
