"""Whether labelled cells can be cross-validated, and over which blocks.

Shapes: S cells, K classes.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from mmearth_infer.contract.classes import MOST_CLASSES
from mmearth_infer.errors import SceneError
from mmearth_infer.probe.blocks import SIDES, blocks_a_class, blocks_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from mmearth_infer.grid.geobox import GeoBox
    from mmearth_infer.probe.sample import Places


def with_data(places: Places, folds: int, warnings: list[str]) -> Places:
    """Return cells that hold data with the classes that they have.

    Args:
        places: The cells; classes may have lost all of theirs.
        folds: Parts of the cross-validation.
        warnings: What is said of it is added.

    Raises:
        SceneError: If these are too few, too many, or have too few cells.

    """
    counts = places.counts
    lost = [name for name, count in counts.items() if not count]
    if lost:
        warnings.append(f"no cell with data is left of {_listed(lost)}")
        kept, number_S = np.unique(places.class_S, return_inverse=True)
        places = replace(
            places,
            names=tuple(places.names[n] for n in kept),
            class_S=number_S.reshape(-1).astype(np.int64),
        )
    counts = places.counts
    if len(counts) == 1:
        raise SceneError(
            f"all {len(places.class_S)} labelled cells are of one class, "
            f"`{places.names[0]}`",
            hint="label a second class, such as what it is to be told apart from",
        )
    if len(counts) > MOST_CLASSES:
        raise SceneError(
            f"labels have {len(counts)} classes, maps hold {MOST_CLASSES}",
            hint="--ignore leaves values out; probes tell classes apart, numbers that "
            "are measured are none",
        )
    few = {name: count for name, count in counts.items() if count < folds}
    if few:
        said = ", ".join(f"`{name}` {count}" for name, count in few.items())
        raise SceneError(
            f"classes have fewer cells than there are folds ({folds}): {said}",
            hint=f"label more, choose --folds {max(min(few.values()), 2)}, lower "
            "--min-share, or embed finer cells with --stage",
        )
    return places


def choose_blocks(  # noqa: PLR0913 -- what decides
    places: Places,
    boxes: Sequence[GeoBox],
    *,
    folds: int,
    block_cells: int | None,
    block_m: float | None,
    warnings: list[str],
) -> tuple[int, NDArray[np.int64]]:
    """Return the side of the blocks in cells, and the block of each cell.

    Args:
        places: The cells.
        boxes: Grid of each store.
        folds: Parts of the cross-validation.
        block_cells: Side that was asked for; None for the largest at which each class
            is in as many blocks as there are folds.
        block_m: The same in metres.
        warnings: What is said of it is added.

    Raises:
        SceneError: If there are fewer blocks than folds.

    """

    def divide(side: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        where = places.store_S, places.row_S, places.col_S
        block_S = blocks_of(boxes, *where, side)
        return block_S, blocks_a_class(places.class_S, block_S, len(places.names))

    given = block_cells
    if block_m is not None:
        given = max(round(block_m / boxes[0].pixel_m()[0]), 1)
    for side in (given,) if given else SIDES:
        block_S, count_K = divide(side)
        if (count_K >= folds).all():
            break
    if len(np.unique(block_S)) < folds:
        raise SceneError(
            f"blocks of {side} cells make {len(np.unique(block_S))} blocks with "
            f"labels, fewer than folds ({folds})",
            hint="choose smaller blocks with --block-cells, or fewer --folds",
        )
    few = [name for name, n in zip(places.names, count_K, strict=True) if n < 2]  # noqa: PLR2004
    rare = [
        name
        for name, n in zip(places.names, count_K, strict=True)
        if 2 <= n < folds  # noqa: PLR2004
    ]
    if few:
        warnings.append(
            f"{_listed(few)}: in one block of {side} cells only, so that it is never "
            "learnt where it is tested; smaller --block-cells would change that"
        )
    if rare:
        warnings.append(
            f"{_listed(rare)}: in fewer blocks of {side} cells than there are folds, "
            "which not all test it"
        )
    if side == 1:
        warnings.append(
            "blocks are single cells: neighbours are on both sides, and figures are "
            "better than they would be elsewhere"
        )
    return side, block_S


def _listed(names: Sequence[str]) -> str:
    """Return names for a message."""
    return ", ".join(f"`{name}`" for name in names)
