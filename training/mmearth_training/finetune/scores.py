"""How well a map agrees with labels: Jaccard index a class, their mean, accuracy."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor


@dataclass(frozen=True, slots=True, kw_only=True)
class Scores:
    """Agreement on the labelled pixels of a split."""

    iou: dict[str, float | None]
    """Jaccard index (intersection over union) a class; None where neither has it."""

    mean_iou: float
    """Mean Jaccard index of the classes that occur."""

    accuracy: float
    """Share of the pixels that are right."""

    loss: float
    """Cross-entropy, every pixel weighing the same."""

    pixels: int
    """Labelled pixels."""


def score(confusion_KK: Tensor, names: Sequence[str], *, loss: float) -> Scores:
    """Return what a confusion matrix says.

    Args:
        confusion_KK: Pixels by class of the label and of the map.
        names: Of the classes.
        loss: Cross-entropy on the same pixels.

    """
    right_K = confusion_KK.diagonal().double()
    either_K = confusion_KK.sum(0) + confusion_KK.sum(1) - right_K
    shares = [
        float(right / either) if either else None
        for right, either in zip(right_K, either_K, strict=True)
    ]
    there = [share for share in shares if share is not None]
    pixels = int(confusion_KK.sum())
    return Scores(
        iou=dict(zip(names, shares, strict=True)),
        mean_iou=sum(there) / max(len(there), 1),
        accuracy=float(right_K.sum()) / max(pixels, 1),
        loss=loss,
        pixels=pixels,
    )
