"""A call of `mmearth evaluate`."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path  # noqa: TC003 -- a field's type
from typing import TYPE_CHECKING, Any

import msgspec

from mmearth_training.data.geobench.folder import DEFAULT_PARTITION
from mmearth_training.evaluate.settings import PAPER, Mode, Setting

if TYPE_CHECKING:
    from collections.abc import Mapping

    from mmearth_training.evaluate.case import InputStatistics
    from mmearth_training.model.encoder import Geometry


@dataclass(frozen=True, slots=True, kw_only=True)
class EvaluateConfig:
    """A call of `mmearth evaluate`."""

    data: Path
    """Folder of GEO-Bench."""

    out: Path
    """Folder of the results."""

    checkpoints: tuple[Path, ...] = ()
    """Encoders of ours, or published ones."""

    baselines: tuple[str, ...] = ()
    """Encoders by name."""

    tasks: tuple[str, ...] = ()
    """Names of tasks; all that are there if empty."""

    modes: tuple[Mode, ...] = ()
    """What is trained; what the paper does with each task if empty."""

    partitions: tuple[str, ...] = (DEFAULT_PARTITION,)
    """Which samples it is trained on."""

    statistics: InputStatistics = "dataset"
    """What standardises the input."""

    geometry: Geometry = "published"
    """How borders are treated where images are pooled; maps are always padded."""

    optim: Mapping[str, int | float] = field(default_factory=dict)
    """Fields of `OptimRecipe` that replace the paper's in every mode."""

    smoothing: float | None = None
    """Replaces the paper's label smoothing."""

    drop_path: float | None = None
    """Replaces the paper's drop path in fine-tuning and segmentation."""

    micro_batch: int = 64
    """Images that are computed at once."""

    seed: int = 0
    """Seed of heads, orders and drop path."""

    device: str = "auto"
    """`auto`, `cpu` or a CUDA device."""

    resume: bool = False
    """Keep the cells that are finished."""

    overwrite: bool = False
    """Remove results that are there."""

    def setting(self, mode: Mode) -> Setting:
        """Return the paper's setting with what was asked otherwise."""
        known = PAPER[mode]
        mine = {**self.optim}
        if mode != "seg":
            mine.pop("decoder_epochs", None)
        smoothing = known.smoothing if self.smoothing is None else self.smoothing
        drop_path = known.drop_path
        if self.drop_path is not None and mode in {"ft", "seg"}:
            drop_path = self.drop_path
        return replace(
            known,
            optim=msgspec.structs.replace(known.optim, **mine),
            smoothing=smoothing,
            drop_path=drop_path,
        )

    def identity(self) -> dict[str, Any]:
        """Return what must be the same for all cells of one table."""
        return {
            "suite": "geobench",
            "data": str(self.data.resolve()),
            "settings": {
                mode: {
                    "optim": msgspec.to_builtins(setting.optim),
                    "smoothing": setting.smoothing,
                    "drop_path": setting.drop_path,
                }
                for mode, setting in ((one, self.setting(one)) for one in PAPER)
            },
            "statistics": self.statistics,
            "geometry": self.geometry,
            "seed": self.seed,
        }
