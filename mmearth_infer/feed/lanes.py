"""Works on several items at once, and hands them on in their order."""

from __future__ import annotations

from collections import deque
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from concurrent.futures import Future

Item = TypeVar("Item")
Made = TypeVar("Made")


@contextmanager
def in_lanes(
    items: Iterator[Item], work: Callable[[Item], Made], *, lanes: int
) -> Iterator[Iterator[tuple[Item, Made]]]:
    """Give each item with what becomes of it, in their order.

    With one lane, work is done where it is asked for. With several, as many threads
    work, and one item more waits for the first that is free. An error is raised where
    its item would have come; leaving the block waits for what is under way and drops
    the rest.

    Args:
        items: What is worked on; taken in the calling thread.
        work: What is done with each, in any thread.
        lanes: How many are under way at once.

    """
    if lanes == 1:
        yield ((item, work(item)) for item in items)
        return
    pool = ThreadPoolExecutor(max_workers=lanes, thread_name_prefix="lane")
    try:
        yield _ordered(items, work, pool, lanes + 1)
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _ordered(
    items: Iterator[Item],
    work: Callable[[Item], Made],
    pool: ThreadPoolExecutor,
    most: int,
) -> Iterator[tuple[Item, Made]]:
    """Yield items and what became of them, `most` under way or waiting."""
    under_way: deque[tuple[Item, Future[Made]]] = deque()
    for item in items:
        under_way.append((item, pool.submit(work, item)))
        if len(under_way) == most:
            first, made = under_way.popleft()
            yield first, made.result()
    while under_way:
        first, made = under_way.popleft()
        yield first, made.result()
