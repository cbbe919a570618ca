"""The tables of a recipe: data, looks at them, network, loss, optimiser.

Defaults are those of the paper.
"""

from __future__ import annotations

from typing import Literal

import msgspec
from msgspec import Struct

from mmearth_training.data.augment import Augment
from mmearth_training.losses import Weighting  # noqa: TC001 -- msgspec
from mmearth_training.model.decoder import Decoders, Pooling  # noqa: TC001 -- msgspec

Loader = Literal["workers", "resident"]
"""Processes that read tile by tile, or the whole data set on the device."""


class Part(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A table of a recipe; unknown keys are errors."""


class DataRecipe(Part, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which data are trained on."""

    release: str = ""
    """Release of MMEarth that it was made for, for the reader alone."""

    tile_px: int = 128
    """Side of a tile."""

    crop_px: int = 112
    """Side of the random crop, the same for every pixel-level modality."""

    looks: int = 1
    """How often an epoch looks at each tile, each time at another crop."""

    loader: Loader = "workers"
    """Whether processes read tiles, or all lie in the memory of the device."""


class AugmentRecipe(Part, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How samples differ from the plain crop of the paper, which is the default."""

    turn: bool = False
    """Flip and turn by quarters."""

    zoom: tuple[float, float] = (1.0, 1.0)
    """Least and largest side of what is looked at, in sides of a crop."""

    gain: float = 0.0
    """Standard deviation of the logarithm of a brightness common to all bands."""

    band_gain: float = 0.0
    """The same of each band by itself."""

    band_offset: float = 0.0
    """Standard deviation of what is added to a band, in those of its pixels."""

    def settings(self) -> Augment:
        """Return what makes samples so."""
        return Augment(**msgspec.structs.asdict(self))


class ModelRecipe(Part, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which network is trained, on which tasks."""

    size: str = "atto"
    """One of the sizes of ConvNeXt V2."""

    patch_px: int = 16
    """Side of a patch."""

    original_stem: bool = False
    """The strided stem of ImageNet instead of MMEarth's."""

    tasks: str | tuple[str, ...] = "all"
    """A model set (`all`, `pixel`, `image`, `s2`, `rgb`), or modalities by name."""

    mask_ratio: float = 0.6
    """Share of the patches that is hidden."""

    decoders: Decoders = "separate"
    """A decoder block a task (paper), or one for all (published weights)."""

    pooling: Pooling = "hidden"
    """What image-level tasks average: hidden patches (paper) or all (published)."""

    image_norm: bool = False
    """A LayerNorm before that average, as in the published code."""

    decoder_width: int = 512
    """Channels of the decoders."""

    grn_eps: float = 1e-6
    """Epsilon of the encoder's GRN, which takes its norm over the batch."""


class LossRecipe(Part, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What is minimised."""

    weighting: Weighting = "uncertainty"
    """How the losses of the tasks are put together."""

    normalise_patches: bool = True
    """Normalise the Sentinel-2 target patch by patch."""

    missing_as_mean: bool = False
    """Count missing continuous pixels as the mean, as the published code does."""


class OptimRecipe(Part, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How it is minimised: AdamW, linear warm-up, half a cosine to 0, by step."""

    epochs: int = 200
    """Passes over the training split."""

    warmup_epochs: float = 40.0
    """Epochs of rising learning rate."""

    batch: int = 4096
    """Samples a step of the optimiser, over all processes and accumulation."""

    micro_batch: int = 256
    """Samples that a process sees at once; GRN of pretraining pools over these."""

    base_lr: float = 1.5e-4
    """Learning rate for 256 samples a step; scaled in proportion."""

    weight_decay: float = 0.05
    """Of weights; biases, norms and GRN have none."""

    betas: tuple[float, float] = (0.9, 0.95)
    """Decay of AdamW's averages."""

    sync_grn: bool = False
    """Pool GRN over the processes too, so that two equal one with a joint batch."""
