"""AdamW with layer decay: the nearer the pixels, the less a layer moves."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from torch.optim import AdamW

from mmearth_training.optim import BASE_BATCH

if TYPE_CHECKING:
    from collections.abc import Iterator

    from torch import nn

    from mmearth_training.finetune.recipe import OptimRecipe
    from mmearth_training.model.encoder import Encoder


class Tuned(Protocol):
    """An encoder and what comes behind it: a `Unet`, a `Classifier`."""

    @property
    def encoder(self) -> Encoder:
        """What was pretrained."""
        ...

    @property
    def decoder(self) -> nn.Module:
        """What was not."""
        ...


def layers_of(model: Tuned) -> Iterator[tuple[int, nn.Parameter]]:
    """Yield each parameter of a model with how many layers lie between it and the end.

    0 for the decoder, then one for each block of the encoder from the last to the
    first, its downsampling with the first block of a stage, and one for the stem.
    """
    for parameter in model.decoder.parameters():
        yield 0, parameter
    encoder = model.encoder
    distance = 0
    for stage, blocks in reversed([*enumerate(encoder.blocks())]):
        for block in reversed(blocks):
            distance += 1
            for parameter in block.parameters():
                yield distance, parameter
        for layer in encoder.downsample(stage) if stage else ():
            for parameter in layer.parameters():
                yield distance, parameter
    for stem in (encoder.initial_conv, encoder.stem):
        for parameter in stem.parameters() if stem is not None else ():
            yield distance + 1, parameter


def build_optimizer(model: Tuned, optim: OptimRecipe) -> AdamW:
    """Return AdamW for all weights of a model, those that are frozen now included.

    Weights with one axis (biases, norms, GRN) have no weight decay.
    """
    peak = optim.base_lr * optim.batch / BASE_BATCH
    groups: dict[tuple[int, bool], list[nn.Parameter]] = {}
    for distance, parameter in layers_of(model):
        groups.setdefault((distance, parameter.ndim > 1), []).append(parameter)
    return AdamW(
        [
            {
                "params": parameters,
                "lr": peak * optim.layer_decay**distance,
                "weight_decay": optim.weight_decay if decays else 0.0,
            }
            for (distance, decays), parameters in groups.items()
        ],
        lr=peak,
        betas=optim.betas,
        fused=True,
    )
