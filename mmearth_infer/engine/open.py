"""Opens a model file with the library that was asked for, or the fastest there is."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Final

from mmearth_infer.contract.manifest import manifest_from_json
from mmearth_infer.engine.choice import (
    KINDS,
    MACHINE_CODE,
    UNPROVEN,
    choose,
    this_machine,
)
from mmearth_infer.engine.compiled import HINT_EXPORT, CompiledModel
from mmearth_infer.engine.model import ModelFile, find_model, read_model
from mmearth_infer.engine.package import MANIFEST, read_extra
from mmearth_infer.engine.runtime import RuntimeFailure
from mmearth_infer.engine.several import Several
from mmearth_infer.errors import ManifestError, ModelError

if TYPE_CHECKING:
    from pathlib import Path

    from mmearth_infer.contract.manifest import Manifest
    from mmearth_infer.engine.choice import Choice, EngineChoice
    from mmearth_infer.engine.runtime import Runtime
NEVER_RUN: Final = (
    "was never run by those who wrote this: compare its embeddings with those of "
    "--device cpu, and tell us"
)
"""Said of engines that we could not run."""


def open_model(
    path: str | Path,
    *,
    engine: EngineChoice = "auto",
    device: str = "auto",
    threads: int = 0,
    trusted: bool = False,
) -> CompiledModel:
    """Open a model file.

    Args:
        path: The file: `.onnx`, OpenVINO's `.xml`, PyTorch's `.pt2` or TensorRT's
            `.engine`; or the name of a model, as `builtin`.
        engine: What runs it.
        device: `cpu`, `cuda`, `cuda:1` and so on, `cuda:0,1` or `cuda:all` for
            several GPUs; `auto` for a GPU if there is one.
        threads: Threads of one operator; 0 for one a core.
        trusted: Whether a file may be run that holds machine code.

    Raises:
        ModelError: If it is no model, or the engine does not run such files.
        ManifestError: If it has no manifest, or one that cannot be honoured.
        MissingExtraError: If the engine is not installed.

    """
    path = find_model(path)
    choice = choose(path.suffix, engine, device, this_machine())
    if path.suffix in MACHINE_CODE and not trusted:
        raise ModelError(
            f"`{path}` holds machine code, which would be run as a program",
            hint="--trust-model runs it; do so only if you made it, or trust who did",
        )
    try:
        opened = [_OPEN[choice.engine](path, one, threads) for one in choice.each()]
    except RuntimeFailure as error:
        what = KINDS.get(path.suffix, KINDS[".onnx"])
        raise ModelError(
            f"`{path}` is not {what} that {choice.engine} can open: {error}",
            hint=HINT_EXPORT,
        ) from error
    file, runtime = opened[0]
    if len(opened) > 1:
        runtime = Several([one for _, one in opened], choice.device)
    warnings = file.warnings
    if choice.engine in UNPROVEN:
        warnings += (f"{choice.engine} on a GPU {NEVER_RUN}",)
    return CompiledModel(file=file, runtime=runtime, why=choice.why, warnings=warnings)


def read_file(path: str | Path) -> ModelFile:
    """Return a model file with its manifest; no machine code is run.

    Raises:
        ModelError: If it is no model.
        ManifestError: If it has no manifest, or one that cannot be honoured.
        MissingExtraError: If nothing is installed that reads it.

    """
    path = find_model(path)
    if path.suffix not in MACHINE_CODE:
        return open_model(path, device="cpu", threads=1).file
    try:
        return _read_package(path)
    except RuntimeFailure as error:
        raise ModelError(f"`{path}` is no model: {error}", hint=HINT_EXPORT) from error


def _read_package(path: Path) -> ModelFile:
    digest = _digest(read_model(path))
    manifest = _manifest(read_extra(path, MANIFEST), path)
    return ModelFile(path=path, digest=digest, manifest=manifest)


def _open_ort(path: Path, choice: Choice, threads: int) -> tuple[ModelFile, Runtime]:
    from mmearth_infer.engine.ort import OrtRuntime, providers_for  # noqa: PLC0415 -- an extra

    content = read_model(path)
    runtime = OrtRuntime(content, providers_for(choice), threads=threads)
    manifest = _manifest(runtime.manifest(), path)
    return ModelFile(path=path, digest=_digest(content), manifest=manifest), runtime


def _open_openvino(
    path: Path, _choice: Choice, threads: int
) -> tuple[ModelFile, Runtime]:
    from mmearth_infer.engine.openvino import OpenvinoRuntime  # noqa: PLC0415 -- an extra

    content = read_model(path)
    beside = path.with_suffix(".bin")
    weights = read_model(beside) if path.suffix == ".xml" else None
    runtime = OpenvinoRuntime(content, weights)
    manifest = _manifest(runtime.manifest(), path)
    runtime.compile(precision=manifest.precision, threads=threads)
    digest = _digest(content, weights or b"")
    return ModelFile(path=path, digest=digest, manifest=manifest), runtime


def _open_torch(path: Path, _choice: Choice, threads: int) -> tuple[ModelFile, Runtime]:
    from mmearth_infer.engine.torch_aot import TorchRuntime  # noqa: PLC0415 -- an extra

    file = _read_package(path)
    outputs = [out.name for out in file.manifest.outputs]
    return file, TorchRuntime(path, outputs=outputs, threads=threads)


def _open_tensorrt(
    path: Path, choice: Choice, _threads: int
) -> tuple[ModelFile, Runtime]:
    from mmearth_infer.engine.trt.runtime import (  # noqa: PLC0415 -- an extra
        TensorrtRuntime,
    )

    if path.suffix == ".engine":
        file = _read_package(path)
        return file, TensorrtRuntime(file, None, gpu=choice.gpu)
    file = read_file(path)
    return file, TensorrtRuntime(file, read_model(path), gpu=choice.gpu)


_OPEN: Final = {
    "onnxruntime": _open_ort,
    "onnxruntime-tensorrt": _open_ort,
    "tensorrt": _open_tensorrt,
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
