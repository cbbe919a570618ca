"""A probe's file, opened: its manifest, and what computes logits.

Shapes: N cells, D channels, K classes.
"""

from __future__ import annotations

import hashlib
import logging
from dataclasses import dataclass
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from mmearth_infer.contract.probe import (
    FEATURES,
    LOGITS,
    PROBE_KEY,
    REFIT,
    ProbeManifest,
    probe_from_json,
)
from mmearth_infer.engine.choice import Choice
from mmearth_infer.engine.model import read_model
from mmearth_infer.engine.runtime import RuntimeFailure
from mmearth_infer.errors import MissingExtraError, ModelError
from mmearth_infer.write.open_store import short_digest

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from mmearth_infer.engine.ort import OrtRuntime

log = logging.getLogger("mmearth")

ROWS: Final = 4096
"""Cells that a probe sees at once; of 5000 neighbours each, 82 MB of distances."""

CPU: Final = Choice(engine="onnxruntime", device="cpu", why="probes are small")
"""What runs probes, and what they are compared with."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ProbeFile:
    """A probe that ONNX Runtime opened."""

    path: Path
    """Where it is."""

    content: bytes
    """The file."""

    manifest: ProbeManifest
    """What it promises."""

    _runtime: OrtRuntime
    """What runs it."""

    @property
    def digest(self) -> str:
        """SHA-256 of the file, in hex."""
        return hashlib.sha256(self.content).hexdigest()

    def logits(self, features_ND: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return `logits_NK`.

        Raises:
            ModelError: If ONNX Runtime fails.

        """
        parts = [
            self._run(features_ND[first : first + ROWS])
            for first in range(0, len(features_ND), ROWS)
        ]
        empty = np.empty((0, len(self.manifest.classes)), np.float32)
        return np.concatenate(parts) if parts else empty

    def _run(self, features_ND: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return `logits_NK` of a few cells."""
        feeds: dict[str, NDArray[Any]] = {FEATURES: np.ascontiguousarray(features_ND)}
        try:
            (logits_NK,) = self._runtime.run([LOGITS], feeds)
        except RuntimeFailure as error:
            raise ModelError(f"the probe failed: {error}", hint=REFIT) from error
        return logits_NK

    def check_model(self, name: str, digest: str, *, allow_other: bool) -> None:
        """Refuse the embeddings of another model, which mean other things.

        Args:
            name: Name of the model whose embeddings the probe is to read.
            digest: Its digest, `sha256:...`.
            allow_other: Warn only.

        Raises:
            ModelError: Naming both.

        """
        own = self.manifest
        if digest == own.model_digest:
            return
        said = (
            f"`{self.path}` was fitted on embeddings of `{own.model_name}` "
            f"({short_digest(own.model_digest)}), these are of `{name}` "
            f"({short_digest(digest)})"
        )
        if not allow_other:
            raise ModelError(
                said,
                hint="fit a probe on this model; --allow-other-model is for the same "
                "weights in another file",
            )
        log.warning(said)

    def check_channels(self, channels: int) -> None:
        """Refuse embeddings of another size.

        Raises:
            ModelError: Naming both.

        """
        if channels != self.manifest.channels:
            raise ModelError(
                f"`{self.path}` reads {self.manifest.channels} channels, these "
                f"embeddings have {channels}",
                hint="fit a probe on this model",
            )


def open_probe(path: Path) -> ProbeFile:
    """Open a probe.

    Raises:
        ModelError: If it cannot be read, or is none.
        ManifestError: If its manifest cannot be honoured.
        MissingExtraError: If ONNX Runtime is not installed.

    """
    return probe_of(_content(path), path)


def probe_of(content: bytes, path: Path) -> ProbeFile:
    """Return the probe that a file's bytes are.

    Raises:
        ModelError: If they are none.
        ManifestError: If its manifest cannot be honoured.
        MissingExtraError: If ONNX Runtime is not installed.

    """
    if find_spec("onnxruntime") is None:
        raise MissingExtraError("mmearth probe", extra="cpu")
    from mmearth_infer.engine.ort import OrtRuntime, providers_for  # noqa: PLC0415 -- an extra

    try:
        runtime = OrtRuntime(content, providers_for(CPU), threads=0)
    except RuntimeFailure as error:
        raise ModelError(f"`{path}` is not a probe: {error}", hint=REFIT) from error
    manifest = probe_from_json(runtime.manifest(PROBE_KEY), source=str(path))
    promised = {
        FEATURES: (None, manifest.channels),
        LOGITS: (None, len(manifest.classes)),
    }
    if dict(runtime.axes()) != promised:
        raise ModelError(
            f"the graph of `{path}` is not the one its manifest describes", hint=REFIT
        )
    return ProbeFile(path=path, content=content, manifest=manifest, _runtime=runtime)


def _content(path: Path) -> bytes:
    """Return the bytes of a probe's file."""
    if not path.exists():
        raise ModelError(
            f"there is no probe `{path}`",
            hint="make one with `mmearth probe fit STORE --labels FILE -o PROBE.onnx`",
        )
    return read_model(path)
