"""The real Python bindings of TensorRT, imported without its libraries.

The bindings link against three libraries. Stubs with their names, whose nine
functions give null pointers, are enough to import them and to read every signature.
"""

from __future__ import annotations

import ctypes
import importlib
import subprocess
import sys
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from pathlib import Path

STUBS: Final = {
    "nvinfer": (
        "createInferBuilder_INTERNAL",
        "createInferRefitter_INTERNAL",
        "createInferRuntime_INTERNAL",
        "getBuilderPluginRegistry",
        "getPluginRegistry",
    ),
    "nvinfer_plugin": ("initLibNvInferPlugins",),
    "nvonnxparser": (
        "createNvOnnxParserRefitter_INTERNAL",
        "createNvOnnxParser_INTERNAL",
        "getNvOnnxParserVersion",
    ),
}
"""Functions that the bindings need of each library."""


def download(version: str, folder: Path) -> Path:
    """Unpack the wheel of the bindings into a folder; its dependencies stay away."""
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps"]
    command += ["--disable-pip-version-check", "--target", str(folder)]
    subprocess.run([*command, f"tensorrt-cu13-bindings=={version}"], check=True)
    return folder


def compile_stubs(major: int, folder: Path) -> None:
    """Compile the three libraries under the names that a version looks for."""
    for name, functions in STUBS.items():
        source = folder / f"{name}.c"
        source.write_text(
            "".join(f"void *{f}(void) {{ return 0; }}" for f in functions)
        )
        library = f"lib{name}.so.{major}"
        subprocess.run(
            [
                *("cc", "-shared", "-fPIC", f"-Wl,-soname,{library}"),
                *(source, "-o", folder / library),
            ],
            check=True,
        )


def load(folder: Path) -> Any:
    """Import the bindings that lie in a folder beside their stubs."""
    for library in sorted(folder.glob("libnv*.so.*")):
        ctypes.CDLL(str(library), mode=ctypes.RTLD_GLOBAL)
    sys.path.insert(0, str(folder))
    return importlib.import_module("tensorrt_bindings")
