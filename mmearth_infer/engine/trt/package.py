"""The file a built engine is kept in: what it depends on, its manifest, the engine.

A zip, not compressed, so that anybody can look inside without running anything.
"""

from __future__ import annotations

import zipfile
from typing import TYPE_CHECKING, Final

import msgspec

from mmearth_infer.contract.manifest import manifest_to_json
from mmearth_infer.engine.package import HOST, MANIFEST, read_extra
from mmearth_infer.engine.runtime import RuntimeFailure
from mmearth_infer.engine.trt.decide import Built

if TYPE_CHECKING:
    from pathlib import Path

    from mmearth_infer.contract.manifest import Manifest

PLAN: Final = "engine/plan"
"""Where TensorRT's own part lies."""


def write_package(path: Path, plan: bytes, built: Built, manifest: Manifest) -> None:
    """Write an engine with what it depends on."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as package:
        package.writestr(f"engine/{MANIFEST}", manifest_to_json(manifest))
        package.writestr(f"engine/{HOST}", msgspec.json.encode(built))
        package.writestr(PLAN, plan)


def read_built(path: Path) -> Built:
    """Return what an engine depends on, without reading the engine.

    Raises:
        RuntimeFailure: If the file is none.

    """
    said = read_extra(path, HOST)
    if said is None:
        raise RuntimeFailure("it does not say what it was built for")
    try:
        return msgspec.json.decode(said, type=Built)
    except msgspec.MsgspecError as error:
        raise RuntimeFailure(error) from error


def read_plan(path: Path) -> bytes:
    """Return TensorRT's part of an engine; a damaged one is noticed by its checksum.

    Raises:
        RuntimeFailure: If it is not there, or not whole.

    """
    try:
        with zipfile.ZipFile(path) as package:
            found = package.getinfo(PLAN)
            if found.file_size > path.stat().st_size:
                raise RuntimeFailure("it claims to be larger than its file")
            return package.read(PLAN)
    except (OSError, KeyError, EOFError, zipfile.BadZipFile) as error:
        raise RuntimeFailure(error) from error
