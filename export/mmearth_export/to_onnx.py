"""A network as an ONNX file with its manifest inside."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import onnx
import torch
from torch.export import Dim

from mmearth_export.half import halve_weights
from mmearth_export.network import exportable
from mmearth_export.precision import KINDS
from mmearth_export.quiet import quiet
from mmearth_export.wrapper import example_inputs
from mmearth_infer.contract.manifest import (
    MEAN_INPUT,
    METADATA_KEY,
    PIXELS_INPUT,
    STD_INPUT,
    manifest_to_json,
)
from mmearth_infer.errors import ModelError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from mmearth_export.calibrate import Tile
    from mmearth_export.network import Network
    from mmearth_infer.contract.manifest import Manifest

OPSET: Final = 20
"""First with Gelu as an operator; ONNX Runtime knows it since 1.17."""

MAX_BYTES: Final = 2**31 - 2**24
"""What a protobuf message holds, less room for the graph itself."""


def precise_graph(
    network: Network,
    manifest: Manifest,
    tiles: Sequence[Tile],
    kind: torch.dtype,
    *,
    signed: bool = False,
) -> onnx.ModelProto:
    """Trace a network in the precision of its manifest.

    Args:
        network: With GRN scope `window` or `frozen`, in evaluation mode.
        manifest: Names outputs and precision.
        tiles: What ranges of int8 are measured on.
        kind: What the matrix products of the blocks are computed in.
        signed: Whether activations in int8 are signed, and zero is zero.

    """
    graph = network_graph(network, manifest, kind)
    if manifest.precision != "int8":
        return graph
    from mmearth_export.quantize import quantize  # noqa: PLC0415 -- slow to import

    return quantize(graph, tiles, signed=signed)


def network_graph(
    network: Network, manifest: Manifest, kind: torch.dtype = torch.float32
) -> onnx.ModelProto:
    """Trace a network into an ONNX model; batch, height and width stay open.

    Args:
        network: With GRN scope `window` or `frozen`, in evaluation mode.
        manifest: Names the outputs.
        kind: What the matrix products of the blocks are computed in.

    """
    names = [out.name for out in manifest.outputs]
    weight_bytes = sum(w.numel() * w.element_size() for w in network.parameters())
    if weight_bytes > MAX_BYTES:
        raise ModelError(
            f"the weights take {weight_bytes / 2**30:.1f} GiB, one ONNX file holds "
            f"{MAX_BYTES / 2**30:.1f} GiB",
            hint="export an encoder of a smaller size",
        )
    exported = exportable(network, manifest, kind)
    with quiet():
        program = torch.onnx.export(
            exported,
            example_inputs(manifest),
            dynamo=True,
            opset_version=OPSET,
            input_names=[PIXELS_INPUT, MEAN_INPUT, STD_INPUT],
            output_names=names,
            dynamic_shapes=(
                {0: Dim.DYNAMIC, 2: Dim.DYNAMIC, 3: Dim.DYNAMIC},
                None,
                None,
            ),
            verbose=False,
        )
    assert program is not None
    model = program.model_proto
    _name_axes(model)
    _strip(model)
    return model


class OnnxArtefact:
    """A graph, and where its manifest goes."""

    def __init__(
        self, network: Network, manifest: Manifest, tiles: Sequence[Tile]
    ) -> None:
        """Trace a network."""
        self._graph = precise_graph(network, manifest, tiles, KINDS[manifest.precision])
        if manifest.weights == "fp16":
            halve_weights(self._graph)

    def write(self, manifest: Manifest, path: Path) -> None:
        """Write one file, the manifest in its metadata."""
        write_onnx(self._graph, manifest, path)


def write_onnx(model: onnx.ModelProto, manifest: Manifest, path: Path) -> None:
    """Put the manifest into a model and write it as one file."""
    del model.metadata_props[:]
    onnx.helper.set_model_props(model, {METADATA_KEY: manifest_to_json(manifest)})
    onnx.save(model, path)


def _name_axes(model: onnx.ModelProto) -> None:
    """Call the open axes what they are, in place of the tracer's `s24`."""
    pixels = model.graph.input[0].type.tensor_type.shape.dim
    named = {
        pixels[axis].dim_param: name
        for axis, name in {0: "batch", 2: "height", 3: "width"}.items()
    }
    for value in (*model.graph.input, *model.graph.output):
        for dim in value.type.tensor_type.shape.dim:
            for symbol, name in named.items():
                if symbol in dim.dim_param:  # setting it would unset a fixed size
                    dim.dim_param = dim.dim_param.replace(symbol, name)


def _strip(model: onnx.ModelProto) -> None:
    """Drop what the exporter notes about the source: paths, stacks, shapes.

    They would carry the paths of the machine into every file, and differ between
    two exports of the same weights.
    """
    model.doc_string = model.graph.doc_string = ""
    model.graph.name = "encoder"
    del model.graph.metadata_props[:]
    del model.graph.value_info[:]
    for node in model.graph.node:
        node.doc_string = ""
        del node.metadata_props[:]
    for value in (
        *model.graph.input,
        *model.graph.output,
        *model.graph.initializer,
    ):
        value.doc_string = ""
        del value.metadata_props[:]
