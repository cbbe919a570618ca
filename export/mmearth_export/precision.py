"""Which precision a kind of model file can have, and how far it may be off.

Norms (LayerNorm, the one in GRN) are taken in fp32 always; it is the matrix products
of the blocks, nine tenths of the work, that have another precision.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, get_args

import torch

from mmearth_infer.contract.manifest import Precision, Storage
from mmearth_infer.errors import ModelError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from mmearth_export.formats import Format
    from mmearth_infer.contract.manifest import Manifest

PRECISIONS: Final[tuple[Precision, ...]] = get_args(Precision)

STORAGES: Final[tuple[Storage, ...]] = get_args(Storage)

SUPPORTED: Final[Mapping[Format, tuple[Precision, ...]]] = {
    "onnx": ("fp32", "fp16", "int8"),
    "openvino": ("fp32", "fp16", "bf16", "int8"),
    "pt2": ("fp32", "bf16"),
    "trt": ("fp32", "fp16", "bf16", "int8"),
}
"""What each kind can be verified in where it runs: ONNX Runtime has no bfloat16 on a
CPU, and PyTorch's compiler no int8 of a graph that was calibrated elsewhere."""

KINDS: Final[Mapping[Precision, torch.dtype]] = {
    "fp32": torch.float32,
    "fp16": torch.float16,
    "bf16": torch.bfloat16,
    "int8": torch.float32,
}
"""What weights are converted to in the graph; int8 is put in afterwards."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Tolerance:
    """How far a model may be from eager fp32 PyTorch."""

    max_relative: float
    """Largest difference over the largest value of a map."""

    p1_cosine: float
    """Least cosine similarity of a cell at the 1st percentile."""


TOLERANCES: Final[Mapping[Precision, Tolerance]] = {
    "fp32": Tolerance(max_relative=1e-5, p1_cosine=0.999999),
    "fp16": Tolerance(max_relative=5e-2, p1_cosine=0.999),
    "bf16": Tolerance(max_relative=1e-1, p1_cosine=0.999),
    "int8": Tolerance(max_relative=3e-1, p1_cosine=0.99),
}
"""The cosine decides for all but fp32; the difference catches what is plainly wrong."""


KEPT: Final[Mapping[Storage, Tolerance]] = {
    "fp16": Tolerance(max_relative=5e-3, p1_cosine=0.9999),
}
"""Likewise, for weights that are kept so and computed with in fp32."""


def tolerance_of(manifest: Manifest) -> Tolerance:
    """Return how far a model may be off, by what it computes with and keeps."""
    if manifest.weights is not None:
        return KEPT[manifest.weights]
    return TOLERANCES[manifest.precision]


def check_pair(
    kind: Format,
    precision: Precision,
    *,
    frozen: bool,
    weights: Storage | None = None,
) -> None:
    """Refuse a precision that a kind of file cannot have.

    Raises:
        ModelError: Naming both.

    """
    if weights is not None and (kind, precision) != ("onnx", "fp32"):
        raise ModelError(
            f"weights of {kind} models in {precision} are not kept in {weights}",
            hint=f"--weights {weights} is for --format onnx with --precision fp32",
        )
    if precision not in SUPPORTED[kind]:
        able = [name for name, those in SUPPORTED.items() if precision in those]
        raise ModelError(
            f"{kind} models are not made in {precision}",
            hint=f"--format {' or '.join(able)} has {precision}; {kind} has "
            f"{', '.join(SUPPORTED[kind])}",
        )
    if precision == "int8" and not frozen:
        raise ModelError(
            "int8 needs weights that stay as they are, window GRN changes them",
            hint="--grn frozen --calibrate SCENE",
        )
