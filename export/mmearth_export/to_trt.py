"""A network as an engine of TensorRT, built on the GPU that will run it."""

from __future__ import annotations

import hashlib
from importlib.util import find_spec
from typing import TYPE_CHECKING

from mmearth_export.precision import KINDS
from mmearth_export.to_onnx import precise_graph
from mmearth_export.verify import largest_case
from mmearth_infer.engine.cuda import Cuda, gpu_count
from mmearth_infer.engine.runtime import RuntimeFailure
from mmearth_infer.engine.trt.decide import Built, profile_for
from mmearth_infer.engine.trt.package import write_package
from mmearth_infer.engine.trt.rewrite import read_bytes
from mmearth_infer.errors import MissingExtraError, ModelError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from mmearth_export.calibrate import Tile
    from mmearth_export.formats import Tiles
    from mmearth_export.network import Network
    from mmearth_infer.contract.manifest import Manifest


def check_host() -> None:
    """Refuse to start where no engine can be built.

    Raises:
        MissingExtraError: Without TensorRT.
        ModelError: Without a GPU.

    """
    if find_spec("tensorrt") is None:
        raise MissingExtraError("mmearth export --format trt", extra="export,tensorrt")
    if not gpu_count():
        raise ModelError(
            "--format trt is built on the GPU that runs it, and CUDA finds none here",
            hint="--format onnx, and there `mmearth embed --engine tensorrt`",
        )


class TrtArtefact:
    """An engine for the first GPU."""

    def __init__(
        self,
        network: Network,
        manifest: Manifest,
        tiles: Sequence[Tile],
        largest: Tiles,
    ) -> None:
        """Build an engine.

        Raises:
            ModelError: If TensorRT cannot.

        """
        import tensorrt  # noqa: PLC0415 -- checked by `check_host` first

        from mmearth_infer.engine.trt.build import build  # noqa: PLC0415 -- likewise

        profile = profile_for(manifest, largest)
        compared = largest_case(manifest)
        if not profile.admits(compared):
            raise ModelError(
                f"an engine for batches of {largest} (tiles, height, width) cannot be "
                f"compared with eager PyTorch, which takes {compared}",
                hint="choose a larger --window or --batch-size",
            )
        graph = trt_graph(network, manifest, tiles)
        try:
            gpu = Cuda(0).gpu
            self._plan, _ = build(read_bytes(graph), profile)
        except RuntimeFailure as error:
            raise ModelError(
                f"TensorRT cannot build the network: {error}",
                hint="--format onnx runs everywhere",
            ) from error
        self._built = Built(
            model=hashlib.sha256(graph).hexdigest(),
            gpu=gpu.name,
            capability=gpu.capability,
            tensorrt=tensorrt.__version__,
            profile=profile,
        )

    def write(self, manifest: Manifest, path: Path) -> None:
        """Write one file, with the manifest and what it was built for inside."""
        write_package(path, self._plan, self._built, manifest)


def trt_graph(network: Network, manifest: Manifest, tiles: Sequence[Tile]) -> bytes:
    """Return an ONNX graph whose types TensorRT takes as they are."""
    graph = precise_graph(
        network, manifest, tiles, KINDS[manifest.precision], signed=True
    )
    content: bytes = graph.SerializeToString()
    return content
