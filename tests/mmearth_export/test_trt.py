"""`mmearth export --format trt`: what it builds, as far as that shows without a GPU."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import onnx
import pytest
from onnx import TensorProto

from mmearth_export.to_trt import trt_graph
from mmearth_infer.engine.trt.rewrite import BYTES_INPUT, read_bytes
from mmearth_training.model.encoder import Size
from tests.helpers.export import calibrated, manifest_of
from tests.helpers.stand_in.cases import VERSIONS, needs_bindings, run_cases

if TYPE_CHECKING:
    from collections.abc import Callable

    from mmearth_infer.contract.manifest import Precision
    from tests.conftest import Ran

SMALL = Size(depths=(1, 1, 2, 1), dims=(8, 16, 24, 32))

PARSED = frozenset(
    {
        *("Add", "Div", "Mul", "Sub", "Greater", "Cast", "Conv", "MatMul", "Gelu"),
        *("LayerNormalization", "QuantizeLinear", "DequantizeLinear"),
        *("ReduceL2", "ReduceMax", "ReduceMean", "ReduceSum"),
        *("Concat", "Reshape", "Shape", "Squeeze", "Transpose", "Unsqueeze"),
    }
)
"""Operators that its ONNX parser knows, of those we need (onnx-tensorrt 10,
docs/operators.md)."""


@needs_bindings
@pytest.mark.parametrize("version", VERSIONS)
def test_export_and_gate(version: str, tmp_path: Path) -> None:
    run_cases(Path(__file__).with_name("trt_in_stand_in.py"), version, tmp_path)


@pytest.mark.parametrize("scope", ["window", "frozen"])
@pytest.mark.parametrize("precision", ["fp32", "fp16", "bf16", "int8"])
def test_graphs_are_what_the_parser_reads(precision: Precision, scope: str) -> None:
    """Types and operators; no tensor is uint16, and no activation unsigned int8."""
    if (precision, scope) == ("int8", "window"):
        return  # refused (test_formats.py)
    encoder, tiles = calibrated(SMALL, scope)
    promised = replace(manifest_of(encoder.config), precision=precision)
    model = onnx.load_from_string(read_bytes(trt_graph(encoder, promised, tiles)))
    onnx.checker.check_model(model, full_check=True)
    assert {node.op_type for node in model.graph.node} <= PARSED
    assert [given.name for given in model.graph.input] == [
        BYTES_INPUT,
        "band_mean",
        "band_std",
    ]
    types = {tensor.data_type for tensor in model.graph.initializer}
    wanted = {
        "fp32": TensorProto.FLOAT,
        "fp16": TensorProto.FLOAT16,
        "bf16": TensorProto.BFLOAT16,
        "int8": TensorProto.INT8,
    }
    assert wanted[precision] in types
    assert not types & {TensorProto.UINT8, TensorProto.UINT16}
    for output in model.graph.output:
        assert output.type.tensor_type.elem_type == TensorProto.FLOAT


def test_without_a_gpu(mmearth: Callable[..., Ran], tmp_path: Path) -> None:
    """It says so before it reads anything, and what to do instead."""
    ran = mmearth("export", "x.pth", "-o", tmp_path / "m.engine", "--format", "trt")
    assert ran.code == 1
    assert "--format trt" in ran.stderr
    assert "hint: " in ran.stderr
    assert not list(tmp_path.iterdir())
