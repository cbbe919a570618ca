"""Runs an iterator in a thread, ahead by as many items as fit a number of bytes."""

from __future__ import annotations

from collections import deque
from contextlib import contextmanager
from threading import Condition, Thread
from typing import TYPE_CHECKING, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

T = TypeVar("T")


@contextmanager
def prefetch(
    items: Iterator[T], *, most_bytes: int, size_of: Callable[[T], int]
) -> Iterator[Iterator[T]]:
    """Compute items while others are in use.

    The item in use, those that wait and the one being computed, taken to be as large as
    the one before it, hold at most `most_bytes`; but one item is always ahead, however
    large it is. An error of the iterator is raised where its item would have come.
    Leaving the block waits for the item under way and asks no more.

    Args:
        items: What is computed, in a thread of its own.
        most_bytes: What may be held.
        size_of: Bytes of an item.

    """
    ahead = _Ahead(items, most_bytes, size_of)
    ahead.thread.start()
    try:
        yield ahead.taken()
    finally:
        ahead.stop()


class _Ahead(Generic[T]):
    """Items that wait, and the thread that makes them."""

    def __init__(
        self, items: Iterator[T], most_bytes: int, size_of: Callable[[T], int]
    ) -> None:
        self._items, self._most_bytes, self._size_of = items, most_bytes, size_of
        self._waiting: deque[T] = deque()
        self._held_bytes = self._last_bytes = 0
        self._error: BaseException | None = None
        self._ended = self._stopped = False
        self._changed = Condition()
        self.thread = Thread(target=self._make, name="read", daemon=True)

    def _make(self) -> None:
        """Make items until they end, fail, or nobody wants them."""
        try:
            while self._may_go_on():
                try:
                    item = next(self._items)
                except StopIteration:
                    break
                with self._changed:
                    self._waiting.append(item)
                    self._last_bytes = self._size_of(item)
                    self._held_bytes += self._last_bytes
                    self._changed.notify_all()
                del item
        except BaseException as error:  # noqa: BLE001 -- raised by `taken`
            self._error = error
        with self._changed:
            self._ended = True
            self._changed.notify_all()

    def _may_go_on(self) -> bool:
        """Wait until there is room for another item, and tell whether to make it."""
        with self._changed:
            self._changed.wait_for(
                lambda: (
                    self._stopped
                    or not self._waiting
                    or self._held_bytes + self._last_bytes <= self._most_bytes
                )
            )
            return not self._stopped

    def taken(self) -> Iterator[T]:
        """Yield items in order; the one before counts as held until the next."""
        size = 0
        while True:
            with self._changed:
                self._held_bytes -= size
                self._changed.notify_all()
                self._changed.wait_for(lambda: self._waiting or self._ended)
                if not self._waiting:
                    break
                item = self._waiting.popleft()
            size = self._size_of(item)
            yield item
            del item
        if self._error is not None:
            raise self._error

    def stop(self) -> None:
        """Ask for no more and wait for the item under way."""
        with self._changed:
            self._stopped = True
            self._changed.notify_all()
        self.thread.join()
