"""Puts the stand-ins where our code imports TensorRT and CUDA from.

Imported by cases that run in a process of their own (`run_cases`).
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

import cuda.bindings
import pytest

from tests.helpers.stand_in.bindings import load
from tests.helpers.stand_in.cuda import Runtime
from tests.helpers.stand_in.tensorrt import Module

TRT = Module(load(Path(os.environ["MMEARTH_TRT_BINDINGS"])))
sys.modules["tensorrt"] = TRT


@pytest.fixture(autouse=True)
def gpu(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Runtime:
    """A GPU for one case, and a cache of its own."""
    stand_in = Runtime()
    monkeypatch.setattr(cuda.bindings, "runtime", stand_in)
    monkeypatch.setitem(sys.modules, "cuda.bindings.runtime", stand_in)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    TRT.builds = 0
    return stand_in
