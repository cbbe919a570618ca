"""The gate: a compiled model is held against eager PyTorch before it is kept.

Checked in this order, because each makes sense only after the one before: names,
axes, shapes, values. Values are compared on digital numbers of the demo scene, with
its nodata corner, at two sizes and batch sizes and for every product level.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np
import torch

from mmearth_export.network import eager_maps
from mmearth_export.precision import Tolerance, tolerance_of
from mmearth_export.wrapper import standardise
from mmearth_infer.contract.bands import L2A_BANDS
from mmearth_infer.contract.manifest import MEAN_INPUT, PIXELS_INPUT, STD_INPUT
from mmearth_infer.contract.verification import Compared, Verification
from mmearth_infer.errors import VerificationError
from mmearth_infer.read.demo import demo_dn

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from mmearth_export.network import Network
    from mmearth_infer.contract.bands import ProductLevel
    from mmearth_infer.contract.manifest import Manifest, Output
    from mmearth_infer.engine.compiled import CompiledModel

_CASES: Final = ((2, 7, 7), (1, 14, 10))
"""Batch, rows and columns of the compared tiles, in multiples of the model's."""

_CORNERS: Final = ((560, 780), (180, 420), (700, 200))
"""Places in the demo scene, the first with a part of its nodata corner."""


def passed(row: Compared, allowed: Tolerance) -> bool:
    """Tell whether a difference is within a tolerance; NaN is not."""
    assert row.p1_cosine is not None
    near = row.max_relative <= allowed.max_relative
    return near and row.p1_cosine >= allowed.p1_cosine


def largest_case(manifest: Manifest) -> tuple[int, int, int]:
    """Return tiles, height and width that hold every batch that is compared."""
    tiles, rows, cols = (max(case[axis] for case in _CASES) for axis in range(3))
    return tiles, rows * manifest.multiple_px, cols * manifest.multiple_px


def verify(model: CompiledModel, network: Network, manifest: Manifest) -> Verification:
    """Compare a compiled model with the eager network it was made from.

    Args:
        model: The compiled model, opened by the engine that users run.
        network: The eager network.
        manifest: What the model promises.

    Returns:
        The report that goes into the manifest.

    Raises:
        VerificationError: With a table of every comparison, if anything differs.

    """
    _check_signature(model, manifest)
    allowed = tolerance_of(manifest)
    rows = list(_compare(model, network, manifest))
    if not all(passed(row, allowed) for row in rows):
        worst = max(rows, key=lambda row: np.nan_to_num(row.max_relative, nan=np.inf))
        raise VerificationError(
            f"output `{worst.output}` differs from eager PyTorch by "
            f"{worst.max_relative:.2g}, cosine {worst.p1_cosine:.6f} at the 1st "
            f"percentile; {_kind(manifest)} may by {allowed.max_relative:g}, "
            f"{allowed.p1_cosine:g}; nothing was written"
            f"\n{comparison_table(rows, allowed)}",
            hint="report this with the versions of torch and of the engine",
        )
    return Verification(
        reference=f"eager PyTorch {torch.__version__}, fp32",
        tolerance=allowed.max_relative,
        compared=tuple(rows),
    )


def _kind(manifest: Manifest) -> str:
    """Return what decides how far a model may be off, in words."""
    kept = f" of {manifest.weights} weights" if manifest.weights else ""
    return manifest.precision + kept


def comparison_table(rows: list[Compared], allowed: Tolerance) -> str:
    """Return comparisons as lines of text."""
    lines = [
        (
            f"{'output':8} {'level':5} {'pixels':>18} "
            f"{'max':>9} {'mean':>9} {'cosine 1%':>9}"
        )
    ]
    lines += [
        f"{row.output:8} {row.level:5} {'x'.join(map(str, row.shape)):>18} "
        f"{row.max_relative:9.2g} {row.mean_relative:9.2g} {row.p1_cosine:9.6f}"
        f"{'' if passed(row, allowed) else '  <- too far'}"
        for row in rows
    ]
    return "\n".join(lines)


