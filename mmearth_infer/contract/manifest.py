"""The manifest: what a model file promises, as data.

It is JSON inside the model file (ONNX metadata key `mmearth.manifest`), and
everything the runtime needs to know about a model stands in it.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, Literal

import msgspec

from mmearth_infer.contract.bands import BANDS, ProductLevel
from mmearth_infer.contract.card import Card  # noqa: TC001 -- msgspec reads it
from mmearth_infer.contract.classes import MOST_CLASSES, MapClass
from mmearth_infer.contract.normalize import Statistics  # noqa: TC001 -- msgspec
from mmearth_infer.contract.verification import Verification  # noqa: TC001 -- likewise
from mmearth_infer.errors import ManifestError, ModelError

if TYPE_CHECKING:
    from collections.abc import Sequence

Precision = Literal["fp32", "fp16", "bf16", "int8"]
"""Arithmetic of a model's matrix products."""

Storage = Literal["fp16"]
"""What weights can be kept in that are computed with in fp32."""

GrnScope = Literal["window", "batch", "frozen"]
"""What the norm of GRN is taken over."""

Task = Literal["embedding", "segmentation"]
"""What a model's outputs mean: features, or logits of classes."""

SCHEMA: Final = 1
"""Version of the manifest this code writes, and the newest it reads."""

METADATA_KEY: Final = "mmearth.manifest"
"""Key of the manifest in the metadata of an ONNX file."""

PIXELS_INPUT: Final = "dn"
"""Name of the pixel input: `(N, C, H, W)` uint16 digital numbers."""

MEAN_INPUT: Final = "band_mean"
"""Name of the mean input: `(C,)` float32."""

