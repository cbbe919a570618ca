"""Metrics that can be worked out by hand, over whole splits."""

from __future__ import annotations

import pytest
import torch
from torchmetrics.functional.classification import (
    multiclass_jaccard_index,
    multilabel_average_precision,
)

from mmearth_training.evaluate.scores import loss, majority, score
from mmearth_training.finetune.scores import score as score_maps


def test_accuracy() -> None:
    logits = torch.tensor([[2.0, 1, 0], [0, 1, 0], [0, 1, 2], [3, 1, 2]])
    targets = torch.tensor([0, 1, 2, 1])
    assert score("multiclass", logits, targets) == {"accuracy": 0.75}


def test_mean_average_precision_and_micro_f1() -> None:
    """Ranks by hand; a label that never occurs has no precision and is left out."""
    logits = torch.tensor([[3.0, 2, -1], [2, -3, -1], [1, 1, -1], [-1, -4, 5]])
    targets = torch.tensor([[1, 0, 0], [0, 1, 0], [1, 1, 0], [0, 0, 0]])
    found = score("multilabel", logits, targets)
    first = (1 / 1 + 2 / 3) / 2
    second = (1 / 2 + 2 / 3) / 2
    assert found["mean_average_precision"] == pytest.approx((first + second) / 2)
    right, false, missed = 3, 3, 1
    assert found["micro_f1"] == pytest.approx(2 * right / (2 * right + false + missed))
    assert found["labels_that_occur"] == 2


def test_perfect_and_reversed() -> None:
    targets = torch.randint(0, 2, (50, 43), generator=torch.Generator().manual_seed(0))
    signs = targets.float() * 2 - 1
    best = score("multilabel", signs, targets)
    assert best["mean_average_precision"] == 1
    assert best["micro_f1"] == 1
    assert score("multilabel", -signs, targets)["micro_f1"] == 0


def test_a_split_is_scored_as_a_whole() -> None:
    """The mean of batches is another number, for every metric of the paper."""
    generator = torch.Generator().manual_seed(1)
    often = torch.linspace(0.05, 0.6, 40)[:, None]
    targets = (torch.rand(40, 43, generator=generator) < often).long()
    logits = torch.randn(40, 43, generator=generator) + targets
    whole = score("multilabel", logits, targets)
    parts = [
        score("multilabel", logits[rows], targets[rows])
        for rows in torch.arange(40).chunk(4)
    ]
    for metric in ("mean_average_precision", "micro_f1"):
        mean = sum(part[metric] for part in parts) / len(parts)
        assert abs(mean - whole[metric]) > 1e-3
    oracle = multilabel_average_precision(logits.sigmoid(), targets, num_labels=43)
    assert oracle is not None
    assert whole["mean_average_precision"] == pytest.approx(float(oracle))


def test_mean_jaccard_is_that_of_torchmetrics_over_all_pixels() -> None:
    """Classes that neither map nor label has are left out; batches are not averaged."""
    generator = torch.Generator().manual_seed(2)
    labels = torch.randint(0, 6, (8, 16, 16), generator=generator)
    labels[:4] = labels[:4] % 2
    maps = torch.where(
        torch.rand(labels.shape, generator=generator) < 0.7, labels, labels // 2
    )
    confusion = torch.zeros(7, 7, dtype=torch.long)
    for label, mapped in zip(labels.flatten(), maps.flatten(), strict=True):
        confusion[label, mapped] += 1
    names = [str(number) for number in range(7)]
    whole = score_maps(confusion, names, loss=0.0).mean_iou
    oracle = multiclass_jaccard_index(maps, labels, num_classes=7, average="macro")
    assert whole == pytest.approx(float(oracle))
    parts = [
        float(multiclass_jaccard_index(m, one, num_classes=7, average="macro"))
        for m, one in zip(maps.chunk(4), labels.chunk(4), strict=True)
    ]
    assert abs(sum(parts) / 4 - whole) > 1e-2


def test_smoothed_labels() -> None:
    """Of several labels, 1 becomes 1 - s and 0 becomes s, as published."""
    logits = torch.tensor([[0.3, -1.2]])
    p = logits.sigmoid()
    smooth = torch.tensor([[0.8, 0.2]])
    expected = -(smooth * p.log() + (1 - smooth) * (1 - p).log()).mean()
    found = loss("multilabel", logits, torch.tensor([[1, 0]]), smoothing=0.2)
    torch.testing.assert_close(found, expected)
    q = logits.log_softmax(1)
    found = loss("multiclass", logits, torch.tensor([0]), smoothing=0.2)
    torch.testing.assert_close(found, -(0.9 * q[0, 0] + 0.1 * q[0, 1]))


def test_what_no_image_tells() -> None:
    """The commonest class; of several labels, how often each occurs."""
    train, test = torch.tensor([0, 2, 2, 1]), torch.tensor([2, 2, 0, 1])
    assert majority("multiclass", train, test, 3) == 0.5
    shown = torch.tensor([[1, 0], [1, 1], [0, 0], [1, 0]])
    assert majority("multilabel", shown, shown, 2) == pytest.approx((3 / 4 + 1 / 4) / 2)
