"""The manifest of a probe: what it tells apart, and in whose embeddings.

It is JSON inside the probe's ONNX file, as a model's manifest is in the model's.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from itertools import pairwise
from typing import Final, Literal

import msgspec

from mmearth_infer.contract.classes import MOST_CLASSES, MapClass
from mmearth_infer.errors import ManifestError

ProbeKind = Literal["logistic", "ridge", "knn"]
"""How classes are told apart: two linear ways, and the nearest labelled cells."""

PROBE_KEY: Final = "mmearth.probe"
"""Key of the manifest in the metadata of a probe's file."""

FEATURES: Final = "features"
"""Name of the graph's input: `(N, D)` float32, embeddings as they are in a store."""

LOGITS: Final = "logits"
"""Name of the graph's output: `(N, K)` float32, and of a segmentation model's."""

PROBE_SCHEMA: Final = 2
"""Version of the manifest this code writes, and the newest it reads."""

SEVERAL_STAGES: Final = 2
"""First version that knows of finer stages."""

REFIT: Final = "make it again with `mmearth probe fit`"
"""What to do about a probe that is none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Score:
    """A figure of cross-validation, over all cells that were held out."""

    value: float
    """The figure."""

    low: float
    """Lower end of its 95 % interval."""

    high: float
    """Upper end."""

    folds: tuple[float, ...]
    """The figure in each fold alone."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Validation:
    """What cross-validation over blocks found."""

    folds: int
    """Parts that were held out, one after the other."""

    block_cells: int
    """Side of a block in cells; a block is in one part as a whole."""

    block_m: float
    """Side of a block in metres, about."""

    blocks: int
    """Blocks that hold a label."""

    scores: dict[str, Score]
    """`accuracy`, `mean_iou`, `macro_f1` and `kappa`."""

    iou: tuple[float, ...]
    """Intersection over union of each class."""

    confusion: tuple[tuple[int, ...], ...]
    """Cells by true class (row) and predicted class (column)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ProbeManifest:
    """What a probe promises."""

    kind: ProbeKind
    """How it tells classes apart."""

    classes: tuple[MapClass, ...]
    """Classes in the order of the logits."""

    cells: tuple[int, ...]
    """Cells of each class it was fitted on."""

    model_name: str
    """Name of the model whose embeddings it was fitted on."""

    model_digest: str
    """Digest of that model's file, `sha256:...`."""

    stage: int | None
    """Stage of the encoder whose cells it reads; None if the store did not say."""

    stride_px: int | None
    """Pixels a side of a cell; None likewise."""

    channels: int
    """D, values a cell, of all stages that are read."""

    settings: dict[str, str | int | float | bool]
    """What was chosen or given: strength of regularisation, neighbours, seed."""

    labels: tuple[str, ...]
    """Names of the files the labels came from."""

    stores: tuple[str, ...]
    """Names of the stores the cells came from."""

    code_version: str
    """Version of this package that fitted it."""

    validation: Validation | None = None
    """What cross-validation found; None if there was none."""

    finer_stages: tuple[int, ...] = ()
    """Stages it reads inside the cells by mean and deviation, ascending."""

    schema: int = PROBE_SCHEMA
    """Version of this structure."""

    def __post_init__(self) -> None:
        """Check what the types cannot say.

        Raises:
            ManifestError: Naming what does not fit.

        """
        count = len(self.classes)
        if not 2 <= count <= MOST_CLASSES or len(self.cells) != count:  # noqa: PLR2004
            raise ManifestError(
                f"the probe has {count} classes and cells of {len(self.cells)}"
            )
        if self.channels < 1:
            raise ManifestError(f"the probe reads {self.channels} channels")
        self._check_stages()

    def _check_stages(self) -> None:
        """Check that finer stages are finer, and their schema knows of them.

        Raises:
            ManifestError: Naming them.

        """
        finer = self.finer_stages
        if not finer:
            return
        named = ", ".join(map(str, finer))
        stages = (0, *self.stages)
        if not self.stages or any(one >= after for one, after in pairwise(stages)):
            raise ManifestError(
                f"the probe reads stage {named} inside cells of stage {self.stage}"
            )
        if self.schema < SEVERAL_STAGES:
            raise ManifestError(
                f"the probe reads stage {named}, unknown to its schema {self.schema}"
            )

    @property
    def stages(self) -> tuple[int, ...]:
        """Stages it reads, ascending; none if the store did not say."""
        return () if self.stage is None else (*self.finer_stages, self.stage)

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the classes, in the order of the logits."""
        return tuple(one.name for one in self.classes)


def probe_to_json(probe: ProbeManifest) -> str:
    """Write a probe's manifest as indented JSON."""
    return msgspec.json.format(msgspec.json.encode(probe), indent=1).decode()


def probe_from_json(text: str | None, *, source: str) -> ProbeManifest:
    """Read a probe's manifest and check every field.

    Args:
        text: The JSON; None where the file had none.
        source: Name of the file, for messages.

    Raises:
        ManifestError: For anything but a manifest this version can honour.

    """
    if text is None:
        raise ManifestError(
            f"`{source}` is not a probe: nothing in it says what it tells apart",
            hint="make one with `mmearth probe fit STORE --labels FILE -o PROBE.onnx`",
        )
    try:
        schema = json.loads(text)["schema"]
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        raise ManifestError(
            f"the probe `{source}` has no schema version", hint=REFIT
        ) from error
    if type(schema) is not int or not 1 <= schema <= PROBE_SCHEMA:
        raise ManifestError(
            f"the probe `{source}` has schema version {schema}; "
            f"this version reads up to {PROBE_SCHEMA}",
            hint="upgrade with `pip install -U mmearth-infer`",
        )
    try:
        return msgspec.json.decode(text, type=ProbeManifest)
    except msgspec.DecodeError as error:
        raise ManifestError(
            f"the manifest of the probe `{source}` is not valid: {error}", hint=REFIT
        ) from error
