"""Train, validation and test: shared out by ground, never by tile.

Neighbouring tiles look alike, and overlapping tiles share pixels, so that a split by
tile would measure memory. Ground is cut into blocks, a block belongs to one split, and
a tile that touches blocks of two splits is left out. So no tile of one split shares a
pixel with a tile of another.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise, product
from typing import TYPE_CHECKING, Final, TypeVar

import numpy as np

from mmearth_infer.errors import DataError
from mmearth_infer.grid.window import Window
from mmearth_training.data.files import SPLITS

if TYPE_CHECKING:
    from collections.abc import Hashable, Iterator, Mapping, Sequence

Group = TypeVar("Group", bound="Hashable")

BLOCK_TILES: Final = 2
"""Least side of a block in tiles, where a scene is large enough for several."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Shares:
    """How much is held out; the rest is for training."""

    val: float = 0.1
    """Share of the blocks to validate on, from 0 to below 1."""

    test: float = 0.1
    """Share of the blocks to test on; likewise."""

    def __post_init__(self) -> None:
        """Refuse shares that leave nothing to train on.

        Raises:
            DataError: Naming them.

        """
        if not (self.val >= 0 and self.test >= 0 and self.val + self.test < 1):
            raise DataError(
                f"shares of {self.val} and {self.test} cannot be held out",
                hint="both are at least 0, and together below 1",
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class Blocks:
    """A scene's ground, cut into blocks."""

    row_edges: tuple[int, ...]
    """First row of each block, and the number of rows."""

    col_edges: tuple[int, ...]
    """First column of each block, and the number of columns."""

    def __iter__(self) -> Iterator[tuple[int, int]]:
        """Yield each block as its place down and across."""
        down, across = (
            range(len(edges) - 1) for edges in (self.row_edges, self.col_edges)
        )
        return product(down, across)

    def touched(self, window: Window) -> Iterator[tuple[int, int]]:
        """Yield the blocks a window has pixels of."""
        down = _touched(self.row_edges, window.row, window.height)
        across = list(_touched(self.col_edges, window.col, window.width))
        return ((row, col) for row in down for col in across)


def cut_blocks(height: int, width: int, *, tile_px: int, stride_px: int) -> Blocks:
    """Cut a scene into blocks, each of which holds a tile whole.

    Borders lie where a tile begins, so that few tiles lie across them: none, where
    tiles do not overlap.
    """
    return Blocks(
        row_edges=_edges(height, tile_px, stride_px),
        col_edges=_edges(width, tile_px, stride_px),
    )


def cut_windows(
    height: int, width: int, *, tile_px: int, stride_px: int
) -> Iterator[Window]:
    """Yield the tiles of a scene, row by row, `stride_px` apart.

    Raises:
        DataError: If the stride is not positive.

    """
    if stride_px < 1:
        raise DataError(f"a stride of {stride_px} px leads nowhere")
    for row in range(0, height - tile_px + 1, stride_px):
        for col in range(0, width - tile_px + 1, stride_px):
            yield Window(row=row, col=col, height=tile_px, width=tile_px)


def share_out(
    groups: Sequence[Group], shares: Shares, *, seed: int
) -> Mapping[Group, str]:
    """Draw a split for each group, the same for the same seed and order.

    Every split with a share above 0 gets a group if there are enough of them.
    """
    names = [name for name in SPLITS if name == "train" or getattr(shares, name)]
    total = len(groups)
    counts: dict[str, int] = {}
    for name in names[1:]:
        spare = total - sum(counts.values()) - 1  # one is left to train on
        counts[name] = min(max(round(getattr(shares, name) * total), 1), max(spare, 0))
    drawn = [name for name, count in counts.items() for _ in range(count)]
    drawn += ["train"] * (total - len(drawn))
    order = np.random.default_rng(seed).permutation(total)
    return {groups[place]: name for place, name in zip(order, drawn, strict=True)}


def split_of(
    window: Window, blocks: Blocks, splits: Mapping[tuple[int, int], str]
) -> str | None:
    """Return the split all of a tile's pixels are in; None if they are in several."""
    names = {splits[block] for block in blocks.touched(window)}
    return names.pop() if len(names) == 1 else None


def _edges(length: int, tile_px: int, stride_px: int) -> tuple[int, ...]:
    """Return the edges of nearly equal parts; of a single one in a small scene."""
    parts = max(length // (BLOCK_TILES * max(tile_px, stride_px)), 2)
    edges = [length * part // parts // stride_px * stride_px for part in range(parts)]
    edges.append(length)
    fits = all(end - begin >= tile_px for begin, end in pairwise(edges))
    return tuple(edges) if fits else (0, length)


def _touched(edges: Sequence[int], start: int, length: int) -> Iterator[int]:
    """Yield the parts that `length` pixels from `start` on lie in."""
    for part, (begin, end) in enumerate(pairwise(edges)):
        if start < end and start + length > begin:
            yield part
