"""Running an engine of TensorRT, which is built first if there is none yet."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import tensorrt as trt
from platformdirs import user_cache_path

from mmearth_infer.contract.manifest import PIXELS_INPUT
from mmearth_infer.disk import file_beside
from mmearth_infer.engine.cuda import Cuda, staging
from mmearth_infer.engine.runtime import Axes, Runtime, RuntimeFailure
from mmearth_infer.engine.trt.build import Words, build
from mmearth_infer.engine.trt.decide import (
    Built,
    check_graph,
    check_host,
    check_kept,
    profile_for,
)
from mmearth_infer.engine.trt.package import read_built, read_plan, write_package
from mmearth_infer.engine.trt.rewrite import BYTES_INPUT, as_bytes, read_bytes

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from mmearth_infer.engine.cuda import Staging
    from mmearth_infer.engine.model import ModelFile
    from mmearth_infer.engine.trt.decide import Profile, Tiles

log = logging.getLogger("mmearth")

PIXEL_AXES: Final = 4
"""Axes of the pixel input as users of the runtime see it."""


class TensorrtRuntime(Runtime):
    """A model in TensorRT: a `.engine`, or a `.onnx` that becomes one here."""

    name: str = "tensorrt"
    version: str = trt.__version__

    def __init__(self, file: ModelFile, content: bytes | None, *, gpu: int) -> None:
        """Take a model; an ONNX model is built when the size of batches is known.

        Args:
            file: The file and its manifest.
            content: The ONNX model, or None for an engine in a file.
            gpu: Number of the GPU.

        Raises:
            RuntimeFailure: If the file is no engine.
            ModelError: If it was built for another GPU or TensorRT.

        """
        self._cuda = Cuda(gpu)
        self.device = f"cuda:{gpu}"
        self._file, self._graph = file, None
        self._words = Words()
        self._library = trt.Runtime(self._words)
        self._profile: Profile | None = None
        self._memory: dict[str, Staging] = {}
        if content is None:
            found = read_built(file.path)
            check_host(file.path, found, self.built(found.profile))
            self._load(read_plan(file.path), found.profile)
        else:
            check_graph(file.manifest)
            self._graph = read_bytes(content)

    def built(self, profile: Profile) -> Built:
        """Return what an engine of this model depends on here."""
        return Built(
            model=self._file.digest,
            gpu=self._cuda.gpu.name,
            capability=self._cuda.gpu.capability,
            tensorrt=trt.__version__,
            profile=profile,
        )

    def free_bytes(self) -> int | None:
        """Return memory of the GPU that nobody uses."""
        return self._cuda.free_bytes()

    def axes(self) -> Mapping[str, Axes] | None:
        """Return axes of inputs and outputs by name; None before it is built."""
        if self._profile is None:
            return None
        axes = {}
        for n in range(self._engine.num_io_tensors):
            name = self._engine.get_tensor_name(n)
            shape = tuple(self._engine.get_tensor_shape(name))
            open_or_fixed = tuple(a if a >= 0 else None for a in shape)
            if name == BYTES_INPUT:
                name, open_or_fixed = PIXELS_INPUT, open_or_fixed[:PIXEL_AXES]
            axes[name] = open_or_fixed
        return axes

    def prepare(self, largest: Tiles) -> None:
        """Make ready for batches up to a size; an ONNX model is built for it.

        Raises:
            RuntimeFailure: If TensorRT cannot, or an engine is for smaller ones.

        """
        if self._profile is not None and self._profile.admits(largest):
            return
        if self._graph is None:
            assert self._profile is not None
            raise RuntimeFailure(
                f"batches of {largest} (tiles, height, width) are beyond the "
                f"{self._profile.largest} that the engine was built for"
            )
        self._cuda.use()
        built = self.built(profile_for(self._file.manifest, largest))
        self._load(self._kept_or_built(self._graph, built), built.profile)

    def run(
        self, outputs: Sequence[str], feeds: Mapping[str, NDArray[Any]]
    ) -> list[NDArray[np.float32]]:
        """Return some of the outputs; all are computed."""
        pixels = feeds[PIXELS_INPUT]
        tiles, _, height, width = pixels.shape
        self.prepare((tiles, height, width))
        self._cuda.use()
        for name, array in feeds.items():
            given = BYTES_INPUT if name == PIXELS_INPUT else name
            sent = as_bytes(array) if name == PIXELS_INPUT else array
            self._bind(given, sent.nbytes).send(sent)
            if not self._context.set_input_shape(given, sent.shape):
                raise self._words.failure(f"TensorRT refuses `{name}` of {array.shape}")
        shapes = {}
        for name in self._outputs:
            shapes[name] = tuple(self._context.get_tensor_shape(name))
            self._bind(name, 4 * int(np.prod(shapes[name])))
        if not self._context.execute_async_v3(self._cuda.stream):
            raise self._words.failure("TensorRT failed")
        kind = np.dtype(np.float32)
        return [self._memory[name].fetch(kind, shapes[name]) for name in outputs]

    def _bind(self, name: str, size: int) -> Staging:
        """Return memory for a tensor, at least so many bytes, that the engine knows."""
        there = staging(self._memory, name, size, self._cuda)
        if not self._context.set_tensor_address(name, there.address):
            raise self._words.failure(f"TensorRT has no `{name}`")
        return there

    def _kept_or_built(self, graph: bytes, built: Built) -> bytes:
        """Return the engine that is kept, or build one and keep it."""
        folder = user_cache_path("mmearth") / "tensorrt"
        kept, timings = folder / built.file_name, folder / built.timing_name
        if kept.exists():
            check_kept(kept, read_built(kept), built)
            return read_plan(kept)
        log.warning(
            "building a TensorRT engine for %s, which takes minutes; it is kept as %s",
            built.gpu,
            kept,
        )
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        known = timings.read_bytes() if timings.exists() else b""
        plan, learnt = build(graph, built.profile, timings=known)
        with file_beside(kept) as aside:
            write_package(aside, plan, built, self._file.manifest)
        with file_beside(timings) as aside:
            aside.write_bytes(learnt)
        return plan

    def _load(self, plan: bytes, profile: Profile) -> None:
        """Make an engine ready to run.

        Raises:
            RuntimeFailure: If TensorRT refuses it.

        """
        engine = self._library.deserialize_cuda_engine(plan)
        if engine is None:
            raise self._words.failure("TensorRT does not take it")
        context = engine.create_execution_context()
        if context is None:
            raise self._words.failure("there is no room on the GPU to run it")
        self._engine, self._context = engine, context
        self._profile, self._memory = profile, {}
        names = [engine.get_tensor_name(n) for n in range(engine.num_io_tensors)]
        modes = {name: engine.get_tensor_mode(name) for name in names}
        self._outputs = [
            name for name in names if modes[name] == trt.TensorIOMode.OUTPUT
        ]
        for name in self._outputs:
            if engine.get_tensor_dtype(name) != trt.DataType.FLOAT:
                raise RuntimeFailure(f"its output `{name}` is not float32")
