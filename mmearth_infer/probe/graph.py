"""Probes as ONNX graphs, alone and behind an encoder.

skl2onnx writes operators of `ai.onnx.ml` and gives labels and dictionaries; OpenVINO
and TensorRT know none of these operators. The few that are needed here belong to ONNX
itself, so that a fused model runs wherever an encoder does.

Shapes: N cells or tiles, D channels, K classes, M labelled cells, h w cells.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np
import onnx
from onnx import TensorProto, compose, helper, numpy_helper, version_converter

from mmearth_infer.contract.probe import FEATURES, LOGITS
from mmearth_infer.errors import ModelError
from mmearth_infer.probe.cells_graph import read_stages

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

OPSET: Final = 20
"""As exported encoders have."""

IR_VERSION: Final = 10
"""As exported encoders have; ONNX Runtime knows it since 1.18."""

_HEAD: Final = "probe/"


def linear_graph(
    mean_D: NDArray[np.float64],
    scale_D: NDArray[np.float64],
    weight_KD: NDArray[np.float64],
    bias_K: NDArray[np.float64],
) -> onnx.ModelProto:
    """Return the graph of `(features - mean) / scale @ weight.T + bias`."""
    nodes = [
        helper.make_node("Sub", [FEATURES, "mean"], ["centred"]),
        helper.make_node("Div", ["centred", "scale"], ["standard"]),
        helper.make_node("Gemm", ["standard", "weight", "bias"], [LOGITS], transB=1),
    ]
    arrays = {"mean": mean_D, "scale": scale_D, "weight": weight_KD, "bias": bias_K}
    return _model(nodes, arrays, channels=len(mean_D), classes=len(bias_K))


def nearest_graph(  # noqa: PLR0913, PLR0917 -- what it holds
    mean_D: NDArray[np.float64],
    scale_D: NDArray[np.float64],
    cells_MD: NDArray[np.float32],
    class_M: NDArray[np.int64],
    classes: int,
    neighbours: int,
    floor: float,
) -> onnx.ModelProto:
    """Return the graph of the logarithm of the classes' shares of the neighbours.

    Args:
        mean_D: Mean of the features.
        scale_D: Their scale.
        cells_MD: Labelled cells, standardised.
        class_M: Class of each.
        classes: K.
        neighbours: How many vote.
        floor: Least share, whose logarithm exists.

    """
    nodes = [
        helper.make_node("Sub", [FEATURES, "mean"], ["centred"]),
        helper.make_node("Div", ["centred", "scale"], ["standard"]),
        # squared distances, less the square of the cell itself
        helper.make_node("Gemm", ["standard", "minus_twice", "squares"], ["apart"]),
        helper.make_node("TopK", ["apart", "k"], ["_least", "who"], largest=0),
        helper.make_node("Gather", ["votes", "who"], ["voted"]),
        helper.make_node("ReduceSum", ["voted", "axis"], ["sum"], keepdims=0),
        helper.make_node("Cast", ["sum"], ["count"], to=TensorProto.INT64),
        # looked up: computed, equal shares would differ in the last bit
        helper.make_node("Gather", ["logs", "count"], [LOGITS]),
    ]
    wide_MD = cells_MD.astype(np.float64)
    arrays = {
        "mean": mean_D,
        "scale": scale_D,
        "minus_twice": -2 * wide_MD.T,
        "squares": (wide_MD**2).sum(axis=1),
        "k": np.array([neighbours], np.int64),
        "votes": np.eye(classes)[class_M],
        "axis": np.array([1], np.int64),
        "logs": np.log(np.maximum(np.arange(neighbours + 1) / neighbours, floor)),
    }
    return _model(nodes, arrays, channels=len(mean_D), classes=classes)


def to_bytes(model: onnx.ModelProto, key: str, manifest: str) -> bytes:
    """Return a model as a file holds it, with a manifest in its metadata."""
    del model.metadata_props[:]
    helper.set_model_props(model, {key: manifest})
    content: bytes = model.SerializeToString()
    return content


def fuse_graphs(
    encoder: bytes, probe: bytes, *, output: str, finer: Mapping[str, int]
) -> onnx.ModelProto:
    """Return an encoder and a probe as one graph with one output, `logits`.

    Every cell of the encoder's map `(N, D, h, w)` becomes a row of features, and the
    rows of logits a map `(N, K, h, w)`.

    Args:
        encoder: The encoder's file.
        probe: The probe's file.
        output: Name of the encoder's output whose cells the probe reads.
        finer: Names of outputs that it reads inside the cells, the finest first, and
            how many of their cells are a side of one.

    Raises:
        ModelError: If they cannot be joined.

    """
    try:
        body, head = onnx.load_from_string(encoder), onnx.load_from_string(probe)
        opset = next(
            o.version for o in body.opset_import if o.domain in {"", "ai.onnx"}
        )
        (given,) = (o.version for o in head.opset_import if o.domain in {"", "ai.onnx"})
        if given != opset:
            head = version_converter.convert_version(head, opset)
        head.ir_version = body.ir_version
        maps = {
            o.name: o
            for o in body.graph.output
            if o.type.tensor_type.elem_type == TensorProto.FLOAT
        }
        head = _on_maps(head, maps[output])
        inputs = {output: f"{_HEAD}map"}
        if finer:
            inside = [(maps[name], factor) for name, factor in finer.items()]
            inputs = read_stages(head, inside, maps[output])
        fused = compose.merge_models(
            body, head, io_map=list(inputs.items()), outputs=[LOGITS]
        )
    except Exception as error:  # parser, checker and converter have types of their own
        raise ModelError(
            f"encoder and probe cannot be joined: {str(error).strip().splitlines()[0]}",
            hint="export the encoder and fit the probe again with this version",
        ) from error
    fused.graph.name = "encoder and probe"
    fused.doc_string = fused.graph.doc_string = ""
    fused.producer_name = fused.producer_version = ""
    return fused


def _on_maps(
    head: onnx.ModelProto, features_map: onnx.ValueInfoProto
) -> onnx.ModelProto:
    """Return a probe's graph that reads maps in place of rows."""
    head = compose.add_prefix(head, _HEAD)
    graph = head.graph
    (rows,), (scores,) = graph.input, graph.output
    channels = rows.type.tensor_type.shape.dim[1].dim_value
    classes = scores.type.tensor_type.shape.dim[1].dim_value
    source, name = f"{_HEAD}map", _HEAD.__add__
    before = [
        helper.make_node("Transpose", [source], [name("last")], perm=[0, 2, 3, 1]),
        helper.make_node("Shape", [name("last")], [name("places")], end=3),
        helper.make_node("Reshape", [name("last"), name("flat")], [rows.name]),
    ]
    after = [
        helper.make_node(
            "Concat", [name("places"), name("classes")], [name("wide")], axis=0
        ),
        helper.make_node("Reshape", [scores.name, name("wide")], [name("map_last")]),
        helper.make_node("Transpose", [name("map_last")], [LOGITS], perm=[0, 3, 1, 2]),
    ]
    nodes = [*before, *graph.node, *after]
    del graph.node[:], graph.input[:], graph.output[:]
    graph.node.extend(nodes)
    graph.initializer.extend(
        [
            numpy_helper.from_array(np.array([-1, channels]), name("flat")),
            numpy_helper.from_array(np.array([classes]), name("classes")),
        ]
    )
    given = features_map.type.tensor_type.shape.dim
    axes = [axis.dim_param or axis.dim_value or None for axis in given] or [None] * 4
    for values, value, depth in (
        (graph.input, source, channels),
        (graph.output, LOGITS, classes),
    ):
        shape = [axes[0], depth, *axes[2:]]
        values.append(helper.make_tensor_value_info(value, TensorProto.FLOAT, shape))
    return head


def _model(
    nodes: Sequence[onnx.NodeProto],
    arrays: Mapping[str, NDArray[np.float64] | NDArray[np.int64]],
    *,
    channels: int,
    classes: int,
) -> onnx.ModelProto:
    """Return a model from features to logits; real numbers become float32."""
    graph = helper.make_graph(
        list(nodes),
        "probe",
        [helper.make_tensor_value_info(FEATURES, TensorProto.FLOAT, ["N", channels])],
        [helper.make_tensor_value_info(LOGITS, TensorProto.FLOAT, ["N", classes])],
        [
            numpy_helper.from_array(
                np.asarray(a, a.dtype if a.dtype == np.int64 else np.float32), name
            )
            for name, a in arrays.items()
        ],
    )
    model = helper.make_model(
        graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION
    )
    onnx.checker.check_model(model)
    return model
