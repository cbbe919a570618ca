"""AdamW with layer decay: the nearer the pixels, the less a layer moves."""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch.optim import AdamW

from mmearth_training.optim import BASE_BATCH

if TYPE_CHECKING:
    from collections.abc import Iterator

    from torch import nn

    from mmearth_training.finetune.recipe import OptimRecipe
    from mmearth_training.model.unet import Unet


def layers_of(unet: Unet) -> Iterator[tuple[int, nn.Parameter]]:
    """Yield each parameter of a U-Net with how many layers lie between it and the end.

    0 for the decoder, then one for each block of the encoder from the last to the
    first, its downsampling with the first block of a stage, and one for the stem.
    """
    for parameter in unet.decoder.parameters():
        yield 0, parameter
    encoder = unet.encoder
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


def build_optimizer(unet: Unet, optim: OptimRecipe) -> AdamW:
    """Return AdamW for all weights of a U-Net, those that are frozen now included.

    Weights with one axis (biases, norms, GRN) have no weight decay.
    """
    peak = optim.base_lr * optim.batch / BASE_BATCH
    groups: dict[tuple[int, bool], list[nn.Parameter]] = {}
    for distance, parameter in layers_of(unet):
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
