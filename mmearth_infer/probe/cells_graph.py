"""The features of cells, from maps of several stages, as an ONNX graph.

It computes what `cells.features_of` does where every finer cell holds data, with
operators that OpenVINO and TensorRT run, too.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from onnx import helper, numpy_helper

if TYPE_CHECKING:
    from collections.abc import Sequence

    import onnx

    Finer = tuple[onnx.ValueInfoProto, int]
    """A map of a finer stage, and how many of its cells are a side of one."""


def read_stages(
    head: onnx.ModelProto, finer: Sequence[Finer], deepest: onnx.ValueInfoProto
) -> dict[str, str]:
    """Let a graph read a map of each stage in place of the map of all features.

    Args:
        head: The graph, with one input; it is changed.
        finer: Maps of finer stages, the finest first.
        deepest: That of the deepest stage.

    Returns:
        Names of the graph's inputs, by those of the maps.

    """
    graph = head.graph
    (features,) = graph.input
    source = features.name
    named = {
        one.name: f"{source}/{one.name}" for one in (*(m for m, _ in finer), deepest)
    }
    nodes, parts = [], []
    for given, factor in finer:
        name = named[given.name]
        nodes += _mean_and_deviation(name, factor)
        parts += [f"{name}/mean", f"{name}/deviation"]
        times = np.array([1, 1, factor, factor], np.float32)
        graph.initializer.append(numpy_helper.from_array(times, f"{name}/times"))
    parts.append(named[deepest.name])
    nodes += [helper.make_node("Concat", parts, [source], axis=1), *graph.node]
    del graph.node[:], graph.input[:]
    graph.node.extend(nodes)
    for given in (*(one for one, _ in finer), deepest):
        graph.input.append(given)
        graph.input[-1].name = named[given.name]
    return named


def _mean_and_deviation(name: str, factor: int) -> list[onnx.NodeProto]:
    """Return the nodes that make `NAME/mean` and `NAME/deviation` of a map."""
    side = [factor, factor]

    def mean(source: str, out: str) -> onnx.NodeProto:
        return helper.make_node(
            "AveragePool", [source], [out], kernel_shape=side, strides=side
        )

    return [
        mean(name, f"{name}/mean"),
        helper.make_node(
            "Resize",
            [f"{name}/mean", "", f"{name}/times"],
            [f"{name}/means"],
            mode="nearest",
            coordinate_transformation_mode="asymmetric",
            nearest_mode="floor",
        ),
        helper.make_node("Sub", [name, f"{name}/means"], [f"{name}/apart"]),
        helper.make_node("Mul", [f"{name}/apart"] * 2, [f"{name}/squares"]),
        mean(f"{name}/squares", f"{name}/variance"),
        helper.make_node("Sqrt", [f"{name}/variance"], [f"{name}/deviation"]),
    ]
