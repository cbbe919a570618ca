"""Training a classifier: steps of one effective batch, counted from 1.

Shapes: N samples, K classes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np
import torch

from mmearth_infer.errors import TrainingError
from mmearth_training.data.draws import epoch_order
from mmearth_training.evaluate.scores import loss
from mmearth_training.optim import warmup_cosine

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from torch import Tensor, nn
    from torch.optim import AdamW

    from mmearth_training.data.geobench.tasks import Kind
    from mmearth_training.evaluate.settings import Setting

_STEP: Final = 2


def fit(  # noqa: PLR0913 -- everything comes together here
    model: nn.Module,
    optimizer: AdamW,
    inputs: Callable[[Sequence[int]], Tensor],
    targets: Tensor,
    *,
    kind: Kind,
    setting: Setting,
    micro_batch: int,
    seed: int,
) -> None:
    """Train on all samples for the epochs of the setting, nothing augmented.

    The gradient of a step is that of the mean over its whole effective batch, however
    it is cut into micro-batches.

    Args:
        model: From inputs to logits; what is frozen takes no gradient.
        optimizer: With the peak learning rate of each group.
        inputs: Gives the inputs of samples by their numbers.
        targets: Of all samples, in the order of the numbers.
        kind: Decides the loss.
        setting: Epochs, batch, smoothing.
        micro_batch: Samples that are computed at once.
        seed: Decides their order, and what drop path leaves out.

    Raises:
        TrainingError: If the loss is not finite.

    """
    optim = setting.optim
    rows = list(range(len(targets)))
    steps_an_epoch = -(-len(rows) // optim.batch)
    total = optim.epochs * steps_an_epoch
    warmup = round(optim.warmup_epochs * steps_an_epoch)
    peaks = [group["lr"] for group in optimizer.param_groups]
    for step in range(total):
        epoch, place = divmod(step, steps_an_epoch)
        order = epoch_order(rows, seed=seed, epoch=epoch).tolist()
        chosen = order[place * optim.batch : (place + 1) * optim.batch]
        share = warmup_cosine(step, warmup=warmup, total=total)
        for group, peak in zip(optimizer.param_groups, peaks, strict=True):
            group["lr"] = peak * share
        drawn = np.random.SeedSequence((seed, _STEP, step))
        torch.manual_seed(int(drawn.generate_state(1)[0]))  # of drop path
        model.train()
        optimizer.zero_grad()
        for start in range(0, len(chosen), micro_batch):
            part = chosen[start : start + micro_batch]
            one = loss(
                kind, model(inputs(part)), targets[part], smoothing=setting.smoothing
            )
            if not one.isfinite():
                raise TrainingError(
                    f"the loss is not finite at step {step + 1}",
                    hint="lower --base-lr",
                )
            (one * (len(part) / len(chosen))).backward()  # type: ignore[no-untyped-call]
        optimizer.step()


@torch.inference_mode()
def predict(
    model: nn.Module,
    inputs: Callable[[Sequence[int]], Tensor],
    count: int,
    *,
    micro_batch: int,
) -> Tensor:
    """Return what a model says of samples 0 to `count`, `(N, ...)`, on the CPU."""
    model.eval()
    return torch.cat(
        [
            model(inputs(range(start, min(start + micro_batch, count)))).cpu()
            for start in range(0, count, micro_batch)
        ]
    )
