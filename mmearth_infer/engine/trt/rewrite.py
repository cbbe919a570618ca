"""The graph as TensorRT can read it: digital numbers come as bytes.

TensorRT has no uint16. Its uint8 may be an input that is cast to float, so that the
two bytes of a number cross the bus as they are, and the graph puts them together:
exactly, since float32 holds every whole number below 2**24.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from mmearth_infer.contract.manifest import PIXELS_INPUT
from mmearth_infer.engine.runtime import RuntimeFailure

if TYPE_CHECKING:
    from numpy.typing import NDArray

BYTES_INPUT: Final = f"{PIXELS_INPUT}_bytes"
"""Name of the pixel input in such a graph: `(N, C, H, W, 2)` uint8, low byte first."""


def read_bytes(content: bytes) -> bytes:
    """Return an ONNX model whose pixel input is bytes.

    Args:
        content: The model, whose pixel input is uint16, cast to float32 and asked for
            its shape, and nothing else.

    Raises:
        RuntimeFailure: If it is no such model.

    """
    try:
        model = onnx.load_from_string(content)
    except Exception as error:  # its parser's own type comes from protobuf
        raise RuntimeFailure(error) from error
    graph = model.graph
    readers = [node for node in graph.node if PIXELS_INPUT in node.input]
    casts = [node for node in readers if _casts_to_float(node)]
    shapes = [node for node in readers if node.op_type == "Shape"]
    if len(casts) != 1 or len(casts) + len(shapes) != len(readers):
        raise RuntimeFailure(f"its graph does not cast `{PIXELS_INPUT}` to float32")
    (cast,) = casts
    for node in shapes:  # the float pixels have the shape the numbers had
        node.input[0] = cast.output[0]
    graph.node.remove(cast)
    weights = numpy_helper.from_array(
        np.array([1, 256], np.float32), f"{BYTES_INPUT}.weights"
    )
    axis = numpy_helper.from_array(np.array([-1], np.int64), f"{BYTES_INPUT}.axis")
    graph.initializer.extend([weights, axis])
    steps = [
        helper.make_node(
            "Cast", [BYTES_INPUT], [f"{BYTES_INPUT}.float"], to=TensorProto.FLOAT
        ),
        helper.make_node(
            "Mul", [f"{BYTES_INPUT}.float", weights.name], [f"{BYTES_INPUT}.weighted"]
        ),
        helper.make_node(
            "ReduceSum",
            [f"{BYTES_INPUT}.weighted", axis.name],
            list(cast.output),
            keepdims=0,
        ),
    ]
    for step in reversed(steps):
        graph.node.insert(0, step)
    pixels = next(value for value in graph.input if value.name == PIXELS_INPUT)
    pixels.name = BYTES_INPUT
    pixels.type.tensor_type.elem_type = TensorProto.UINT8
    pixels.type.tensor_type.shape.dim.add().dim_value = 2
    rewritten: bytes = model.SerializeToString()
    return rewritten


def as_bytes(dn_NCHW: NDArray[np.uint16]) -> NDArray[np.uint8]:
    """Return digital numbers as bytes, low byte first; copies nothing if it can."""
    whole = np.ascontiguousarray(dn_NCHW)
    if sys.byteorder == "big":
        whole = whole.byteswap()
    return whole.view(np.uint8).reshape(*dn_NCHW.shape, 2)


def _casts_to_float(node: Any) -> bool:  # noqa: ANN401 -- onnx has no types
    """Tell whether a node casts its input to float32."""
    return node.op_type == "Cast" and any(
        given.name == "to" and given.i == TensorProto.FLOAT for given in node.attribute
    )
