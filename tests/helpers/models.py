"""Models that stand in for a trained encoder where a test is not about it.

The echo model gives the mean of each cell's pixels, so that its store can be computed
by hand; `UNTRAINED` is a small network of random weights (`untrained.py`).
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Final

import onnx
from onnx import TensorProto, helper

from mmearth_infer.contract.bands import MMEARTH_BANDS
from mmearth_infer.contract.classes import MapClass
from mmearth_infer.contract.manifest import (
    MEAN_INPUT,
    METADATA_KEY,
    PIXELS_INPUT,
    STD_INPUT,
    Architecture,
    Grn,
    Manifest,
    Output,
    Provenance,
    manifest_to_json,
)
from mmearth_infer.contract.normalize import Statistics

if TYPE_CHECKING:
    from collections.abc import Sequence

UNTRAINED: Final = Path(__file__).with_name("untrained.onnx")
"""A small encoder that has learned nothing, run in tests where no model is named."""


def echo_manifest(
    *, bands: Sequence[str] = MMEARTH_BANDS, stride_px: int = 16, stage: int = 4
) -> Manifest:
    """Return the manifest of the echo model; statistics leave pixels as they are."""
    same = Statistics(mean=(0.0,) * len(bands), std=(1.0,) * len(bands))
    return Manifest(
        name="echo",
        task="embedding",
        bands=tuple(bands),
        statistics={"l1c": same, "l2a": same},
        outputs=(
            Output(
                name=f"stage{stage}",
                stage=stage,
                stride_px=stride_px,
                channels=len(bands),
                receptive_radius_px=0,
            ),
        ),
        architecture=Architecture(
            size="custom",
            depths=(0, 0, 0, 0),
            dims=(1, 1, 1, len(bands)),
            patch_px=stride_px,
            original_stem=False,
            geometry="padded",
        ),
        grn=Grn(scope="frozen", eps=1e-6, source="there is none"),
        training_crop_px=7 * stride_px,
        multiple_px=stride_px,
        precision="fp32",
        provenance=Provenance(trained=True, checkpoint="none"),
    )


def classes_manifest(*, stride_px: int = 4) -> Manifest:
    """Return the manifest of an echo model whose bands are logits of classes."""
    echo = echo_manifest(stride_px=stride_px)
    (output,) = echo.outputs
    names = [f"brightest in {band}" for band in echo.bands]
    return replace(
        echo,
        name="brightest",
        task="segmentation",
        outputs=(replace(output, name="logits"),),
        classes=tuple(
            MapClass(name=name, rgb=(n, 20 * n, 255 - n))
            for n, name in enumerate(names)
        ),
    )


def two_stage_manifest() -> Manifest:
    """Return the manifest of an echo model that gives stage 2 and stage 4."""
    coarse = echo_manifest()
    (four,) = coarse.outputs
    two = replace(four, name="stage2", stage=2, stride_px=4)
    return replace(coarse, outputs=(two, four))


def write_echo_model(
    path: Path,
    manifest: Manifest | None = None,
    *,
    manifest_text: str | None = None,
    with_manifest: bool = True,
) -> Path:
    """Write the echo model, with any text in place of its manifest."""
    manifest = manifest or echo_manifest()
    bands = len(manifest.bands)
    nodes = [
        helper.make_node("Cast", [PIXELS_INPUT], ["x"], to=TensorProto.FLOAT),
        helper.make_node("Unsqueeze", [MEAN_INPUT, "axes"], ["m"]),
        helper.make_node("Unsqueeze", [STD_INPUT, "axes"], ["s"]),
        helper.make_node("Sub", ["x", "m"], ["centred"]),
        helper.make_node("Div", ["centred", "s"], ["standard"]),
        *(
            helper.make_node(
                "AveragePool",
                ["standard"],
                [out.name],
                kernel_shape=[out.stride_px, out.stride_px],
                strides=[out.stride_px, out.stride_px],
            )
            for out in manifest.outputs
        ),
    ]
    shape = ["batch", bands, "height", "width"]
    graph = helper.make_graph(
        nodes,
        "echo",
        [
            helper.make_tensor_value_info(PIXELS_INPUT, TensorProto.UINT16, shape),
            helper.make_tensor_value_info(MEAN_INPUT, TensorProto.FLOAT, [bands]),
            helper.make_tensor_value_info(STD_INPUT, TensorProto.FLOAT, [bands]),
        ],
        [
            helper.make_tensor_value_info(out.name, TensorProto.FLOAT, None)
            for out in manifest.outputs
        ],
        [helper.make_tensor("axes", TensorProto.INT64, [2], [1, 2])],
    )
    model = helper.make_model(
        graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10
    )
    if with_manifest:
        text = manifest_text or manifest_to_json(manifest)
        helper.set_model_props(model, {METADATA_KEY: text})
    onnx.save(model, path)
    return path


def newer_manifest_text() -> str:
    """Return a manifest of a schema that does not exist yet."""
    return manifest_to_json(replace(echo_manifest(), schema=99))
