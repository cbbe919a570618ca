"""Images and labels, cut into tiles; blocks of ground are shared out to the splits.

Shapes: N tiles, B bands of the encoder, H W pixels.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from mmearth_infer.errors import DataError
from mmearth_training.data.cutting import cut_tiles, plan_cuts
from mmearth_training.data.files import SPLITS
from mmearth_training.data.progress import tracked
from mmearth_training.data.scene_list import Asked
from mmearth_training.data.scenes import survey
from mmearth_training.finetune.labels import open_labels
from mmearth_training.losses import MISSING_CLASS
from mmearth_training.modalities import STORED_BANDS

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from mmearth_infer.contract.bands import ProductLevel
    from mmearth_infer.grid.window import Window
    from mmearth_training.data.cutting import Cut
    from mmearth_training.data.scenes import SceneOptions
    from mmearth_training.finetune.recipe import DataRecipe, FinetuneRecipe

_STAR: Final = "*"


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class LabelledTiles:
    """All tiles of a run, in memory."""

    dn_NBHW: NDArray[np.uint16]  # noqa: N815 -- an array's name carries its axes
    """Digital numbers, bands in the order of the encoder."""

    classes_NHW: NDArray[np.int16]  # noqa: N815 -- likewise
    """Class of each pixel, -1 where nothing is known."""

    levels: tuple[ProductLevel, ...]
    """Product level of each tile."""

    splits: tuple[str, ...]
    """What each tile is for."""

    places: tuple[tuple[str, Window], ...]
    """Scene of each tile, and where it is in it."""

    def rows(self, split: str) -> NDArray[np.int64]:
        """Return the numbers of the tiles of a split."""
        return np.flatnonzero([one == split for one in self.splits])

    @property
    def digest(self) -> str:
        """What tells these tiles from others."""
        total = hashlib.sha256(repr((self.splits, self.places, self.levels)).encode())
        total.update(self.dn_NBHW.tobytes())
        total.update(self.classes_NHW.tobytes())
        return total.hexdigest()


def cut_labelled(
    recipe: FinetuneRecipe,
    folder: Path,
    *,
    bands: Sequence[str],
    options: SceneOptions,
    quiet: bool,
) -> LabelledTiles:
    """Cut images and labels into tiles.

    Tiles to train on may overlap each other, held-out ones do not, so that each pixel
    counts once. A tile without any label is left out. A pixel without data has none.

    Args:
        recipe: Says which, and how.
        folder: Where images and labels are.
        bands: Bands of the encoder.
        options: How to read the images.
        quiet: Show no progress.

    Raises:
        SceneError: If an image cannot be read.
        DataError: If images and labels do not fit each other, or a split or class is
            left without any.

    """
    data = recipe.data
    pairs = find_pairs(data, folder)
    stride_px = data.stride_px or data.tile_px
    scenes = survey(
        [
            Asked(path=str(image), date=None, options=options, stride_px=stride_px)
            for image, _ in pairs
        ]
    )
    plans = plan_cuts(
        scenes, tile_px=data.tile_px, shares=data.shares, seed=recipe.seed
    )
    labels = {
        number: open_labels(
            path,
            one.scene.geobox,
            codes=recipe.codes,
            ignored=data.ignored,
            field=data.field,
        )
        for number, ((_, path), one) in enumerate(zip(pairs, scenes, strict=True))
        if plans[number].windows
    }
    chosen = [STORED_BANDS.index(band) for band in bands]
    kept: list[tuple[Cut, NDArray[np.uint16], NDArray[np.int16]]] = []
    cuts = cut_tiles(plans, margin_px=0)
    total = sum(len(plan.windows) for plan in plans)
    for cut in tracked(cuts, total=total, text="cutting", quiet=quiet):
        if cut.split != "train" and any(_overlap(cut, other) for other, *_ in kept):
            continue
        dn_BHW = cut.tile_CHW[chosen]
        classes_HW = labels[cut.scene].read(cut.window).copy()
        classes_HW[~dn_BHW.any(axis=0)] = MISSING_CLASS
        if (classes_HW != MISSING_CLASS).any():
            kept.append((cut, dn_BHW, classes_HW))
    if not kept:
        raise DataError("no tile has a label", hint="do images and labels overlap?")
    tiles = LabelledTiles(
        dn_NBHW=np.stack([dn for _, dn, _ in kept]),
        classes_NHW=np.stack([classes for *_, classes in kept]),
        levels=tuple(cut.surveyed.scene.level for cut, *_ in kept),
        splits=tuple(cut.split for cut, *_ in kept),
        places=tuple((cut.surveyed.scene.name, cut.window) for cut, *_ in kept),
    )
    _check(tiles, recipe)
    return tiles


def find_pairs(data: DataRecipe, folder: Path) -> list[tuple[Path, Path]]:
    """Return the images and the labels of each, in the order of their names.

    Raises:
        DataError: If there is no image, or labels are missing.

    """
    if _STAR not in data.images:
        pairs = [(folder / data.images, folder / data.labels)]
    else:
        before, after = data.images.split(_STAR, maxsplit=1)
        found = sorted(path.relative_to(folder) for path in folder.glob(data.images))
        names = [str(path)[len(before) : -len(after) or None] for path in found]
        pairs = [
            (folder / path, folder / data.labels.replace(_STAR, name))
            for path, name in zip(found, names, strict=True)
        ]
    if not pairs:
        raise DataError(
            f"there is no image `{data.images}` in `{folder}`",
            hint="data.images is a file or a pattern with one `*` below --data",
        )
    for image, label in pairs:
        if not label.exists():
            raise DataError(
                f"`{image.name}` has no labels: there is no `{label}`",
                hint="`*` in data.labels stands for what it stands for in data.images",
            )
    return pairs


def _overlap(one: Cut, other: Cut) -> bool:
    """Tell whether two tiles of a scene share pixels."""
    a, b = one.window, other.window
    return (
        one.scene == other.scene
        and abs(a.row - b.row) < a.height
        and abs(a.col - b.col) < a.width
    )


def _check(tiles: LabelledTiles, recipe: FinetuneRecipe) -> None:
    """Refuse splits that were asked for and are empty, and classes nobody can learn."""
    hint = "give more ground, another seed, smaller tiles or other shares"
    for split in SPLITS:
        asked = split == "train" or getattr(recipe.data.shares, split) > 0
        if asked and not len(tiles.rows(split)):
            raise DataError(f"split `{split}` has no tile with labels", hint=hint)
    seen = set(np.unique(tiles.classes_NHW[tiles.rows("train")]).tolist())
    for number, one in enumerate(recipe.classes):
        if number not in seen:
            raise DataError(
                f"the class `{one.name}` does not occur in the tiles to train on",
                hint=hint,
            )
