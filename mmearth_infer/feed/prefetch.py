"""Runs an iterator in a thread, a bounded number of items ahead."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final, TypeVar

if TYPE_CHECKING:
    from collections.abc import Iterator
    from concurrent.futures import Future

T = TypeVar("T")
_END: Final = object()


@contextmanager
def prefetch(items: Iterator[T]) -> Iterator[Iterator[T]]:
    """Compute the next item while the current one is in use.

    One item is ahead, so at most two are held at a time; what bounds the memory is
    the size of an item. An error of the iterator is raised where its item would
    have come. Leaving the block waits for the item under way and asks no more.
    """
    with ThreadPoolExecutor(max_workers=1, thread_name_prefix="read") as pool:

        def ask() -> Future[T | object]:
            return pool.submit(next, items, _END)

        def ahead() -> Iterator[T]:
            coming = ask()
            while (item := coming.result()) is not _END:
                coming = ask()
                yield item  # type: ignore[misc]  # `object` is the end alone

        yield ahead()
