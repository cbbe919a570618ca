"""What every form of a data set gives: tiles as they are stored.

Shapes: N tiles, C channels, H W pixels of a whole tile.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from mmearth_infer.contract.bands import ProductLevel


class Tiles(Protocol):
    """An open data set. Belongs to the process that opened it."""

    @property
    def tile_px(self) -> int:
        """Side of a tile: 128, or 64 in MMEarth64."""
        ...

    def __len__(self) -> int:
        """Tiles in the file."""
        ...

    def read(
        self, rows: Sequence[int], names: Sequence[str]
    ) -> Mapping[str, NDArray[Any]]:
        """Return modalities of tiles as stored, in the order of `rows`.

        Returns:
            By name, `(N, C, H, W)` for pixels (all 13 bands of `sentinel2`),
            `(N, H, W)` for pixel classes, `(N, C)` for images.

        Raises:
            DataError: If a tile cannot be read.

        """
        ...

    def levels(self, rows: Sequence[int]) -> tuple[ProductLevel, ...]:
        """Return the Sentinel-2 product level of each tile."""
        ...

    def close(self) -> None:
        """Let go of the file."""
        ...
