"""What is looked at before a run: that tiles, splits and statistics fit together."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mmearth_infer.errors import DataError
from mmearth_training.data.folder import open_folder, statistics_of
from mmearth_training.data.layout import LEVELS
from mmearth_training.modalities import INPUT, MODALITIES, MODEL_BANDS

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from mmearth_infer.contract.bands import ProductLevel
    from mmearth_training.data.folder import DataFolder
    from mmearth_training.data.tiles import Tiles


def check_tiles(path: Path, names: Sequence[str]) -> int:
    """Open a data set, hold it against its splits and statistics, close it.

    Returns:
        Side of a tile in pixels.

    Raises:
        DataError: For the first thing that does not fit.

    """
    unknown = [name for name in names if name not in MODALITIES]
    if unknown:
        raise DataError(
            f"`{unknown[0]}` is no modality",
            hint=f"the modalities are {', '.join(MODALITIES)}",
        )
    folder = open_folder(path)
    tiles = folder.open()
    try:
        _check_splits(folder, tiles)
        for name in names:
            tiles.read(folder.splits["train"][:1], [name])
        _check_statistics(folder, tiles, names)
        return tiles.tile_px
    finally:
        tiles.close()


def _check_splits(folder: DataFolder, tiles: Tiles) -> None:
    """Refuse rows that the file does not have."""
    for split, rows in folder.splits.items():
        highest = max(rows, default=-1)
        if highest >= len(tiles):
            raise DataError(
                f"split `{split}` of `{folder.name}` has row {highest}, "
                f"the data has {len(tiles)} tiles",
                hint="the splits and the tiles belong to different data sets",
            )


def _check_statistics(folder: DataFolder, tiles: Tiles, names: Sequence[str]) -> None:
    """Refuse quantities that cannot be standardised."""
    for name in names:
        modality = MODALITIES[name]
        if modality.kind == "categorical":
            continue
        if name != INPUT:
            statistics_of(folder, name, modality.channels, None)
            continue
        occurring: set[ProductLevel] = set()
        for level in LEVELS:
            try:
                statistics_of(folder, name, MODEL_BANDS, level)
            except DataError:
                # does it occur at all? A look at each tile, which takes its time
                occurring = occurring or set(
                    tiles.levels(
                        [row for rows in folder.splits.values() for row in rows]
                    )
                )
                if level in occurring:
                    raise
