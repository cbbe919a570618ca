"""`mmearth probe fuse`: an encoder and a probe become one segmentation model.

Shapes: N tiles, C bands, H W pixels, D channels, K classes, h w cells.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Final

import numpy as np

from mmearth_infer.contract.manifest import (
    METADATA_KEY,
    Manifest,
    Output,
    manifest_to_json,
)
from mmearth_infer.contract.probe import LOGITS
from mmearth_infer.contract.verification import Compared, Verification
from mmearth_infer.disk import check_files, check_suffix, file_beside
from mmearth_infer.engine.compiled import CompiledModel
from mmearth_infer.engine.model import ModelFile, read_model
from mmearth_infer.engine.open import open_model
from mmearth_infer.errors import ModelError, VerificationError
from mmearth_infer.probe.cells import features_of
from mmearth_infer.probe.graph import fuse_graphs, to_bytes
from mmearth_infer.probe.probe_file import CPU, open_probe

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from mmearth_infer.contract.bands import ProductLevel
    from mmearth_infer.probe.probe_file import ProbeFile

TOLERANCE: Final = 1e-5
"""Largest difference to encoder and probe, over the largest logit."""

MOST_DISTANCE_BYTES: Final = 2**30
"""Distances of a tile's cells to labelled ones; a probe of neighbours holds them."""

WINDOW_PX: Final = 672
"""Side of the tile they are counted for, that of `mmearth segment`."""

