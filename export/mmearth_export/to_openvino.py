"""A network in OpenVINO's own form: an `.xml` with the graph, a `.bin` beside it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import openvino
import torch

from mmearth_export.to_onnx import precise_graph
from mmearth_infer.contract.manifest import METADATA_KEY, manifest_to_json
from mmearth_infer.engine.openvino import shared_core

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from mmearth_export.calibrate import Tile
    from mmearth_export.network import Network
    from mmearth_infer.contract.manifest import Manifest


class OpenvinoArtefact:
    """A graph converted by way of ONNX."""

    def __init__(
        self, network: Network, manifest: Manifest, tiles: Sequence[Tile]
    ) -> None:
        """Convert a network.

        The graph is in float32 or int8: what fp16 and bf16 are computed in OpenVINO
        decides when it compiles, as the manifest tells it.
        """
        graph = precise_graph(network, manifest, tiles, torch.float32)
        self._model = shared_core().read_model(graph.SerializeToString())

    def write(self, manifest: Manifest, path: Path) -> None:
        """Write `.xml` and `.bin`; weights take half the room unless all counts."""
        self._model.set_rt_info(manifest_to_json(manifest), METADATA_KEY)
        half = manifest.precision in {"fp16", "bf16"}
        openvino.save_model(self._model, path, compress_to_fp16=half)
