"""From scenes to tiles: what is cut where and for which split, and its pixels."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from mmearth_infer.errors import DataError
from mmearth_training.data.scenes import read_windows
from mmearth_training.data.splits import (
    Blocks,
    Shares,
    cut_blocks,
    cut_windows,
    share_out,
    split_of,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import numpy as np
    from numpy.typing import NDArray

    from mmearth_infer.grid.window import Window
    from mmearth_training.data.scenes import Surveyed


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What is cut from one scene."""

    surveyed: Surveyed
    """The scene."""

    windows: tuple[Window, ...]
    """Its tiles."""

    splits: tuple[str, ...]
    """What each is for."""

    straddling: int
    """Windows left out because they would lie in two splits."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Cut:
    """A tile's pixels, with what surrounds them."""

    scene: int
    """Number of its scene."""

    surveyed: Surveyed
    """The scene."""

    window: Window
    """Where it is in the scene."""

    split: str
    """What it is for."""

    dn_CHW: NDArray[np.uint16]  # noqa: N815 -- an array's name carries its axes
    """The stored bands, margin included."""

    inside: tuple[slice, slice]
    """Where the tile is in them."""

    @property
    def tile_CHW(self) -> NDArray[np.uint16]:  # noqa: N802 -- likewise
        """The stored bands of the tile itself."""
        return self.dn_CHW[(slice(None), *self.inside)]


def plan_cuts(
    scenes: Sequence[Surveyed],
    *,
    tile_px: int,
    shares: Shares,
    seed: int,
) -> tuple[Plan, ...]:
    """Decide what is cut from each scene, and for which split.

    Raises:
        DataError: If no tile fits into any scene.

    """
    blocks = [_blocks(one, tile_px) for one in scenes]
    pairs = list(zip(scenes, blocks, strict=True))
    drawn: dict[tuple[int, tuple[int, int]], str] = {}
    for level in sorted({one.scene.level for one in scenes}):  # all are trained on
        grounds = dict.fromkeys(
            (one.ground, block)
            for one, cut in pairs
            for block in cut
            if one.scene.level == level and (one.ground, block) not in drawn
        )
        drawn |= share_out(list(grounds), shares, seed=seed)
    plans = tuple(
        _plan(
            one,
            cut,
            {block: drawn[one.ground, block] for block in cut},
            tile_px=tile_px,
        )
        for one, cut in pairs
    )
    if not any(plan.windows for plan in plans):
        raise DataError(
            f"no tile of {tile_px} px fits into the scenes",
            hint="--tile 64, or larger scenes",
        )
    return plans


def cut_tiles(plans: Sequence[Plan], *, margin_px: int) -> Iterator[Cut]:
    """Read the tiles of all scenes, one at a time.

    Raises:
        SceneError: If a scene cannot be read.

    """
    for number, plan in enumerate(plans):
        pixels = read_windows(plan.surveyed, plan.windows, margin_px=margin_px)
        for window, split, (dn_CHW, inside) in zip(
            plan.windows, plan.splits, pixels, strict=True
        ):
            yield Cut(
                scene=number,
                surveyed=plan.surveyed,
                window=window,
                split=split,
                dn_CHW=dn_CHW,
                inside=inside,
            )


def _plan(
    one: Surveyed,
    blocks: Blocks,
    splits: dict[tuple[int, int], str],
    *,
    tile_px: int,
) -> Plan:
    """Decide what is cut from one scene."""
    box = one.scene.geobox
    every = cut_windows(box.height, box.width, tile_px=tile_px, stride_px=one.stride_px)
    found = [(window, split_of(window, blocks, splits)) for window in every]
    kept = [(window, split) for window, split in found if split]
    return Plan(
        surveyed=one,
        windows=tuple(window for window, _ in kept),
        splits=tuple(split for _, split in kept),
        straddling=len(found) - len(kept),
    )


def _blocks(one: Surveyed, tile_px: int) -> Blocks:
    """Return the blocks of a scene's ground, which may be a single one."""
    box = one.scene.geobox
    if one.whole:
        return Blocks(row_edges=(0, box.height), col_edges=(0, box.width))
    return cut_blocks(box.height, box.width, tile_px=tile_px, stride_px=one.stride_px)
