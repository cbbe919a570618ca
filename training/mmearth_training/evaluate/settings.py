"""What is done with an encoder, and the settings of the paper for it."""

from __future__ import annotations

from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Final, Literal, get_args

from mmearth_training.finetune.recipe import OptimRecipe

if TYPE_CHECKING:
    from collections.abc import Mapping

    from mmearth_training.data.geobench.tasks import Kind

Mode = Literal["ft", "lp", "elp", "seg"]
"""Fine-tuning, linear probe, linear probe with the first convolution, U-Net."""

MODES: Final[tuple[Mode, ...]] = get_args(Mode)

DEFAULT_MODES: Final[Mapping[Kind, tuple[Mode, ...]]] = MappingProxyType(
    {
        "multiclass": ("ft", "lp"),
        "multilabel": ("ft", "lp"),
        "segmentation": ("seg",),
    }
)
"""What the paper does with a task of each kind."""

ALLOWED_MODES: Final[Mapping[Kind, tuple[Mode, ...]]] = MappingProxyType(
    {
        "multiclass": ("ft", "lp", "elp"),
        "multilabel": ("ft", "lp", "elp"),
        "segmentation": ("seg",),
    }
)
"""What can be done with it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """How a head, or more than that, is trained."""

    optim: OptimRecipe
    """Epochs, batch, learning rate and its decay by layer, weight decay."""

    smoothing: float
    """Share of a label that goes to what is not the label."""

    drop_path: float
    """Share of samples that lose the last block, where all of it is trained."""


def _classification(*, layer_decay: float, drop_path: float) -> Setting:
    return Setting(
        optim=OptimRecipe(
            decoder_epochs=0,
            epochs=100,
            warmup_epochs=0.0,
            batch=1024,
            base_lr=2e-4,
            layer_decay=layer_decay,
            weight_decay=0.3,
        ),
        smoothing=0.2,
        drop_path=drop_path,
    )


PAPER: Final[Mapping[Mode, Setting]] = MappingProxyType(
    {
        "lp": _classification(layer_decay=1.0, drop_path=0.0),
        "elp": _classification(layer_decay=1.0, drop_path=0.0),
        "ft": _classification(layer_decay=0.9, drop_path=0.1),
        "seg": Setting(
            optim=OptimRecipe(
                decoder_epochs=50,
                epochs=150,
                warmup_epochs=0.0,
                batch=32,
                base_lr=0.01,
                layer_decay=0.9,
                weight_decay=0.3,
            ),
            smoothing=0.0,
            drop_path=0.1,
        ),
    }
)
"""Section 5 of the paper, and the scripts of its published code where it is silent."""