def _check_signature(model: CompiledModel, manifest: Manifest) -> None:
    """Compare names and axes of inputs and outputs with the manifest."""
    bands = len(manifest.bands)
    promised = {
        PIXELS_INPUT: (None, bands, None, None),
        MEAN_INPUT: (bands,),
        STD_INPUT: (bands,),
        **{out.name: (None, out.channels, None, None) for out in manifest.outputs},
    }
    given = model.runtime.axes()
    if given is None:  # then shapes of what comes out have to do
        return
    for name in sorted({*promised, *given}):
        if promised.get(name) != given.get(name):
            raise VerificationError(
                f"`{name}` has the axes {given.get(name)} in the exported graph, "
                f"{promised.get(name)} were meant (None is open)",
                hint="report this with the versions of torch and of the engine",
            )


def _compare(
    model: CompiledModel, network: Network, manifest: Manifest
) -> Iterator[Compared]:
    """Run both on the same pixels, for every level, size and output."""
    for level, statistics in manifest.statistics.items():
        mean_C = torch.tensor(statistics.mean, dtype=torch.float32)
        std_C = torch.tensor(statistics.std, dtype=torch.float32)
        for case in _CASES:
            dn_NCHW = sample_dn(manifest, case)
            with torch.inference_mode():
                x_NCHW = standardise(torch.from_numpy(dn_NCHW), mean_C, std_C)
                maps = eager_maps(network, x_NCHW, manifest)
            for out, expected in zip(manifest.outputs, maps, strict=True):
                found = model.engine(level=level, output=out)(dn_NCHW)
                yield _compare_maps(
                    out,
                    level,
                    dn_NCHW.shape,
                    found,
                    expected.numpy(),
                    as_shares=manifest.task == "segmentation",
                )


def _compare_maps(  # noqa: PLR0913 -- two maps, and what they are of
    out: Output,
    level: ProductLevel,
    shape: tuple[int, ...],
    features_NDhw: NDArray[np.float32],
    expected_NDhw: NDArray[np.float32],
    *,
    as_shares: bool,
) -> Compared:
    """Compare two maps; different shapes are an error of their own.

    Where classes are equally likely logits are nearly 0 and have no direction: with
    `as_shares` the cosine is that of the probabilities.
    """
    if features_NDhw.shape != expected_NDhw.shape:
        raise VerificationError(
            f"output `{out.name}` has the shape {features_NDhw.shape}, "
            f"eager PyTorch gives {expected_NDhw.shape}"
        )
    apart = np.abs(features_NDhw - expected_NDhw)
    size = np.abs(expected_NDhw)
    ours, theirs = features_NDhw, expected_NDhw
    if as_shares:
        ours, theirs = _softmax(ours), _softmax(theirs)
    dot = (ours * theirs).sum(axis=1)
    cosine = dot / (np.linalg.norm(ours, axis=1) * np.linalg.norm(theirs, axis=1))
    return Compared(
        output=out.name,
        level=level,
        shape=shape,
        max_relative=float(apart.max() / size.max()),
        mean_relative=float(apart.mean() / size.mean()),
        min_cosine=float(cosine.min()),
        p1_cosine=float(np.percentile(cosine, 1)),
    )


def _softmax(logits_NKhw: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the probabilities of classes."""
    shares = np.exp(logits_NKhw - logits_NKhw.max(axis=1, keepdims=True))
    result: NDArray[np.float32] = shares / shares.sum(axis=1, keepdims=True)
    return result


def sample_dn(manifest: Manifest, case: tuple[int, int, int]) -> NDArray[np.uint16]:
    """Return `dn_NCHW` out of the demo scene, bands in the order of a model.

    Args:
        manifest: Names the bands and what tiles are multiples of.
        case: Batch, rows and columns, the latter in multiples.

    """
    batch, rows, cols = case
    height, width = rows * manifest.multiple_px, cols * manifest.multiple_px
    scene = demo_dn()
    # The demo scene is L2A; for a model that reads B10, B1 stands in.
    order = [L2A_BANDS.index(b) if b in L2A_BANDS else 0 for b in manifest.bands]
    lowest, rightmost = scene.shape[1] - height, scene.shape[2] - width
    corners = [(min(r, lowest), min(c, rightmost)) for r, c in _CORNERS[:batch]]
    return np.stack(
        [scene[order, row : row + height, col : col + width] for row, col in corners]
    )
