"""One model on several GPUs: batches go to whichever is free."""

from __future__ import annotations

from queue import SimpleQueue
from typing import TYPE_CHECKING, Any

from mmearth_infer.engine.runtime import Axes, Runtime

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import numpy as np
    from numpy.typing import NDArray


class Several(Runtime):
    """The same model opened on several devices, with the lanes of all."""

    def __init__(self, runtimes: Sequence[Runtime], device: str) -> None:
        """Take runtimes that give the same for the same batch.

        Args:
            runtimes: One a device.
            device: What all of them are called together.

        """
        self._runtimes = tuple(runtimes)
        self.name, self.version = runtimes[0].name, runtimes[0].version
        self.device = device
        self.lanes = sum(one.lanes for one in runtimes)
        self._idle: SimpleQueue[Runtime] = SimpleQueue()
        for lane in range(max(one.lanes for one in runtimes)):
            for one in runtimes:
                if lane < one.lanes:
                    self._idle.put(one)

    def free_bytes(self) -> int | None:
        """Return memory that nobody uses, of the device that has least."""
        found = [one.free_bytes() for one in self._runtimes]
        known = [size for size in found if size is not None]
        return min(known, default=None)

    def axes(self) -> Mapping[str, Axes] | None:
        """Return axes of inputs and outputs by name; None if the file knows none."""
        return self._runtimes[0].axes()

    def prepare(self, largest: tuple[int, int, int]) -> None:
        """Make all of them ready for batches up to `(N, H, W)`."""
        for one in self._runtimes:
            one.prepare(largest)

    def run(
        self, outputs: Sequence[str], feeds: Mapping[str, NDArray[Any]]
    ) -> list[NDArray[np.float32]]:
        """Return some of the outputs, computed where a lane is free."""
        one = self._idle.get()
        try:
            return one.run(outputs, feeds)
        finally:
            self._idle.put(one)
