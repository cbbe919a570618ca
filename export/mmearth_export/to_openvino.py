"""An encoder in OpenVINO's own form: an `.xml` with the graph, a `.bin` beside it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import openvino

from mmearth_export.to_onnx import encoder_graph
from mmearth_infer.contract.manifest import METADATA_KEY, manifest_to_json

if TYPE_CHECKING:
    from pathlib import Path

    from mmearth_infer.contract.manifest import Manifest
    from mmearth_training.model.encoder import Encoder


class OpenvinoArtefact:
    """A graph converted by way of ONNX."""

    def __init__(self, encoder: Encoder, manifest: Manifest) -> None:
        """Convert an encoder."""
        graph = encoder_graph(encoder, manifest)
        self._model = openvino.Core().read_model(graph.SerializeToString())

    def write(self, manifest: Manifest, path: Path) -> None:
        """Write `.xml` and `.bin`, weights as they are."""
        self._model.set_rt_info(manifest_to_json(manifest), METADATA_KEY)
        openvino.save_model(self._model, path, compress_to_fp16=False)
