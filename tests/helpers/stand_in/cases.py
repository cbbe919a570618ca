"""Runs cases that need the bindings of TensorRT, in a process of their own.

Two versions of the bindings cannot be imported into one process.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from tests.helpers.stand_in.bindings import compile_stubs, download

if TYPE_CHECKING:
    from pathlib import Path

VERSIONS = ["10.16.1.11", "11.4.0.106"]

needs_bindings = pytest.mark.skipif(
    sys.platform != "linux" or shutil.which("cc") is None,
    reason="the bindings are for Linux, and their stubs need a C compiler",
)


def run_cases(cases: Path, version: str, folder: Path) -> None:
    """Fail as the cases fail; without a package index skip, but not in CI."""
    try:
        bindings = download(version, folder / "bindings")
    except subprocess.CalledProcessError as error:
        if os.environ.get("CI"):
            raise
        pytest.skip(f"no package index to fetch the bindings from: {error}")
    compile_stubs(int(version.partition(".")[0]), bindings)
    ran = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(cases)],
        env={**os.environ, "MMEARTH_TRT_BINDINGS": str(bindings)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert " passed" in ran.stdout
    assert "skipped" not in ran.stdout
