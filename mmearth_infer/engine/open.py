"""Opens a model file with the library that was asked for, or the fastest there is."""

from __future__ import annotations

import hashlib
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal, get_args

from mmearth_infer.contract.manifest import manifest_from_json
from mmearth_infer.engine.compiled import HINT_EXPORT, CompiledModel
from mmearth_infer.engine.model import ModelFile, read_model
from mmearth_infer.engine.package import MANIFEST, read_extra
from mmearth_infer.engine.runtime import RuntimeFailure
from mmearth_infer.errors import ManifestError, MissingExtraError, ModelError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from mmearth_infer.contract.manifest import Manifest
    from mmearth_infer.engine.runtime import Runtime

EngineName = Literal["onnxruntime", "openvino", "torch"]
"""A library that runs models."""

EngineChoice = Literal["auto", EngineName]
"""One of them, or the fastest that is installed and runs the file."""

ENGINES: Final[tuple[EngineName, ...]] = get_args(EngineName)

ENGINES_OF: Final[Mapping[str, tuple[EngineName, ...]]] = {
    ".onnx": ("onnxruntime", "openvino"),
    ".xml": ("openvino",),
    ".pt2": ("torch",),
}
"""What runs a file, by its suffix, the fastest first (docs/benchmarks/engines.md)."""

KINDS: Final[Mapping[str, str]] = {
    ".onnx": "an ONNX model",
    ".xml": "an OpenVINO model",
    ".pt2": "a PyTorch package",
}
"""What a file is, by its suffix."""

EXTRAS: Final[Mapping[EngineName, str]] = {
    "onnxruntime": "cpu",
    "openvino": "openvino",
    "torch": "train",
}
"""Extra that brings a library; each is imported by the name of its engine."""


def open_model(
    path: str | Path,
    *,
    engine: EngineChoice = "auto",
    threads: int = 0,
    trusted: bool = False,
) -> CompiledModel:
    """Open a model file on the CPU.

    Args:
        path: The file: `.onnx`, OpenVINO's `.xml`, or PyTorch's `.pt2`.
        engine: What runs it.
        threads: Threads of one operator; 0 for one a core.
        trusted: Whether a file may be run that holds machine code.

    Raises:
        ModelError: If it is no model, or the engine does not run such files.
        ManifestError: If it has no manifest, or one that cannot be honoured.
        MissingExtraError: If the engine is not installed.

    """
    path = Path(path)
    name, why = choose_engine(path, engine)
    if path.suffix == ".pt2" and not trusted:
        raise ModelError(
            f"`{path}` holds machine code, which would be run as a program",
            hint="--trust-model runs it; do so only if you made it, or trust who did",
        )
    try:
        file, runtime = _OPEN[name](path, threads)
    except RuntimeFailure as error:
        what = KINDS.get(path.suffix, KINDS[".onnx"])
        raise ModelError(
            f"`{path}` is not {what} that {name} can open: {error}", hint=HINT_EXPORT
        ) from error
    return CompiledModel(file=file, runtime=runtime, why=why)


def installed_engines(path: Path) -> tuple[EngineName, ...]:
    """Return what is installed and runs a file, the fastest first.

    Raises:
        MissingExtraError: If nothing is.

    """
    able = ENGINES_OF.get(path.suffix, ENGINES_OF[".onnx"])
    there = tuple(name for name in able if find_spec(name))
    if not there:
        raise MissingExtraError(f"engine {able[0]}", extra=EXTRAS[able[0]])
    return there


def choose_engine(path: Path, engine: EngineChoice) -> tuple[EngineName, str]:
    """Return what runs a file, and why.

    Raises:
        ModelError: If nothing runs such files, or not what was asked for.
        MissingExtraError: If it is not installed.

    """
    able = ENGINES_OF.get(path.suffix, ENGINES_OF[".onnx"])
    if engine != "auto" and engine not in able:
        raise ModelError(
            f"{engine} does not run `{path.suffix}` files",
            hint=f"{' and '.join(able)} do; `mmearth export --format` makes others",
        )
    if engine != "auto":
        if not find_spec(engine):
            raise MissingExtraError(f"engine {engine}", extra=EXTRAS[engine])
        return engine, "it was asked for"
    there = installed_engines(path)
    if len(able) == 1:
        return there[0], f"it alone runs `{path.suffix}` files"
    if there[0] == able[0]:
        return there[0], f"it is the fastest that runs `{path.suffix}` files"
    return there[0], f"the fastest, {able[0]}, is not installed"


def read_file(path: str | Path) -> ModelFile:
    """Return a model file with its manifest; no machine code is run.

    Raises:
        ModelError: If it is no model.
        ManifestError: If it has no manifest, or one that cannot be honoured.
        MissingExtraError: If nothing is installed that reads it.

    """
    path = Path(path)
    if path.suffix != ".pt2":
        return open_model(path, threads=1).file
    try:
        return _read_package(path)
    except RuntimeFailure as error:
        raise ModelError(f"`{path}` is no model: {error}", hint=HINT_EXPORT) from error


def _read_package(path: Path) -> ModelFile:
    digest = _digest(read_model(path))
    manifest = _manifest(read_extra(path, MANIFEST), path)
    return ModelFile(path=path, digest=digest, manifest=manifest)


def _open_ort(path: Path, threads: int) -> tuple[ModelFile, Runtime]:
    from mmearth_infer.engine.ort import OrtRuntime  # noqa: PLC0415 -- an extra

    content = read_model(path)
    runtime = OrtRuntime(content, threads=threads)
    manifest = _manifest(runtime.manifest(), path)
    return ModelFile(path=path, digest=_digest(content), manifest=manifest), runtime


def _open_openvino(path: Path, threads: int) -> tuple[ModelFile, Runtime]:
    from mmearth_infer.engine.openvino import OpenvinoRuntime  # noqa: PLC0415 -- an extra

    content = read_model(path)
    beside = path.with_suffix(".bin")
    weights = read_model(beside) if path.suffix == ".xml" else None
    runtime = OpenvinoRuntime(content, weights)
    manifest = _manifest(runtime.manifest(), path)
    runtime.compile(precision=manifest.precision, threads=threads)
    digest = _digest(content, weights or b"")
    return ModelFile(path=path, digest=digest, manifest=manifest), runtime


def _open_torch(path: Path, threads: int) -> tuple[ModelFile, Runtime]:
    from mmearth_infer.engine.torch_aot import TorchRuntime  # noqa: PLC0415 -- an extra

    file = _read_package(path)
    outputs = [out.name for out in file.manifest.outputs]
    return file, TorchRuntime(path, outputs=outputs, threads=threads)


_OPEN: Final = {
    "onnxruntime": _open_ort,
    "openvino": _open_openvino,
    "torch": _open_torch,
}


def _manifest(text: str | None, path: Path) -> Manifest:
    """Read the manifest that a file holds."""
    if text is None:
        raise ManifestError(
            f"`{path}` has no manifest: nothing says what bands it reads",
            hint=HINT_EXPORT,
        )
    return manifest_from_json(text, source=str(path))


def _digest(*parts: bytes) -> str:
    """Return the SHA-256 of all parts in a row, in hex."""
    sha256 = hashlib.sha256()
    for part in parts:
        sha256.update(part)
    return sha256.hexdigest()
