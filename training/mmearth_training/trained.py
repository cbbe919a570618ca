"""Checkpoints of our own training: a folder of safetensors and `checkpoint.json`."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, Annotated, Final, Literal

import msgspec
from msgspec import Meta
from safetensors import SafetensorError
from safetensors.torch import load_file

from mmearth_infer.contract.bands import BANDS, ProductLevel
from mmearth_infer.contract.classes import MOST_CLASSES, MapClass
from mmearth_infer.contract.normalize import Statistics  # noqa: TC001 -- msgspec
from mmearth_infer.disk import sha256_of
from mmearth_infer.errors import ManifestError, ModelError
from mmearth_training.checkpoint import FACTS, FORMAT, MODEL, find_checkpoints
from mmearth_training.encoder_checkpoint import (
    EncoderCheckpoint,
    UnetCheckpoint,
    check_finite,
    check_shapes,
)
from mmearth_training.model.encoder import SIZES, EncoderConfig, Size

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from torch import Tensor

STEPS: Final = "checkpoints"
"""Folder of a run that holds its checkpoints."""

_ENCODER: Final = "encoder."
_DECODER: Final = "decoder."
_HINT_DAMAGED: Final = "copy the checkpoint again, or take another step of the run"
_HINT_VALID: Final = "give a checkpoint as the training run wrote it"

Count = Annotated[int, Meta(ge=1, le=100_000)]
"""A size or number of something; the bound keeps nonsense from taking memory."""

Depth = Annotated[int, Meta(ge=1, le=1000)]
"""Blocks of a stage; each is built before shapes are compared."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Format:
    """The one field that every version has."""

    format: int
    """Version of the structure."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _EncoderFacts:
    """The encoder as the checkpoint describes it."""

    size: str
    """Name of its size, or any other name for a shape of its own."""

    depths: tuple[Depth, Depth, Depth, Depth]
    """Blocks a stage."""

    dims: tuple[Count, Count, Count, Count]
    """Channels a stage."""

    bands: Annotated[tuple[str, ...], Meta(min_length=1)]
    """Input bands in order."""

    patch_px: int
    """Pixels a side of a cell of the last stage."""

    original_stem: bool
    """Whether the stem is ImageNet ConvNeXt's."""

    grn: Literal["window", "batch"]
    """What GRN took its norm over in training."""

    grn_eps: Annotated[float, Meta(gt=0)]
    """Epsilon of GRN in training."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _SegmentationFacts:
    """The classes as the checkpoint describes them."""

    classes: Annotated[
        tuple[MapClass, ...], Meta(min_length=2, max_length=MOST_CLASSES)
    ]
    """In the order of the logits."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _About:
    """What is read of `checkpoint.json`; other keys are passed over."""

    step: Annotated[int, Meta(ge=0)]
    """Optimiser steps done."""

    epoch: float
    """Passes over the training data done."""

    encoder: _EncoderFacts
    """The encoder."""

    crop_px: Count
    """Side of the training crops."""

    statistics: Annotated[dict[ProductLevel, Statistics], Meta(min_length=1)]
    """Input statistics of the training data, in the order of the bands."""

    statistics_source: str
    """Where they come from."""

    sha256: dict[str, str]
    """Digests by name of file."""

    facts: dict[str, str | int | float | bool] = field(default_factory=dict)
    """Plain settings of the run."""

    segmentation: _SegmentationFacts | None = None
    """What a fine-tuned model tells apart; None for an encoder."""


def load_trained(path: Path) -> EncoderCheckpoint:
    """Read a checkpoint of our own training: an encoder, or a `UnetCheckpoint`.

    Only JSON and safetensors are read, neither of which can hold code.

    Args:
        path: The folder of the checkpoint.

    Raises:
        ModelError: If a file is missing, damaged, of a later version, or if what
            they say does not fit together.

    """
    about_path, weights_path = path / FACTS, path / MODEL
    about = _read_about(about_path)
    config = _config(about, about_path)
    sha256 = _check_digest(weights_path, about.sha256.get(MODEL), about_path)
    weights = _read_weights(weights_path)
    state = _part(weights, _ENCODER)
    checkpoint = EncoderCheckpoint(
        name=f"{path.resolve().name}/{MODEL}",
        config=config,
        state=state,
        bands=about.encoder.bands,
        crop_px=about.crop_px,
        statistics=about.statistics,
        statistics_source=about.statistics_source,
        sha256=sha256,
        facts={**about.facts, "step": about.step, "epoch": about.epoch},
    )
    if about.segmentation is None:
        check_shapes(config, state, path=weights_path, hint=_HINT_VALID)
        check_finite(state, weights_path)
        return checkpoint
    classes = about.segmentation.classes
    check_shapes(
        config, weights, path=weights_path, hint=_HINT_VALID, classes=len(classes)
    )
    check_finite(weights, weights_path)
    return UnetCheckpoint(
        **{f.name: getattr(checkpoint, f.name) for f in fields(checkpoint)},
        decoder=_part(weights, _DECODER),
        classes=classes,
    )


