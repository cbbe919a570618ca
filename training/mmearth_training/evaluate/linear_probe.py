"""Linear probe: features of a frozen encoder, taken once, and a linear head on them.

Nothing is augmented in the paper's classification, so that an image has the same
features in every epoch.

Shapes: N samples, D channels, K classes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch.optim import AdamW

from mmearth_training.data.geobench.labels import read_labels
from mmearth_training.data.progress import tracked
from mmearth_training.evaluate.contender import linear_head
from mmearth_training.evaluate.fit import fit, predict
from mmearth_training.evaluate.scores import score
from mmearth_training.optim import BASE_BATCH

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

    from mmearth_training.evaluate.case import Case


class Features:
    """Features of the samples of a data set, each computed when it is first needed."""

    def __init__(self) -> None:
        """Know none."""
        self._rows: dict[str, Tensor] = {}

    def of(self, case: Case, samples: Sequence[str], *, quiet: bool) -> Tensor:
        """Return `(N, D)`, on the device of the case."""
        missing = [name for name in samples if name not in self._rows]
        if missing:
            self._compute(case, missing, quiet=quiet)
        return torch.stack([self._rows[name] for name in samples]).to(case.device)

    @torch.inference_mode()
    def _compute(self, case: Case, samples: Sequence[str], *, quiet: bool) -> None:
        """Run the encoder."""
        pooled = case.contender.pooled(case.geometry).to(case.device)
        size = case.micro_batch
        starts = range(0, len(samples), size)
        text = f"features {case.folder.task.name}"
        for start in tracked(starts, total=len(starts), text=text, quiet=quiet):
            part = samples[start : start + size]
            rows_ND = pooled(case.inputs(part)).float().cpu()
            self._rows.update(zip(part, rows_ND, strict=True))


def linear_probe(
    case: Case, features: Features, *, quiet: bool = True
) -> dict[str, dict[str, float]]:
    """Train a head and return its metrics by split.

    Args:
        case: Encoder and data set.
        features: What is known of its features already.
        quiet: Show no progress.

    Raises:
        DataError: If a sample cannot be read or has no label.
        TrainingError: If the loss is not finite.

    """
    task, optim = case.folder.task, case.setting.optim
    x = {
        split: features.of(case, samples, quiet=quiet)
        for split, samples in case.splits.items()
        if samples
    }
    y = {
        split: torch.from_numpy(read_labels(case.folder, case.splits[split]))
        for split in x
    }
    head = linear_head(x["train"].shape[1], task.classes, seed=case.seed)
    head.to(case.device)
    rate = optim.base_lr * optim.batch / BASE_BATCH
    optimizer = AdamW(
        [
            {"params": [head.weight], "weight_decay": optim.weight_decay},
            {"params": [head.bias], "weight_decay": 0.0},
        ],
        lr=rate,
        betas=optim.betas,
        fused=True,
    )
    fit(
        head,
        optimizer,
        lambda rows: x["train"][list(rows)],
        y["train"].to(case.device),
        kind=task.kind,
        setting=case.setting,
        micro_batch=optim.batch,
        seed=case.seed,
    )
    return {
        split: score(
            task.kind,
            predict(
                head,
                lambda rows, x_ND=x[split]: x_ND[list(rows)],  # type: ignore[misc]
                len(y[split]),
                micro_batch=optim.batch,
            ),
            y[split],
        )
        for split in x
        if split != "train"
    }
