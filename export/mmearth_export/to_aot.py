"""A network compiled ahead of time by PyTorch: a `.pt2` of machine code.

It runs on the kind of processor and the version of PyTorch that compiled it, and
says so. Whoever opens it runs it as a program.
"""

from __future__ import annotations

import json
import zipfile
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Final

import torch
from torch._inductor import aoti_compile_and_package
from torch.export import Dim, export

from mmearth_export.network import exportable
from mmearth_export.precision import KINDS
from mmearth_export.quiet import quiet
from mmearth_export.wrapper import example_inputs
from mmearth_infer.contract.manifest import manifest_to_json
from mmearth_infer.engine.package import HOST, MANIFEST
from mmearth_infer.engine.torch_aot import host
from mmearth_infer.errors import ModelError

if TYPE_CHECKING:
    from mmearth_export.network import Network
    from mmearth_infer.contract.manifest import Manifest

MOST_TILES: Final = 4096
"""Largest batch."""

MOST_SIDE: Final = 1024
"""Largest height and width, in multiples of the model's."""


class AotArtefact:
    """A package that PyTorch's Inductor made."""

    def __init__(self, network: Network, manifest: Manifest) -> None:
        """Compile a network for this processor.

        Raises:
            ModelError: If it cannot be compiled, as without a C++ compiler.

        """
        model = exportable(network, manifest, KINDS[manifest.precision])
        side = manifest.multiple_px
        axes = {
            0: Dim("batch", min=1, max=MOST_TILES),
            2: side * Dim("rows", min=1, max=MOST_SIDE),
            3: side * Dim("cols", min=1, max=MOST_SIDE),
        }
        with torch.no_grad(), quiet(), TemporaryDirectory() as folder:
            path = Path(folder) / "model.pt2"
            program = export(
                model, example_inputs(manifest), dynamic_shapes=(axes, None, None)
            )
            try:
                aoti_compile_and_package(
                    program,
                    package_path=str(path),
                    inductor_configs={"freezing": True},
                )
            except RuntimeError as error:
                raise ModelError(
                    f"PyTorch cannot compile the network: {error}",
                    hint="it needs a C++ compiler; --format onnx needs none",
                ) from error
            self._content = path.read_bytes()

    def write(self, manifest: Manifest, path: Path) -> None:
        """Write the package with its manifest, and what it was made for, inside."""
        path.write_bytes(self._content)
        with zipfile.ZipFile(path, "a") as package:
            top = package.namelist()[0].split("/")[0]
            package.writestr(f"{top}/{MANIFEST}", manifest_to_json(manifest))
            package.writestr(f"{top}/{HOST}", json.dumps(host()))