def last_checkpoint(run: Path) -> Path:
    """Return the last complete checkpoint of a run, by the number of its step.

    Raises:
        ModelError: If the run has none.

    """
    complete = find_checkpoints(run / STEPS)
    if not complete:
        raise ModelError(
            f"the run `{run}` has no checkpoint yet",
            hint="wait until it has written one, or give another run",
        )
    return complete[max(complete)]


def _read_about(path: Path) -> _About:
    """Read and check `checkpoint.json`."""
    content = _read(path)
    try:
        version = msgspec.json.decode(content, type=_Format).format
    except (msgspec.DecodeError, RecursionError) as error:
        raise ModelError(
            f"`{path}` does not describe a checkpoint: {error}", hint=_HINT_VALID
        ) from error
    if not 1 <= version <= FORMAT:
        raise ModelError(
            f"`{path}` has format {version}; this version reads up to {FORMAT}",
            hint="upgrade with `pip install -U mmearth-infer`",
        )
    try:
        return msgspec.json.decode(content, type=_About)
    except (msgspec.DecodeError, ManifestError, RecursionError) as error:
        raise ModelError(f"`{path}` is not valid: {error}", hint=_HINT_VALID) from error


def _config(about: _About, path: Path) -> EncoderConfig:
    """Return the shape of the encoder; refuse what contradicts itself."""
    said = about.encoder
    unknown = [band for band in said.bands if band not in BANDS]
    if unknown:
        raise ModelError(
            f"`{path}` names the band `{unknown[0]}`, which Sentinel-2 has not",
            hint=f"it has {', '.join(BANDS)}",
        )
    if len(set(said.bands)) != len(said.bands):
        raise ModelError(
            f"`{path}` names a band twice: {', '.join(said.bands)}", hint=_HINT_VALID
        )
    for level, numbers in about.statistics.items():
        if len(numbers.mean) != len(said.bands):
            raise ModelError(
                f"`{path}` has {len(said.bands)} bands but statistics of "
                f"{len(numbers.mean)} for {level.upper()}",
                hint=_HINT_VALID,
            )
    size = Size(depths=said.depths, dims=said.dims)
    if SIZES.get(said.size, size) != size:
        raise ModelError(
            f"`{path}` says its size is `{said.size}`, which has other depths or dims",
            hint=_HINT_VALID,
        )
    return EncoderConfig(
        size=size,
        bands=len(said.bands),
        patch_px=said.patch_px,
        original_stem=said.original_stem,
        grn=said.grn,
        grn_eps=said.grn_eps,
    )


def _check_digest(path: Path, recorded: str | None, about_path: Path) -> str:
    """Return the digest of a file that is the one recorded."""
    if recorded is None:
        raise ModelError(
            f"`{about_path}` has no digest of `{path.name}`", hint=_HINT_VALID
        )
    try:
        sha256 = sha256_of(path)
    except OSError as error:
        raise _unreadable(path, error) from error
    if sha256 != recorded:
        raise ModelError(
            f"`{path}` is damaged: its SHA-256 is {sha256[:12]}..., "
            f"{recorded[:12]}... was written",
            hint=_HINT_DAMAGED,
        )
    return sha256


def _read_weights(path: Path) -> dict[str, Tensor]:
    """Return all weights."""
    try:
        return {key: value.float() for key, value in load_file(path).items()}
    except SafetensorError as error:
        raise ModelError(
            f"`{path}` is not a safetensors file: {error}", hint=_HINT_VALID
        ) from error


def _part(weights: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """Return the weights of one part by its own names."""
    return {
        key.removeprefix(prefix): value
        for key, value in weights.items()
        if key.startswith(prefix)
    }


def _read(path: Path) -> bytes:
    """Return the content of a file."""
    try:
        return path.read_bytes()
    except OSError as error:
        raise _unreadable(path, error) from error


def _unreadable(path: Path, error: OSError) -> ModelError:
    """Say that a file of a checkpoint cannot be read."""
    if isinstance(error, FileNotFoundError):
        return ModelError(
            f"the checkpoint `{path.parent}` lacks `{path.name}`", hint=_HINT_DAMAGED
        )
    return ModelError(f"cannot read `{path}`: {error.strerror}", hint=_HINT_DAMAGED)
