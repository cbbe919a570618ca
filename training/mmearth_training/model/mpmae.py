"""The multi-pretext masked autoencoder: encoder, decoders, errors, in one forward.

Shapes: N samples, B bands, H W pixels, C channels, T tasks, D channels of the last
stage.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from mmearth_training.losses import TaskWeights, Weighting, hidden_target, task_error
from mmearth_training.modalities import INPUT, TASKS
from mmearth_training.model.decoder import Decoder, DecoderConfig
from mmearth_training.model.encoder import Encoder, EncoderConfig
from mmearth_training.model.sparse import BackendName, open_backend, to_map

if TYPE_CHECKING:
    from collections.abc import Mapping

    from mmearth_training.model.masking import Mask

INITIAL_STD = 0.02
"""Standard deviation of initial weights, truncated at two (ConvNeXt V2)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MpMaeConfig:
    """Everything that decides what is computed in a training step."""

    encoder: EncoderConfig
    """The encoder; its GRN scope is the one of pretraining, `batch` as published."""

    decoder: DecoderConfig = field(default_factory=DecoderConfig)
    """The decoders."""

    tasks: tuple[str, ...]
    """Names of the pretext tasks, in the order of the table."""

    weighting: Weighting = "uncertainty"
    """How their losses are put together."""

    normalise_patches: bool = True
    """Whether the Sentinel-2 target is normalised patch by patch."""

    missing_as_mean: bool = False
    """Count missing continuous pixels as 0, the mean, as the published code does."""

    def channels(self, task: str) -> int:
        """Return the channels or classes of a task."""
        return self.encoder.bands if task == INPUT else TASKS[task].width


class MpMae(nn.Module):
    """MP-MAE of the MMEarth paper, section 4.

    `forward` gives errors as sums and counts, not means, so that several processes
    can divide by what all of them saw.
    """

    def __init__(self, config: MpMaeConfig, *, backend: BackendName = "sites") -> None:
        """Build with the initial weights of ConvNeXt V2.

        Args:
            config: What is computed.
            backend: How the encoder computes it.

        """
        super().__init__()
        self.config = config
        self.tasks = tuple(TASKS[name] for name in config.tasks)
        self.encode = open_backend(backend)
        self.encoder = Encoder(config.encoder)
        self.decoder = Decoder(
            config.decoder,
            tasks=self.tasks,
            channels={name: config.channels(name) for name in config.tasks},
            encoder_width=config.encoder.size.dims[-1],
            patch_px=config.encoder.patch_px,
        )
        self.weights = TaskWeights(len(self.tasks), config.weighting)
        self.apply(_initialise)
        nn.init.normal_(self.decoder.mask_token, std=INITIAL_STD)

    def forward(
        self, x_NBHW: Tensor, targets: Mapping[str, Tensor], mask: Mask
    ) -> tuple[Tensor, Tensor]:
        """Return the summed error and the number of errors of each task, `(T,)` each.

        Args:
            x_NBHW: Standardised pixels, missing ones 0.
            targets: A task: `(N, C, H, W)` or `(N, C)`, standardised, NaN where
                missing; `(N, H, W)` or `(N,)` class numbers, -1 where missing.
            mask: What the encoder sees.

        """
        predictions = self.predict(x_NBHW, mask)
        totals, counts = [], []
        for task in self.tasks:
            target = self.target(task.name, targets[task.name], mask)
            total, count = task_error(task, predictions[task.name], target)
            totals.append(total)
            counts.append(count)
        return torch.stack(totals), torch.stack(counts)

    def predict(self, x_NBHW: Tensor, mask: Mask) -> dict[str, Tensor]:
        """Return the predictions of all tasks; see `Decoder.forward`."""
        predictions: dict[str, Tensor] = self.decoder(
            self.encode(self.encoder, x_NBHW, mask), mask
        )
        return predictions

    def target(self, name: str, target: Tensor, mask: Mask) -> Tensor:
        """Return a target in the shape of its prediction."""
        task = TASKS[name]
        if task.level == "image":
            return target
        if self.config.missing_as_mean and task.kind == "continuous":
            target = torch.nan_to_num(target, nan=0.0)
        return hidden_target(
            task,
            target,
            mask,
            patch_px=self.config.encoder.patch_px,
            normalise=self.config.normalise_patches and name == INPUT,
        )

    def encoded_map(self, x_NBHW: Tensor, mask: Mask) -> Tensor:
        """Return the last stage as a map, `(N, D, h, w)`, 0 at hidden patches."""
        return to_map(self.encode(self.encoder, x_NBHW, mask), mask)


def _initialise(module: nn.Module) -> None:
    """Draw weights from a truncated normal, set biases to 0 (ConvNeXt V2)."""
    if isinstance(module, nn.Linear | nn.Conv2d):
        nn.init.trunc_normal_(module.weight, std=INITIAL_STD)
        if module.bias is not None:
            nn.init.zeros_(module.bias)
