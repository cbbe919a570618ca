"""ONNX Runtime as an engine."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np
import onnxruntime as ort
from onnxruntime.capi import onnxruntime_pybind11_state as status

from mmearth_infer.contract.manifest import (
    MEAN_INPUT,
    METADATA_KEY,
    PIXELS_INPUT,
    STD_INPUT,
    manifest_from_json,
)
from mmearth_infer.engine.model import ModelFile, read_model
from mmearth_infer.errors import ManifestError, ModelError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from mmearth_infer.contract.bands import ProductLevel
    from mmearth_infer.contract.manifest import Output

ENGINE_NAME: Final = "onnxruntime"
"""What stores and reports call it."""

_ERRORS: Final = (
    status.Fail,
    status.InvalidArgument,
    status.InvalidGraph,
    status.InvalidProtobuf,
    status.NotImplemented,
    status.RuntimeException,
)
_QUIET: Final = 3
_HINT_EXPORT: Final = "make a model file with `mmearth export CHECKPOINT -o MODEL.onnx`"


class OrtModel:
    """A model file opened in ONNX Runtime, not yet bound to level and stage."""

    def __init__(self, path: str | Path, *, threads: int = 0) -> None:
        """Open a model file on the CPU.

        Args:
            path: The ONNX file.
            threads: Threads of one operator; 0 for one a core.

        Raises:
            ModelError: If it is no ONNX model.
            ManifestError: If it has no manifest, or one that cannot be honoured.

        """
        path = Path(path)
        content = read_model(path)
        options = ort.SessionOptions()
        options.intra_op_num_threads = threads
        options.log_severity_level = _QUIET
        try:
            self.session = ort.InferenceSession(
                content, options, providers=["CPUExecutionProvider"]
            )
        except _ERRORS as error:
            reason = str(error).splitlines()[0]
            raise ModelError(
                f"`{path}` is not an ONNX model: {reason}", hint=_HINT_EXPORT
            ) from error
        text = self.session.get_modelmeta().custom_metadata_map.get(METADATA_KEY)
        if text is None:
            raise ManifestError(
                f"`{path}` has no manifest: nothing says what bands it reads",
                hint=_HINT_EXPORT,
            )
        manifest = manifest_from_json(text, source=str(path))
        self.file = ModelFile(
            path=path,
            digest=hashlib.sha256(content).hexdigest(),
            manifest=manifest,
        )
        self._check_names()

    def _check_names(self) -> None:
        """Refuse a graph whose inputs or outputs are not what the manifest says."""
        inputs = {node.name for node in self.session.get_inputs()}
        outputs = {node.name for node in self.session.get_outputs()}
        promised = {out.name for out in self.file.manifest.outputs}
        if inputs != {PIXELS_INPUT, MEAN_INPUT, STD_INPUT} or not promised <= outputs:
            raise ManifestError(
                f"the graph in `{self.file.path}` has inputs {sorted(inputs)} and "
                f"outputs {sorted(outputs)}, which its manifest does not describe",
                hint=_HINT_EXPORT,
            )

    def engine(self, *, level: ProductLevel, output: Output) -> OrtEngine:
        """Bind the model to a product level and an output.

        Raises:
            ModelError: If it has no statistics for the level.

        """
        numbers = self.file.manifest.statistics_for(level)
        return OrtEngine(
            self.session,
            mean_C=np.asarray(numbers.mean, dtype=np.float32),
            std_C=np.asarray(numbers.std, dtype=np.float32),
            output=output,
        )


class OrtEngine:
    """An ONNX Runtime session that turns digital numbers into features."""

    def __init__(
        self,
        session: ort.InferenceSession,
        *,
        mean_C: NDArray[np.float32],
        std_C: NDArray[np.float32],
        output: Output,
    ) -> None:
        """Keep what is the same for every batch."""
        self._session = session
        self._statistics = {MEAN_INPUT: mean_C, STD_INPUT: std_C}
        self._output = output

    def __call__(self, dn_NCHW: NDArray[np.uint16]) -> NDArray[np.float32]:
        """Return `features_NDhw`; standardisation happens in the graph."""
        feeds = {PIXELS_INPUT: dn_NCHW, **self._statistics}
        try:
            (features,) = self._session.run([self._output.name], feeds)
        except _ERRORS as error:
            reason = str(error).splitlines()[0]
            raise ModelError(
                f"the model failed on tiles of {dn_NCHW.shape}: {reason}",
                hint="if memory ran out, choose a smaller --window or --batch-size",
            ) from error
        tiles, _, height, width = dn_NCHW.shape
        stride = self._output.stride_px
        promised = (tiles, self._output.channels, height // stride, width // stride)
        if features.shape != promised:
            raise ManifestError(
                f"the model gives features of {features.shape}, its manifest promises "
                f"{promised}",
                hint=_HINT_EXPORT,
            )
        found: NDArray[np.float32] = features
        return found
