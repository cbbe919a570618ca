"""ONNX Runtime on the CPU."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import onnxruntime as ort
from onnxruntime.capi import onnxruntime_pybind11_state as status

from mmearth_infer.contract.manifest import METADATA_KEY
from mmearth_infer.engine.runtime import Axes, RuntimeFailure

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy as np
    from numpy.typing import NDArray

_ERRORS: Final = (
    status.Fail,
    status.InvalidArgument,
    status.InvalidGraph,
    status.InvalidProtobuf,
    status.NotImplemented,
    status.RuntimeException,
)
_QUIET: Final = 3


class OrtRuntime:
    """An ONNX file in ONNX Runtime."""

    name: str = "onnxruntime"
    version: str = ort.__version__
    device: str = "cpu"

    def __init__(self, content: bytes, *, threads: int) -> None:
        """Open a file.

        Args:
            content: The ONNX file.
            threads: Threads of one operator; 0 for one a core.

        Raises:
            RuntimeFailure: If it is no ONNX model.

        """
        options = ort.SessionOptions()
        options.intra_op_num_threads = threads
        options.log_severity_level = _QUIET
        try:
            self._session = ort.InferenceSession(
                content, options, providers=["CPUExecutionProvider"]
            )
        except _ERRORS as error:
            raise RuntimeFailure(error) from error

    def manifest(self) -> str | None:
        """Return the manifest in the file's metadata."""
        said = self._session.get_modelmeta().custom_metadata_map
        text: str | None = said.get(METADATA_KEY)
        return text

    def axes(self) -> Mapping[str, Axes]:
        """Return axes of inputs and outputs by name."""
        return {
            node.name: tuple(a if isinstance(a, int) else None for a in node.shape)
            for node in (*self._session.get_inputs(), *self._session.get_outputs())
        }

    def run(
        self, output: str, feeds: Mapping[str, NDArray[Any]]
    ) -> NDArray[np.float32]:
        """Return one output."""
        try:
            (features,) = self._session.run([output], dict(feeds))
        except _ERRORS as error:
            raise RuntimeFailure(error) from error
        found: NDArray[np.float32] = features
        return found
