"""Writes strips in a thread, one behind what is being computed."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from collections.abc import Sequence
    from concurrent.futures import Future

    from mmearth_infer.run.report import Stopwatch
    from mmearth_infer.seams import Sink, Strip


class Behind:
    """A sink that is written to in a thread; its errors come with the next strip."""

    def __init__(self, sink: Sink, watch: Stopwatch) -> None:
        """Start the thread.

        Args:
            sink: What is written to.
            watch: Counts how long that takes, and how long it is waited for.

        """
        self._sink, self._watch = sink, watch
        self._pool = ThreadPoolExecutor(max_workers=1, thread_name_prefix="write")
        self._under_way: Future[None] | None = None

    def write(self, strips: Sequence[Strip]) -> None:
        """Wait for the strip before, and begin with this one."""
        self.wait()
        self._under_way = self._pool.submit(self._write, strips)

    def wait(self) -> None:
        """Wait for the strip that is being written."""
        if self._under_way is not None:
            with self._watch.waiting("write"):
                self._under_way.result()

    def _write(self, strips: Sequence[Strip]) -> None:
        with self._watch.busy("write"):
            self._sink.write(strips)

    def __enter__(self) -> Self:
        """Return it."""
        return self

    def __exit__(self, *exc: object) -> None:
        """Wait for the thread, whatever became of its work."""
        self._pool.shutdown(wait=True)
