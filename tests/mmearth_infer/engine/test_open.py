"""Which engine runs a file, and what is refused before anything runs."""

from __future__ import annotations

import json
import subprocess
import sys
import zipfile
from importlib.util import find_spec
from typing import TYPE_CHECKING

import numpy as np
import pytest

from mmearth_infer.engine import choice
from mmearth_infer.engine.open import open_model, read_file
from mmearth_infer.errors import ManifestError, ModelError
from tests.helpers.models import UNTRAINED
from tests.helpers.scenes import random_dn

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.conftest import Ran

needs_openvino = pytest.mark.skipif(
    find_spec("openvino") is None, reason="OpenVINO is not installed"
)


@needs_openvino
def test_openvino_gives_what_onnx_runtime_gives() -> None:
    models = [
        open_model(UNTRAINED, engine=engine) for engine in ("onnxruntime", "openvino")
    ]
    assert models[0].file == models[1].file
    assert models[0].runtime.axes() == models[1].runtime.axes()
    dn = random_dn(height=96, width=64)[None]
    dn[:, :, :9, :9] = 0
    output = models[0].file.manifest.output(None)
    maps = [model.engine(level="l2a", output=output)(dn) for model in models]
    assert np.abs(maps[0] - maps[1]).max() < 1e-5 * np.abs(maps[0]).max()


@needs_openvino
def test_signals_reach_a_process_that_had_several_models() -> None:
    """In a process of its own: what a signal kills would else be the tests."""
    code = """
import gc, os, signal
from mmearth_infer.engine.open import open_model
from tests.helpers.models import UNTRAINED
first, second = (open_model(UNTRAINED, engine="openvino") for _ in range(2))
engines = [one.engine(level="l2a", output=one.file.manifest.output(None))
           for one in (first, second)]
del first, engines[0]
gc.collect()
del second, engines
gc.collect()
signal.signal(signal.SIGUSR1, lambda *_: print("heard"))
os.kill(os.getpid(), signal.SIGUSR1)
"""
    done = subprocess.run(
        [sys.executable, "-c", code], check=False, capture_output=True, text=True
    )
    assert (done.returncode, done.stdout) == (0, "heard\n"), done.stderr


@needs_openvino
def test_embed_by_another_engine(tmp_path: Path, mmearth: Callable[..., Ran]) -> None:
    out = tmp_path / "o.zarr"
    ran = mmearth("embed", "demo", "-o", out, "--engine", "openvino", "--json")
    assert ran.code == 0, ran.stderr
    assert ran.report["engine"] == "openvino"
    attributes = json.loads((out / "zarr.json").read_text())["attributes"]
    assert attributes["mmearth"]["engine"]["name"] == "openvino"


@pytest.mark.parametrize(
    "engine", ["onnxruntime", pytest.param("openvino", marks=needs_openvino)]
)
def test_files_that_are_no_model(tmp_path: Path, engine: str) -> None:
    path = tmp_path / "m.onnx"
    path.write_bytes(b"nonsense")
    with pytest.raises(
        ModelError, match=f"is not an ONNX model that {engine} can open"
    ) as caught:
        open_model(path, engine=engine)  # type: ignore[arg-type]
    assert caught.value.hint
    with pytest.raises(ModelError, match="there is no model file"):
        open_model(tmp_path / "absent.onnx")


def test_machine_code_is_not_run_unasked(
    tmp_path: Path, mmearth: Callable[..., Ran], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not by `embed`, and not by `info`, which reads the manifest alone."""
    monkeypatch.setattr(choice, "find_spec", lambda _: True)
    path = tmp_path / "m.pt2"
    with zipfile.ZipFile(path, "w") as package:
        package.writestr("model/data/aotinductor/model/run.so", b"not to be loaded")
    ran = mmearth("embed", "demo", "-o", tmp_path / "o.zarr", "--model", path)
    assert ran.code == 1
    assert "holds machine code" in ran.stderr
    assert "--trust-model" in ran.stderr
    assert not (tmp_path / "o.zarr").exists()
    with pytest.raises(ManifestError, match="has no manifest"):
        read_file(path)


def test_a_manifest_too_large_to_be_one(tmp_path: Path) -> None:
    path = tmp_path / "m.pt2"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as package:
        package.writestr("model/extra/mmearth.manifest.json", b" " * 2**21)
    with pytest.raises(ManifestError, match="has no manifest"):
        read_file(path)
    path.write_bytes(b"no zip")
    with pytest.raises(ModelError, match="is no model"):
        read_file(path)