STD_INPUT: Final = "band_std"
"""Name of the standard deviation input: `(C,)` float32."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Output:
    """One map a model gives, and how its cells lie on the pixels."""

    name: str
    """Name of the graph's output."""

    stage: int
    """Stage of the encoder it is taken from, 1 to 4."""

    stride_px: int
    """Pixels a side of a cell."""

    channels: int
    """Values a cell."""

    receptive_radius_px: int
    """Pixels beyond a cell that reach it through convolutions."""

    int8_scale: float | None = None
    """Embedding of 1 in int8, measured at export; None if it was not."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Architecture:
    """The network a model was made from."""

    size: str
    """Name of the ConvNeXt V2 size, or `custom`."""

    depths: tuple[int, ...]
    """Blocks a stage."""

    dims: tuple[int, ...]
    """Channels a stage."""

    patch_px: int
    """Pixels a side of a cell of the last stage."""

    original_stem: bool
    """Whether the stem is ImageNet ConvNeXt's single convolution."""

    geometry: str
    """Treatment of borders, `padded` or `published`."""

    family: str = "mp-mae/convnextv2"
    """What kind of network it is."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Grn:
    """How the model's global response normalisation behaves."""

    scope: GrnScope
    """What its norm is taken over."""

    eps: float
    """Its epsilon."""

    source: str | None = None
    """Where frozen statistics were measured; None when there are none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Provenance:
    """Where the weights come from."""

    trained: bool
    """False for weights that have learned nothing."""

    checkpoint: str
    """Name of the file the weights were read from, or how they were made."""

    checkpoint_sha256: str | None = None
    """Digest of that file."""

    code_version: str | None = None
    """Version of this package that made the model."""

    statistics: str | None = None
    """Where mean and standard deviation come from."""

    card: Card | None = None
    """What the weights have seen and are good for, where someone wrote it down."""

    facts: dict[str, str | int | float | bool] = field(default_factory=dict)
    """Settings of the training run that the checkpoint recorded."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """The contract between a model file and the runtime."""

    name: str
    """What people call the model."""

    task: Task
    """What its outputs mean."""

    bands: tuple[str, ...]
    """Bands it reads, in the order of its input."""

    statistics: dict[ProductLevel, Statistics]
    """Standardisation by product level; a level that is absent is refused."""

    outputs: tuple[Output, ...]
    """Maps it gives, in the order of the graph."""

    architecture: Architecture
    """The network it was made from."""

    grn: Grn
    """Behaviour of its global response normalisation."""

    training_crop_px: int
    """Side of the crops it was trained on."""

    multiple_px: int
    """Height and width of a tile must be multiples of this."""

    precision: Precision
    """Arithmetic of the matrix products; norms are taken in fp32 always."""

    provenance: Provenance
    """Where the weights come from."""

    weights: Storage | None = None
    """What weights are kept in; None where that is what they are computed with."""

    verification: Verification | None = None
    """Report of the comparison with eager PyTorch at export; None before it."""

    classes: tuple[MapClass, ...] = ()
    """Classes in the order of the logits; none for embeddings."""

    schema: int = SCHEMA
    """Version of this structure."""

    def __post_init__(self) -> None:
        """Check what the types cannot say.

        Raises:
            ManifestError: Naming the field and its value.

        """
        unknown = [band for band in self.bands if band not in BANDS]
        if unknown or len(set(self.bands)) != len(self.bands) or not self.bands:
            raise ManifestError(f"the manifest's bands are {', '.join(self.bands)}")
        if not self.statistics or not self.outputs:
            raise ManifestError("the manifest names no statistics or no outputs")
        for level, numbers in self.statistics.items():
            if len(numbers.mean) != len(self.bands):
                raise ManifestError(
                    f"the manifest has {len(self.bands)} bands "
                    f"but {len(numbers.mean)} statistics for {level.upper()}"
                )
        sizes = [self.training_crop_px, self.multiple_px]
        sizes += [n for out in self.outputs for n in (out.stride_px, out.channels)]
        if min(sizes) < 1:
            raise ManifestError(f"the manifest holds a size of {min(sizes)}")
        if any(self.multiple_px % out.stride_px for out in self.outputs):
            raise ManifestError(
                f"tiles are multiples of {self.multiple_px} px, "
                "which no whole number of cells fills"
            )
        self._check_classes()

    def _check_classes(self) -> None:
        """Check that classes and logits belong together.

        Raises:
            ManifestError: Naming what does not.

        """
        if self.task == "embedding":
            if self.classes:
                raise ManifestError("the manifest names classes of an embedding")
            return
        if len(self.outputs) != 1 or not (
            len(self.classes) == self.outputs[0].channels <= MOST_CLASSES
        ):
            raise ManifestError(
                f"the manifest names {len(self.classes)} classes for "
                f"{sum(out.channels for out in self.outputs)} logits"
            )

    def output(self, stage: int | None) -> Output:
        """Return the output of a stage, or the deepest one for None.

        Raises:
            ModelError: If the model does not give that stage.

        """
        return self.outputs_of([] if stage is None else [stage])[0]

    def outputs_of(self, stages: Sequence[int]) -> tuple[Output, ...]:
        """Return the outputs of stages, the coarsest last; the deepest for none.

        Raises:
            ModelError: If the model does not give one of them.

        """
        given = {out.stage: out for out in self.outputs}
        wanted = sorted(set(stages)) or [max(given)]
        missing = [str(stage) for stage in wanted if stage not in given]
        if missing:
            flags = " ".join(f"--stage {stage}" for stage in wanted)
            raise ModelError(
                f"model `{self.name}` does not give stage {', '.join(missing)}",
                hint=f"it gives stage {', '.join(map(str, given))}; export it with "
                f"`{flags}`",
            )
        return tuple(given[stage] for stage in wanted)

    def statistics_for(self, level: ProductLevel) -> Statistics:
        """Return the standardisation of a product level.

        Raises:
            ModelError: If the model has no statistics for it.

        """
        if level not in self.statistics:
            known = ", ".join(name.upper() for name in self.statistics)
            raise ModelError(
                f"model `{self.name}` has no statistics for {level.upper()}",
                hint=f"it knows {known} and would mistake other pixels; --product "
                "is for scenes that are one of these and do not say so",
            )
        return self.statistics[level]


def manifest_to_json(manifest: Manifest) -> str:
    """Write a manifest as indented JSON, fields in the order of the classes."""
    return msgspec.json.format(msgspec.json.encode(manifest), indent=1).decode()


def manifest_from_json(text: str, *, source: str) -> Manifest:
    """Read a manifest and check every field.

    Args:
        text: The JSON.
        source: Name of the file it stood in, for messages.

    Raises:
        ManifestError: For anything but a manifest this version can honour.

    """
    try:
        schema = json.loads(text)["schema"]
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        raise ManifestError(
            f"the manifest in `{source}` has no schema version",
            hint="export the model again with `mmearth export`",
        ) from error
    if type(schema) is not int or not 1 <= schema <= SCHEMA:
        raise ManifestError(
            f"the manifest in `{source}` has schema version {schema}; "
            f"this version reads up to {SCHEMA}",
            hint="upgrade with `pip install -U mmearth-infer`",
        )
    try:
        return msgspec.json.decode(text, type=Manifest)
    except msgspec.DecodeError as error:
        raise ManifestError(
            f"the manifest in `{source}` is not valid: {error}",
            hint="export the model again with `mmearth export`",
        ) from error
