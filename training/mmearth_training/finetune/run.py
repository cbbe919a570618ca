"""A call of `mmearth finetune`, and the run it is.

RUN/run.json  history.jsonl  checkpoints/  scores.json  map.png
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path  # noqa: TC003 -- a field's type
from typing import TYPE_CHECKING, Any

import msgspec

from mmearth_training.data.scenes import SceneOptions  # noqa: TC001 -- likewise
from mmearth_training.finetune.recipe import FinetuneRecipe  # noqa: TC001 -- likewise

if TYPE_CHECKING:
    from mmearth_training.encoder_checkpoint import EncoderCheckpoint
    from mmearth_training.finetune.tiles import LabelledTiles


@dataclass(frozen=True, slots=True, kw_only=True)
class FinetuneConfig:
    """A call of `mmearth finetune`."""

    recipe: FinetuneRecipe
    """What is computed."""

    data: Path
    """Folder that the recipe's files are below."""

    out: Path
    """Folder of the run."""

    options: SceneOptions
    """How to read the images."""

    checkpoint: Path | None = None
    """Where the encoder comes from; None for one that has learned nothing."""

    device: str = "auto"
    """`auto`, `cpu` or a CUDA device."""

    resume: bool = False
    """Go on from the last checkpoint; start where there is none."""

    overwrite: bool = False
    """Remove a run that is there."""

    stop_after: int | None = None
    """Stop after this many steps as if interrupted, with a checkpoint; for tests."""

    @property
    def checkpoints(self) -> Path:
        """Folder of the checkpoints."""
        return self.out / "checkpoints"

    @property
    def history(self) -> Path:
        """File of the records."""
        return self.out / "history.jsonl"


def identity(
    config: FinetuneConfig, tiles: LabelledTiles, start: EncoderCheckpoint | None
) -> dict[str, Any]:
    """Return what must not change between the parts of one run."""
    this = {
        "recipe": config.recipe,
        "tiles": tiles.digest,
        "encoder": start.sha256 if start else None,
    }
    plain: dict[str, Any] = json.loads(msgspec.json.encode(this))  # as it will be read
    return plain
