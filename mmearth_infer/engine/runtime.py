"""What a library that runs models has to do, and nothing else.

Each library gets one module here, with a class that opens a file and runs it.
Everything that is the same for all stands in `compiled`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import numpy as np
    from numpy.typing import NDArray

Axes = tuple[int | None, ...]
"""Sizes of an array's axes, None for one that is open."""


class RuntimeFailure(Exception):  # noqa: N818 -- not one that a user sees
    """A library could not open or run a model; its own words on one line."""

    def __init__(self, error: object) -> None:
        """Keep the first line that says something."""
        lines = [line.strip() for line in str(error).splitlines()]
        said = [line for line in lines if line and not line.startswith("Exception")]
        super().__init__(said[0] if said else str(error).strip())


class Runtime(Protocol):
    """A model that a library opened. Runtimes derive from it, for what CPUs lack."""

    name: str
    """What `--engine`, stores and reports call the library."""

    version: str
    """Its version."""

    device: str
    """What it computes on."""

    lanes: int = 1
    """Batches that may run at once, each in a thread of its own: on a GPU one is
    copied there while another is computed."""

    def free_bytes(self) -> int | None:
        """Return memory of a GPU that nobody uses; None on a processor."""
        return None

    def axes(self) -> Mapping[str, Axes] | None:
        """Return axes of inputs and outputs by name; None if the file knows none."""
        ...

    def prepare(self, largest: tuple[int, int, int]) -> None:
        """Make ready for batches up to `(N, H, W)`; most libraries need not.

        Raises:
            RuntimeFailure: If the library cannot run such batches.

        """
        ...

    def run(
        self, outputs: Sequence[str], feeds: Mapping[str, NDArray[Any]]
    ) -> list[NDArray[np.float32]]:
        """Return some of the outputs.

        Args:
            outputs: Their names.
            feeds: Every input by name.

        Raises:
            RuntimeFailure: If the library refuses.

        """
        ...
