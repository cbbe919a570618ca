"""ONNX Runtime, on the CPU or a GPU, there also by way of TensorRT."""

from __future__ import annotations

from dataclasses import dataclass
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any, Final

import onnxruntime as ort
from onnxruntime.capi import onnxruntime_pybind11_state as status
from platformdirs import user_cache_path

from mmearth_infer.contract.manifest import METADATA_KEY
from mmearth_infer.engine.cuda import Cuda, Staging, staging
from mmearth_infer.engine.runtime import Axes, Runtime, RuntimeFailure

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import numpy as np
    from numpy.typing import NDArray

    from mmearth_infer.engine.choice import Choice

_ERRORS: Final = (
    status.Fail,
    status.InvalidArgument,
    status.InvalidGraph,
    status.InvalidProtobuf,
    status.NotImplemented,
    status.RuntimeException,
)
_QUIET: Final = 3

GPU_LANES: Final = 3
"""Batches at once on a GPU (docs/benchmarks/engines.md)."""

Provider = tuple[str, dict[str, str]]
"""An execution provider, and its settings."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Providers:
    """What ONNX Runtime computes with, in order of preference."""

    name: str
    """What `--engine` calls it."""

    device: str
    """`cpu`, or `cuda:0` and so on."""

    those: tuple[Provider, ...]
    """The providers; the first is the one that is meant."""

    @property
    def place(self) -> tuple[str, int]:
        """Kind and number of the device, as ONNX Runtime counts."""
        kind, _, number = self.device.partition(":")
        return kind, int(number or 0)


def providers_for(choice: Choice) -> Providers:
    """Return what a choice means to ONNX Runtime.

    float32 is float32: products in TF32, the default on GPUs, would be beyond the
    tolerance of the gate. Convolutions are chosen by cuDNN's heuristics: to try all of
    them takes a quarter of a second for every new shape of a batch, and finds nothing
    faster (docs/benchmarks/engines.md). TensorRT's engines are kept between runs.
    """
    cpu: Provider = ("CPUExecutionProvider", {})
    if choice.kind == "cpu":
        return Providers(name=choice.engine, device="cpu", those=(cpu,))
    number = str(choice.gpu)
    cuda: Provider = (
        "CUDAExecutionProvider",
        {
            "device_id": number,
            "use_tf32": "0",
            "cudnn_conv_algo_search": "HEURISTIC",
        },
    )
    if choice.engine == "onnxruntime":
        those: tuple[Provider, ...] = (cuda, cpu)
    else:
        folder = str(user_cache_path("mmearth") / "onnxruntime-tensorrt")
        settings = {
            "device_id": number,
            "trt_engine_cache_enable": "1",
            "trt_engine_cache_path": folder,
            "trt_timing_cache_enable": "1",
            "trt_timing_cache_path": folder,
        }
        those = (("TensorrtExecutionProvider", settings), cuda, cpu)
    return Providers(name=choice.engine, device=choice.device, those=those)


class OrtRuntime(Runtime):
    """An ONNX file in ONNX Runtime."""

    version: str = ort.__version__

    def __init__(self, content: bytes, providers: Providers, *, threads: int) -> None:
        """Open a file.

        Args:
            content: The ONNX file.
            providers: What it computes with.
            threads: Threads of one operator; 0 for one a core.

        Raises:
            RuntimeFailure: If it is no ONNX model, or the provider does not start:
                ONNX Runtime would go on without it.

        """
        self.name, self.device = providers.name, providers.device
        self._place = providers.place
        options = ort.SessionOptions()
        options.intra_op_num_threads = threads
        options.log_severity_level = _QUIET
        if self.device != "cpu":
            ort.preload_dlls()  # CUDA's libraries where pip put them
        try:
            self._session = ort.InferenceSession(
                content, options, providers=list(providers.those)
            )
        except _ERRORS as error:
            raise RuntimeFailure(error) from error
        meant, started = providers.those[0][0], self._session.get_providers()
        if meant not in started:
            raise RuntimeFailure(f"{meant} does not start, only {', '.join(started)}")
        self.lanes = 1 if self.device == "cpu" else GPU_LANES
        self._idle: SimpleQueue[_Lane] = SimpleQueue()
        if self.device != "cpu":
            for _ in range(self.lanes):
                self._idle.put(_Lane(self._session, *self._place))

    def free_bytes(self) -> int | None:
        """Return memory of the GPU that nobody uses; None on a processor."""
        return None if self.device == "cpu" else Cuda(self._place[1]).free_bytes()

    def manifest(self, key: str = METADATA_KEY) -> str | None:
        """Return the manifest in the file's metadata."""
        said = self._session.get_modelmeta().custom_metadata_map
        text: str | None = said.get(key)
        return text

    def axes(self) -> Mapping[str, Axes]:
        """Return axes of inputs and outputs by name."""
        return {
            node.name: tuple(a if isinstance(a, int) else None for a in node.shape)
            for node in (*self._session.get_inputs(), *self._session.get_outputs())
        }

    def prepare(self, largest: tuple[int, int, int]) -> None:
        """Do nothing: it runs batches of any size."""

    def run(
        self, outputs: Sequence[str], feeds: Mapping[str, NDArray[Any]]
    ) -> list[NDArray[np.float32]]:
        """Return some of the outputs; others are not computed."""
        try:
            if self.device == "cpu":
                found: list[NDArray[np.float32]] = self._session.run(
                    list(outputs), dict(feeds)
                )
            else:
                lane = self._idle.get()
                try:
                    found = lane.run(outputs, feeds)
                finally:
                    self._idle.put(lane)
        except _ERRORS as error:
            raise RuntimeFailure(error) from error
        return found


class _Lane:
    """What one batch on a GPU needs: pinned memory, and a stream for its copies.

    Its pixels are copied while other lanes compute, in streams of ONNX Runtime's own.
    """

    def __init__(self, session: ort.InferenceSession, kind: str, number: int) -> None:
        self._session, self._place = session, (kind, number)
        self._cuda = Cuda(number)
        self._memory: dict[str, Staging] = {}

    def run(
        self, outputs: Sequence[str], feeds: Mapping[str, NDArray[Any]]
    ) -> list[NDArray[np.float32]]:
        """Return outputs; ONNX Runtime places them on the device."""
        self._cuda.use()
        binding = self._session.io_binding()
        for name, array in feeds.items():
            there = staging(self._memory, name, array.nbytes, self._cuda)
            there.send(array)
            binding.bind_input(
                name, *self._place, array.dtype, array.shape, there.address
            )
        self._cuda.wait()
        for name in outputs:
            binding.bind_output(name, *self._place)
        self._session.run_with_iobinding(binding)
        found: list[NDArray[np.float32]] = binding.copy_outputs_to_cpu()
        return found
