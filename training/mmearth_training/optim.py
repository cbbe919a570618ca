"""AdamW as the paper sets it up: two groups of weights, warm-up and half a cosine."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final

from torch.optim import AdamW
from torch.optim.lr_scheduler import LambdaLR

if TYPE_CHECKING:
    from torch import nn

    from mmearth_training.recipe_parts import OptimRecipe

BASE_BATCH: Final = 256
"""Samples a step that the base learning rate is meant for."""


def warmup_cosine(step: int, *, warmup: int, total: int) -> float:
    """Return the share of the peak learning rate at a step.

    Rises in a line from 0 at step 0 to 1 at `warmup`, then falls along half a cosine
    to 0 at `total`.
    """
    if step < warmup:
        return step / warmup
    if step >= total:
        return 0.0
    return 0.5 * (1 + math.cos(math.pi * (step - warmup) / (total - warmup)))


def build_optimizer(model: nn.Module, optim: OptimRecipe) -> AdamW:
    """Return AdamW with weight decay on weights alone.

    Biases, LayerNorm, GRN, the mask token and task uncertainties have one axis, and
    no decay.
    """
    trained = [p for p in model.parameters() if p.requires_grad]
    return AdamW(
        [
            {
                "params": [p for p in trained if p.ndim > 1],
                "weight_decay": optim.weight_decay,
            },
            {"params": [p for p in trained if p.ndim <= 1], "weight_decay": 0.0},
        ],
        lr=optim.base_lr * optim.batch / BASE_BATCH,
        betas=optim.betas,
        fused=True,
    )


def build_scheduler(
    optimizer: AdamW, optim: OptimRecipe, *, steps_an_epoch: int, done: int
) -> LambdaLR:
    """Return the learning rate by step, as it stands after `done` steps."""
    warmup = round(optim.warmup_epochs * steps_an_epoch)
    total = optim.epochs * steps_an_epoch
    return LambdaLR(
        optimizer, lambda step: warmup_cosine(step + done, warmup=warmup, total=total)
    )
