"""OpenVINO on the CPU."""

from __future__ import annotations

import os
from functools import cache
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import openvino

from mmearth_infer.contract.manifest import METADATA_KEY
from mmearth_infer.engine.runtime import Axes, Runtime, RuntimeFailure

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from mmearth_infer.contract.manifest import Precision

ARITHMETIC: Final[Mapping[Precision, str]] = {
    "fp32": "f32",
    "fp16": "f16",
    "bf16": "bf16",
    "int8": "f32",
}
"""What is computed with, by precision of the model. OpenVINO's own choice would be
bfloat16 wherever the processor has it, whatever the model is."""


@cache
def shared_core() -> openvino.Core:
    """Return the core of this process, which lives as long as the process.

    The CPU plugin of a core gives the thread that loads it a stack for signal handlers,
    and takes it away as the core goes. Of two cores the older one going first leaves a
    stack that is no more (as of 2026.4), and the next signal, a Ctrl-C or the end of a
    child, kills the process.
    """
    return openvino.Core()


class OpenvinoRuntime(Runtime):
    """An ONNX file, or OpenVINO's own form, in OpenVINO."""

    name: str = "openvino"
    version: str = openvino.__version__.split("-")[0]
    device: str = "cpu"

    def __init__(self, content: bytes, weights: bytes | None = None) -> None:
        """Read a file; `compile` makes it ready to run.

        Args:
            content: The ONNX file, or the `.xml` of OpenVINO's own form.
            weights: The `.bin` beside the latter.

        Raises:
            RuntimeFailure: If it is no model.

        """
        try:
            if weights is None:
                self._model = shared_core().read_model(content)
            else:
                tensor = openvino.Tensor(np.frombuffer(weights, np.uint8))
                self._model = shared_core().read_model(content, tensor)
        except RuntimeError as error:
            raise RuntimeFailure(error) from error

    def manifest(self) -> str | None:
        """Return the manifest in the file; ONNX metadata lie under `framework`."""
        for path in (METADATA_KEY, ["framework", METADATA_KEY]):
            try:
                return str(self._model.get_rt_info(path).astype(str))
            except RuntimeError:
                continue
        return None

    def compile(self, *, precision: Precision, threads: int) -> None:
        """Compile for this processor.

        Raises:
            RuntimeFailure: If OpenVINO cannot.

        """
        settings = {
            "INFERENCE_NUM_THREADS": threads or os.cpu_count() or 1,
            "PERFORMANCE_HINT": "LATENCY",
            "INFERENCE_PRECISION_HINT": ARITHMETIC[precision],
        }
        try:
            compiled = shared_core().compile_model(self._model, "CPU", settings)
        except RuntimeError as error:
            raise RuntimeFailure(error) from error
        self._request = compiled.create_infer_request()

    def axes(self) -> Mapping[str, Axes]:
        """Return axes of inputs and outputs by name."""
        return {
            port.get_any_name(): tuple(
                axis.get_length() if axis.is_static else None
                for axis in port.get_partial_shape()
            )
            for port in (*self._model.inputs, *self._model.outputs)
        }

    def prepare(self, largest: tuple[int, int, int]) -> None:
        """Do nothing: it runs batches of any size."""

    def run(
        self, outputs: Sequence[str], feeds: Mapping[str, NDArray[Any]]
    ) -> list[NDArray[np.float32]]:
        """Return some of the outputs; all are computed."""
        try:
            self._request.infer(dict(feeds), share_inputs=True)
            return [self._request.get_tensor(name).data.copy() for name in outputs]
        except RuntimeError as error:
            raise RuntimeFailure(error) from error
