"""Weights kept in half precision, and widened where a runtime opens the file."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np
from onnx import TensorProto, helper, numpy_helper

from mmearth_infer.errors import ModelError

if TYPE_CHECKING:
    import onnx

LEAST_VALUES: Final = 256
"""Smaller tensors, such as biases and norms, stay in float32: they take no room."""

_MOST: Final = float(np.finfo(np.float16).max)


def halve_weights(model: onnx.ModelProto) -> None:
    """Keep the weights of a graph in float16, each with a cast to float32 behind it.

    Runtimes compute what is constant once, when they open a file: from then on it is
    the graph that it was.

    Args:
        model: In float32; it is changed.

    Raises:
        ModelError: If a weight is beyond what float16 holds.

    """
    casts = []
    for weight in model.graph.initializer:
        values = numpy_helper.to_array(weight)
        if weight.data_type != TensorProto.FLOAT or values.size < LEAST_VALUES:
            continue
        if np.abs(values).max() > _MOST:
            raise ModelError(
                f"the weight `{weight.name}` is beyond {_MOST:.0f}, the most of fp16",
                hint="leave --weights out",
            )
        name = weight.name
        weight.CopyFrom(
            numpy_helper.from_array(values.astype(np.float16), f"{name}.half")
        )
        casts.append(
            helper.make_node("Cast", [weight.name], [name], to=TensorProto.FLOAT)
        )
    for cast in reversed(casts):
        model.graph.node.insert(0, cast)
