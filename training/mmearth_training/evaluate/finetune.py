"""Fine-tuning of a classifier: all of it, or its head and the first convolution."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import nn

from mmearth_training.data.geobench.labels import read_labels
from mmearth_training.evaluate.contender import Classifier
from mmearth_training.evaluate.fit import fit, predict
from mmearth_training.evaluate.scores import score
from mmearth_training.finetune.optim import build_optimizer

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from torch import Tensor

    from mmearth_training.evaluate.case import Case
    from mmearth_training.evaluate.settings import Mode


def finetune_classifier(case: Case, mode: Mode) -> dict[str, dict[str, float]]:
    """Train a classifier and return its metrics by split.

    Args:
        case: Encoder and data set.
        mode: `ft` or `elp`.

    Raises:
        DataError: If a sample cannot be read or has no label.
        ModelError: If the encoder is of another architecture.
        TrainingError: If the loss is not finite.

    """
    task = case.folder.task
    y = {
        split: torch.from_numpy(read_labels(case.folder, samples))
        for split, samples in case.splits.items()
        if samples
    }
    encoder = case.contender.encoder(case.geometry)
    model = Classifier(encoder, task.classes, seed=case.seed).to(case.device)
    choose_trained(model, mode, drop_path=case.setting.drop_path)
    fit(
        model,
        build_optimizer(model, case.setting.optim),
        _inputs(case, "train"),
        y["train"].to(case.device),
        kind=task.kind,
        setting=case.setting,
        micro_batch=case.micro_batch,
        seed=case.seed,
    )
    return {
        split: score(
            task.kind,
            predict(
                model,
                _inputs(case, split),
                len(y[split]),
                micro_batch=case.micro_batch,
            ),
            y[split],
        )
        for split in y
        if split != "train"
    }


def choose_trained(model: Classifier, mode: Mode, *, drop_path: float) -> None:
    """Let everything be trained, or the head and the first convolution alone."""
    whole = mode == "ft"
    model.encoder.set_drop_path(drop_path if whole else 0.0)
    model.requires_grad_(whole)
    if not whole:
        norm, head = model.decoder
        assert isinstance(norm, nn.LayerNorm)
        head.requires_grad_(requires_grad=True)
        layers = model.encoder.first_layers or model.encoder.stem_layers
        layers[0].requires_grad_(requires_grad=True)


def _inputs(case: Case, split: str) -> Callable[[Sequence[int]], Tensor]:
    """Return what gives the images of a split by their numbers."""
    samples = case.splits[split]
    return lambda rows: case.inputs([samples[row] for row in rows])
