"""Metrics of the paper, by torchmetrics, over a whole split.

No metric is averaged over batches: what is scored is collected first.

Shapes: N samples, K classes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import torch
from torch.nn import functional
from torchmetrics.functional.classification import (
    multiclass_accuracy,
    multilabel_average_precision,
    multilabel_f1_score,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch import Tensor

    from mmearth_training.data.geobench.tasks import Kind

METRIC: Final[Mapping[Kind, str]] = {
    "multiclass": "accuracy",
    "multilabel": "mean_average_precision",
    "segmentation": "mean_jaccard",
}
"""The metric of the paper's table by kind of task."""

METRIC_NAMES: Final[Mapping[str, str]] = {
    "accuracy": "accuracy",
    "mean_average_precision": "mAP",
    "micro_f1": "micro F1",
    "mean_jaccard": "mean Jaccard",
}
"""What people call them."""


def score(kind: Kind, logits_NK: Tensor, targets: Tensor) -> dict[str, float]:
    """Return the metrics of a whole split.

    Args:
        kind: `multiclass` or `multilabel`.
        logits_NK: Of all its samples.
        targets: Classes `(N,)`, or 0 and 1, `(N, K)`.

    """
    classes = logits_NK.shape[1]
    if kind == "multiclass":
        accuracy = multiclass_accuracy(
            logits_NK, targets, num_classes=classes, average="micro"
        )
        return {"accuracy": float(accuracy)}
    shown_K = targets.any(dim=0)  # no precision is defined without a positive
    precision_K = multilabel_average_precision(
        logits_NK[:, shown_K].sigmoid(),
        targets[:, shown_K],
        num_labels=int(shown_K.sum()),
        average="none",
    )
    assert precision_K is not None
    micro = multilabel_f1_score(
        logits_NK.sigmoid(), targets, num_labels=classes, average="micro"
    )
    return {
        "mean_average_precision": float(precision_K.mean()),
        "micro_f1": float(micro),
        "labels_that_occur": float(shown_K.sum()),
    }


def loss(kind: Kind, logits: Tensor, targets: Tensor, *, smoothing: float) -> Tensor:
    """Return the mean loss: cross-entropy, of each label by itself where several.

    Smoothed labels are `1 - s` and `s`, as in the published code; smoothed classes
    are `1 - s + s / K` and `s / K`.
    """
    if kind == "multiclass":
        return functional.cross_entropy(logits, targets, label_smoothing=smoothing)
    smooth = targets * (1 - 2 * smoothing) + smoothing
    return functional.binary_cross_entropy_with_logits(logits, smooth)


def majority(kind: Kind, train: Tensor, test: Tensor, classes: int) -> float:
    """Return the paper's metric for a model that never looks at an image.

    It says how often each class occurs among the samples to train on.
    """
    one_hot = train if kind == "multilabel" else functional.one_hot(train, classes)
    share_K = one_hot.double().mean(0).clamp(1e-6, 1 - 1e-6)
    logits_NK = torch.logit(share_K).float().expand(len(test), -1)
    return score(kind, logits_NK, test)[METRIC[kind]]
