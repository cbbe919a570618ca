"""A small data set in the published layout, cut from real scenes.

Sentinel-2 and the location are real, the month where a scene has a date. What a scene
does not show is made up, and every file says so.
"""

from __future__ import annotations

import datetime as dt  # noqa: TC003 -- a field of the configuration
import logging
from contextlib import closing
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from mmearth_infer.disk import check_output
from mmearth_infer.errors import DataError
from mmearth_training.data.beside import DATA_SET, MADE_BY, made_beside, write_json
from mmearth_training.data.cutting import Plan, cut_tiles, plan_cuts
from mmearth_training.data.files import SPLITS
from mmearth_training.data.layout import TILE_PX
from mmearth_training.data.mmearth import H5Tiles, H5Writer
from mmearth_training.data.progress import tracked
from mmearth_training.data.rows import (
    BLUE,
    REAL,
    band_means,
    describe,
    image_rows,
    pixel_rows,
)
from mmearth_training.data.scene_list import list_scenes
from mmearth_training.data.scenes import SceneOptions, Surveyed, survey
from mmearth_training.data.splits import Shares
from mmearth_training.data.statistics import compute_statistics
from mmearth_training.data.synthetic import HOW, MARGIN_PX
from mmearth_training.modalities import INPUT, MODALITIES

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

MOST_MISSING: Final = 0.1
"""Share of a tile's pixels that may be missing; the paper takes none at all."""

_log = logging.getLogger("mmearth")


@dataclass(frozen=True, slots=True, kw_only=True)
class MakeConfig:
    """A run of `mmearth make-dataset`."""

    scenes: tuple[str, ...]
    """Scenes as `open_source` takes them, and lists of scenes."""

    out: Path
    """Folder of the data set."""

    name: str | None = None
    """What its files are called after; None for the folder's name."""

    tile_px: int = 128
    """Side of a tile: 128, or 64."""

    stride_px: int | None = None
    """Distance of neighbouring tiles; None for `tile_px`, so that none overlap."""

    shares: Shares = field(default_factory=Shares)
    """How much is held out."""

    seed: int = 0
    """Decides what is held out, and the noise."""

    date: dt.date | None = None
    """When the scenes were taken; None to look for it in their names."""

    options: SceneOptions = field(default_factory=SceneOptions)
    """What the user says about the scenes."""

    real_only: bool = False
    """Leave out what would be made up, and the month where nothing says it."""

    overwrite: bool = False
    """Replace a data set of ours that is there, once this one is complete."""

    def __post_init__(self) -> None:
        """Refuse what cannot be cut.

        Raises:
            DataError: Naming the value.

        """
        if self.tile_px not in TILE_PX:
            raise DataError(
                f"tiles of {self.tile_px} px are not published", hint="--tile 128 or 64"
            )
        if self.stride_px is not None and self.stride_px < 1:
            raise DataError(
                f"a stride of {self.stride_px} px leads nowhere",
                hint="--stride is at least 1; the default is --tile",
            )
        if self.name is not None and Path(self.name).name != self.name:
            raise DataError(
                f"`{self.name}` cannot be the name of a file",
                hint="--name is a name without folders",
            )
        if not self.scenes:
            raise DataError("there is no scene to cut", hint="name one, or `demo`")


@dataclass(frozen=True, slots=True, kw_only=True)
class Made:
    """What came of it."""

    out: Path
    """Folder of the data set."""

    tiles: dict[str, int]
    """Tiles a split."""

    straddling: int
    """Windows left out because they lie across the border of two splits."""

    missing: int
    """Windows left out because too many of their pixels are missing."""

    synthetic: tuple[str, ...]
    """Modalities that are made up."""


@dataclass(slots=True, kw_only=True)
class _Written:
    """What is known of the tiles after they were written, in the order of the rows."""

    splits: dict[str, list[int]]
    """Rows of each split."""

    info: dict[str, dict[str, Any]]
    """NAME_tile_info.json."""

    means: list[NDArray[np.float64]]
    """Mean of each stored band."""