BRIGHTEST_DN: Final = 6000
"""Largest digital number of the tiles that are compared."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FuseConfig:
    """A run of `mmearth probe fuse`."""

    model: Path
    """The encoder, an ONNX file."""

    probe: Path
    """The probe."""

    out: Path
    """Where the segmentation model goes."""

    name: str | None = None
    """What people call it; None for the encoder's name and the kind of probe."""

    allow_other_model: bool = False
    """Accept another encoder file than the probe was fitted on."""

    overwrite: bool = False
    """Replace a file that is there."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Fused:
    """What was fused."""

    model: str
    """The file."""

    name: str
    """Its name."""

    classes: tuple[str, ...]
    """What it tells apart."""

    stride_px: int
    """Pixels a side of a cell of its map."""

    max_relative: float
    """Largest difference to encoder and probe, over the largest logit."""

    def to_json(self) -> str:
        """Return it as one line."""
        return json.dumps(asdict(self))


def fuse(config: FuseConfig) -> Fused:
    """Join an encoder and a probe, and compare the result with the two.

    The encoder may be in any precision and have either form of GRN; its pixels,
    statistics and tiling stay as they are.

    Args:
        config: What to join, and where to write.

    Raises:
        MMEarthError: With a hint. Nothing is under the model's name, or what was there
            before.

    """
    check_suffix(config.model, (".onnx",), "a .onnx", option="--model")
    check_suffix(config.out, (".onnx",), "a .onnx")
    check_files([config.out], overwrite=config.overwrite)
    probe = open_probe(config.probe)
    encoder = open_model(config.model, engine="onnxruntime", device="cpu")
    manifest = encoder.file.manifest
    if manifest.task != "embedding":
        raise ModelError(
            f"`{config.model}` gives logits of classes, not embeddings",
            hint="fuse a probe with the encoder it was fitted on",
        )
    outputs = manifest.outputs_of(probe.manifest.stages)
    output = outputs[-1]
    digest = f"sha256:{encoder.file.digest}"
    probe.check_model(manifest.name, digest, allow_other=config.allow_other_model)
    probe.check_channels(2 * sum(o.channels for o in outputs[:-1]) + output.channels)
    _check_size(probe, output)
    graph = fuse_graphs(
        read_model(config.model),
        probe.content,
        output=output.name,
        finer=_factors(outputs),
    )
    fused = _manifest(manifest, outputs, encoder.file.digest, probe, config.name)
    content = to_bytes(graph, METADATA_KEY, manifest_to_json(fused))
    compared = _compare(encoder, outputs, probe, _opened(content, fused, config.out))
    fused = replace(fused, verification=compared)
    with file_beside(config.out) as aside:
        aside.write_bytes(to_bytes(graph, METADATA_KEY, manifest_to_json(fused)))
    return Fused(
        model=str(config.out),
        name=fused.name,
        classes=probe.manifest.names,
        stride_px=output.stride_px,
        max_relative=compared.max_relative,
    )


def _factors(outputs: Sequence[Output]) -> dict[str, int]:
    """Return how many cells of finer outputs are a side of one of the last.

    Raises:
        ModelError: If that is no whole number.

    """
    *finer, deepest = outputs
    for one in finer:
        if deepest.stride_px % one.stride_px:
            raise ModelError(
                f"cells of stage {one.stage} and {deepest.stage} have {one.stride_px} "
                f"and {deepest.stride_px} px a side, no whole multiple",
                hint="fit a probe on one stage",
            )
    return {one.name: deepest.stride_px // one.stride_px for one in finer}


def _check_size(probe: ProbeFile, output: Output) -> None:
    """Refuse neighbours for cells so fine that distances would fill the memory."""
    if probe.manifest.kind != "knn":
        return
    cells = (WINDOW_PX // output.stride_px) ** 2 * sum(probe.manifest.cells)
    if cells * 4 > MOST_DISTANCE_BYTES:
        raise ModelError(
            f"a tile of {WINDOW_PX} px would take {cells * 4 / 2**30:.1f} GiB of "
            "distances to labelled cells",
            hint="fuse a logistic probe, or fit this one with a smaller --max-cells",
        )


def _manifest(
    encoder: Manifest,
    outputs: Sequence[Output],
    digest: str,
    probe: ProbeFile,
    name: str | None,
) -> Manifest:
    """Return the manifest of the fused model."""
    logits = replace(
        outputs[-1],
        name=LOGITS,
        channels=len(probe.manifest.classes),
        receptive_radius_px=max(one.receptive_radius_px for one in outputs),
        int8_scale=None,
    )
    facts: dict[str, str | int | float | bool] = {
        **encoder.provenance.facts,
        "encoder_sha256": digest,
        "probe_sha256": probe.digest,
        "probe_kind": probe.manifest.kind,
    }
    if encoder.verification is not None:
        facts["encoder_max_relative"] = encoder.verification.max_relative
    return replace(
        encoder,
        name=name or f"{encoder.name}-{probe.manifest.kind}",
        task="segmentation",
        outputs=(logits,),
        classes=probe.manifest.classes,
        provenance=replace(encoder.provenance, facts=facts),
        verification=None,
    )


def _opened(content: bytes, manifest: Manifest, out: Path) -> CompiledModel:
    """Open the fused model from memory, as the engine opens files."""
    from mmearth_infer.engine.ort import OrtRuntime, providers_for  # noqa: PLC0415 -- an extra

    file = ModelFile(path=out, digest="", manifest=manifest)
    runtime = OrtRuntime(content, providers_for(CPU), threads=0)
    return CompiledModel(file=file, runtime=runtime, why=CPU.why)


def _compare(
    encoder: CompiledModel,
    outputs: Sequence[Output],
    probe: ProbeFile,
    fused: CompiledModel,
) -> Verification:
    """Run the fused model, and encoder and probe one after the other.

    Raises:
        VerificationError: If they differ by more than rounding.

    """
    manifest = encoder.file.manifest
    (logits,) = fused.file.manifest.outputs
    side = manifest.multiple_px * -(-manifest.training_crop_px // manifest.multiple_px)
    rows = []
    for level in manifest.statistics:
        for shape in ((2, side, side), (1, 2 * side, side)):
            dn_NCHW = _tiles(shape, len(manifest.bands))
            maps = encoder.engines(level=level, outputs=outputs)(dn_NCHW)
            features_NDhw = np.stack(
                [
                    features_of(finer, deepest_Dhw)
                    for *finer, deepest_Dhw in zip(*maps, strict=True)
                ]
            )
            cells_ND = np.moveaxis(features_NDhw, 1, -1).reshape(
                -1, probe.manifest.channels
            )
            found = fused.engine(level=level, output=logits)(dn_NCHW)
            found_NK = np.moveaxis(found, 1, -1).reshape(-1, logits.channels)
            rows.append(
                _compared(level, dn_NCHW.shape, found_NK, probe.logits(cells_ND))
            )
    report = Verification(
        reference="encoder and probe, one after the other, by ONNX Runtime",
        tolerance=TOLERANCE,
        compared=tuple(rows),
    )
    if not report.max_relative <= TOLERANCE:
        raise VerificationError(
            f"the fused model differs from encoder and probe by "
            f"{report.max_relative:.1e}, more than {TOLERANCE:.0e}",
            hint="fit the probe again, or report this with both files",
        )
    return report


def _tiles(shape: tuple[int, int, int], bands: int) -> NDArray[np.uint16]:
    """Return `dn_NCHW` drawn by chance, with a corner that holds no data."""
    tiles, height, width = shape
    rng = np.random.default_rng(0)
    dn_NCHW = rng.integers(
        1, BRIGHTEST_DN, (tiles, bands, height, width), dtype=np.uint16
    )
    dn_NCHW[:, :, : height // 3, : width // 2] = 0
    return dn_NCHW


def _compared(
    level: ProductLevel,
    shape: tuple[int, ...],
    found_NK: NDArray[np.float32],
    expected_NK: NDArray[np.float32],
) -> Compared:
    """Return how far logits are from those that are expected."""
    apart = np.abs(found_NK - expected_NK)
    size = np.abs(expected_NK)
    lengths = np.linalg.norm(found_NK, axis=1) * np.linalg.norm(expected_NK, axis=1)
    dot = (found_NK * expected_NK).sum(axis=1)
    cosine = np.where(lengths > 0, dot / np.maximum(lengths, 1e-30), 1.0)
    return Compared(
        output=LOGITS,
        level=level,
        shape=shape,
        max_relative=float(apart.max() / max(size.max(), 1e-30)),
        mean_relative=float(apart.mean() / max(size.mean(), 1e-30)),
        min_cosine=float(cosine.min()),
        p1_cosine=float(np.percentile(cosine, 1)),
    )