def make_dataset(config: MakeConfig, *, quiet: bool = True) -> Made:
    """Cut scenes into tiles and write them in the published layout.

    Args:
        config: What to do.
        quiet: Show no progress.

    Raises:
        SceneError: If a scene cannot be read.
        DataError: If no tile comes of them.
        StoreError: If the folder exists or cannot be written.

    """
    check_output(config.out, DATA_SET, overwrite=config.overwrite)
    name = config.name or config.out.resolve().name
    scenes = survey(
        list_scenes(
            config.scenes,
            options=config.options,
            date=config.date,
            stride_px=config.stride_px or config.tile_px,
        )
    )
    plans = plan_cuts(
        scenes,
        tile_px=config.tile_px,
        shares=config.shares,
        seed=config.seed,
    )
    synthetic = {
        name: how
        for name, how in ({} if config.real_only else HOW).items()
        if name != "month" or not all(one.date for one in scenes)
    }
    names = tuple(name for name in MODALITIES if not config.real_only or name in REAL)
    with made_beside(
        config.out,
        name=name,
        provenance=_provenance(config, scenes, synthetic),
        overwrite=config.overwrite,
    ) as folder:
        path = folder / f"{name}.h5"
        written = _write(path, plans, names, synthetic, config, quiet=quiet)
        with closing(H5Tiles(path)) as tiles:
            statistics = compute_statistics(tiles, written.splits["train"], names)
        _check_levels(written, statistics)
        write_json(folder / f"{name}_splits.json", written.splits)
        write_json(folder / f"{name}_tile_info.json", written.info)
        write_json(folder / f"{name}_band_stats.json", statistics)
    _warn(written.splits, synthetic, config.shares)
    return Made(
        out=config.out,
        tiles={split: len(rows) for split, rows in written.splits.items()},
        straddling=sum(plan.straddling for plan in plans),
        missing=sum(len(plan.windows) for plan in plans) - len(written.means),
        synthetic=tuple(synthetic),
    )


def _write(  # noqa: PLR0913 -- what is written where, and how
    path: Path,
    plans: Sequence[Plan],
    names: Sequence[str],
    synthetic: Mapping[str, str],
    config: MakeConfig,
    *,
    quiet: bool,
) -> _Written:
    """Write the h5 file, tile by tile."""
    most = sum(len(plan.windows) for plan in plans)
    done = _Written(splits={name: [] for name in SPLITS}, info={}, means=[])
    cuts = cut_tiles(plans, margin_px=0 if config.real_only else MARGIN_PX)
    with closing(
        H5Writer(
            path,
            tiles=most,
            tile_px=config.tile_px,
            modalities={name: synthetic.get(name) for name in names},
        )
    ) as writer:
        for cut in tracked(cuts, total=most, text="cutting", quiet=quiet):
            if (cut.tile_CHW[BLUE] == 0).mean() > MOST_MISSING:
                continue
            row = len(done.means)
            for name, values in pixel_rows(
                cut, row, seed=config.seed, real_only=config.real_only
            ).items():
                writer.write(name, row, values)
            done.means.append(band_means(cut.tile_CHW))
            done.splits[cut.split].append(row)
            tile_id, facts = describe(cut, done.means[-1], real_only=config.real_only)
            done.info[tile_id] = facts
        if not done.splits["train"]:
            raise DataError(
                f"no tile to train on: more than {MOST_MISSING:.0%} of the pixels of "
                "each are missing",
                hint="give scenes with fewer gaps",
            )
        for name, rows in image_rows(
            done.info,
            np.stack(done.means),
            seed=config.seed,
            real_only=config.real_only,
        ).items():
            writer.write(name, slice(len(rows)), rows)
        writer.finish(len(done.means))
    return done


def _check_levels(written: _Written, statistics: Mapping[str, object]) -> None:
    """Refuse a product level that no tile to train on has: it has no statistics."""
    for level in sorted({str(one["S2_type"]) for one in written.info.values()}):
        if f"{INPUT}_{level}" not in statistics:
            raise DataError(
                f"no tile to train on is of product {level.upper()}, all are held out",
                hint="lower --val-share and --test-share, or give larger scenes",
            )


def _provenance(
    config: MakeConfig, scenes: Sequence[Surveyed], synthetic: Mapping[str, str]
) -> dict[str, Any]:
    """Return NAME_provenance.json: what is real, what is not, and from where."""
    return {
        MADE_BY: "mmearth make-dataset",
        "version": version("mmearth-infer"),
        "synthetic": dict(synthetic),
        "tile_px": config.tile_px,
        "seed": config.seed,
        "val_share": config.shares.val,
        "test_share": config.shares.test,
        "scenes": [
            {
                "name": one.scene.name,
                "date": one.date and one.date.isoformat(),
                "stride_px": one.stride_px,
                "level": f"{one.scene.level}: {one.scene.level_evidence}",
                "offset": f"{one.scene.offset_dn}: {one.scene.offset_evidence}",
                "warnings": list(one.scene.warnings),
            }
            for one in scenes
        ],
    }


def _warn(
    splits: Mapping[str, Sequence[int]], synthetic: Mapping[str, str], shares: Shares
) -> None:
    """Say what a user should know before trusting a model trained on this."""
    for split in ("val", "test"):
        if getattr(shares, split) and not splits[split]:
            _log.warning(
                "nothing is left for split `%s`: the scenes have too little ground "
                "that shares no pixel",
                split,
            )
    if not synthetic:
        return
    _log.warning(
        "%s are synthetic: made up from Sentinel-2, for trying things out",
        ", ".join(synthetic),
    )
