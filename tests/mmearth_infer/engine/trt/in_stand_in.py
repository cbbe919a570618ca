"""Cases of `test_bindings.py`: run there, in a process of their own."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest

from mmearth_infer.engine import choice
from mmearth_infer.engine.open import open_model, read_file
from mmearth_infer.engine.trt.decide import check_graph
from mmearth_infer.errors import ModelError
from tests.helpers.models import UNTRAINED
from tests.helpers.scenes import random_dn
from tests.helpers.stand_in.gpu import TRT, gpu

if TYPE_CHECKING:
    from pathlib import Path

    from tests.helpers.stand_in.cuda import Runtime

__all__ = ["gpu"]  # a fixture that every case uses


def kept(tmp_path: Path, suffix: str = ".engine") -> list[Path]:
    return sorted((tmp_path / "cache" / "mmearth" / "tensorrt").glob(f"*{suffix}"))


def features(path: Path, dn: np.ndarray, **how: object) -> np.ndarray:
    model = open_model(path, **how)  # type: ignore[arg-type]
    output = model.file.manifest.output(None)
    return model.engine(level="l2a", output=output)(dn)


def test_pixels_in_features_out() -> None:
    """The same as ONNX Runtime, for batches of several sizes, nodata among them."""
    model = open_model(UNTRAINED, engine="tensorrt")
    assert (model.runtime.name, model.runtime.device) == ("tensorrt", "cuda:0")
    assert "never run" in model.warnings[-1]
    output = model.file.manifest.output(None)
    model.engines(level="l2a", outputs=[output], largest=(2, 96, 64))
    engine = model.engine(level="l2a", output=output)
    reference = open_model(UNTRAINED, engine="onnxruntime", device="cpu")
    expected = reference.engine(level="l2a", output=output)
    assert model.runtime.axes() == reference.runtime.axes()
    for shape in ((1, 96, 64), (2, 96, 64), (1, 32, 16)):
        dn = np.stack(
            [random_dn(height=shape[1], width=shape[2]) for _ in range(shape[0])]
        )
        dn[:, :, :9, :9] = 0
        dn[:, :, -1, -1] = 65535
        apart = np.abs(engine(dn) - expected(dn)).max()
        assert apart <= 1e-6 * np.abs(expected(dn)).max()
    assert TRT.builds == 1


def test_an_engine_is_built_once_and_kept(tmp_path: Path) -> None:
    dn = random_dn(height=32, width=32)[None]
    first = features(UNTRAINED, dn, engine="tensorrt")
    again = features(UNTRAINED, dn, engine="tensorrt")
    assert TRT.builds == 1
    np.testing.assert_array_equal(first, again)
    (path,) = kept(tmp_path)
    assert path.parent.stat().st_mode & 0o077 == 0
    features(UNTRAINED, random_dn(height=64, width=32)[None], engine="tensorrt")
    assert TRT.builds == 2  # for larger tiles
    assert len(kept(tmp_path)) == 2
    (timings,) = kept(tmp_path, ".cache")
    assert timings.read_bytes() == b"++"


def test_timings_of_another_gpu_are_not_used(tmp_path: Path) -> None:
    dn = random_dn(height=32, width=32)[None]
    features(UNTRAINED, dn, engine="tensorrt")
    (timings,) = kept(tmp_path, ".cache")
    timings.write_bytes(b"of another GPU")
    (path,) = kept(tmp_path)
    path.unlink()
    features(UNTRAINED, dn, engine="tensorrt")
    assert timings.read_bytes() == b"+"


def test_another_gpu_has_an_engine_of_its_own(tmp_path: Path, gpu: Runtime) -> None:
    dn = random_dn(height=32, width=32)[None]
    features(UNTRAINED, dn, engine="tensorrt")
    gpu.gpu = "NVIDIA Other"
    features(UNTRAINED, dn, engine="tensorrt")
    assert TRT.builds == len(kept(tmp_path)) == 2


def test_a_stale_kept_engine(tmp_path: Path, gpu: Runtime) -> None:
    """One that lies under a name that is not its own, or is damaged."""
    dn = random_dn(height=32, width=32)[None]
    features(UNTRAINED, dn, engine="tensorrt")
    (here,) = kept(tmp_path)
    gpu.gpu = "NVIDIA Other"
    features(UNTRAINED, dn, engine="tensorrt")
    (other,) = set(kept(tmp_path)) - {here}
    other.replace(here)
    gpu.gpu = "NVIDIA Stand-In"
    with pytest.raises(ModelError, match="is stale: its gpu is NVIDIA Other") as caught:
        features(UNTRAINED, dn, engine="tensorrt")
    assert f"rm {here}" in (caught.value.hint or "")
    here.write_bytes(here.read_bytes()[:-200])
    with pytest.raises(ModelError, match="zip"):
        features(UNTRAINED, dn, engine="tensorrt")


def test_engine_files(tmp_path: Path, gpu: Runtime) -> None:
    """Opened when trusted, on the GPU and TensorRT they were built for."""
    dn = random_dn(height=32, width=32)[None]
    expected = features(UNTRAINED, dn, engine="tensorrt")
    (there,) = kept(tmp_path)
    path = there.rename(tmp_path / "m.engine")
    with pytest.raises(ModelError, match="holds machine code"):
        open_model(path)
    np.testing.assert_array_equal(features(path, dn, trusted=True), expected)
    assert read_file(path).manifest == read_file(UNTRAINED).manifest
    with pytest.raises(ModelError, match="beyond the"):
        features(path, random_dn(height=64, width=32)[None], trusted=True)
    with pytest.raises(ModelError, match=r"nothing runs `\.engine` files on cpu"):
        open_model(path, device="cpu", trusted=True)
    gpu.capability = "8.0"
    with pytest.raises(ModelError, match=r"for compute capability 9\.0, here is 8\.0"):
        open_model(path, trusted=True)
    gpu.capability, gpu.gpu = "9.0", "NVIDIA Other"
    with pytest.raises(ModelError, match="built for the GPU NVIDIA Stand-In") as caught:
        open_model(path, trusted=True)
    assert caught.value.hint
    gpu.gpu, TRT.__version__ = "NVIDIA Stand-In", "12.0"
    try:
        with pytest.raises(ModelError, match="was built for TensorRT"):
            open_model(path, trusted=True)
    finally:
        TRT.__version__ = TRT._trt.__version__


def test_words_of_tensorrt_reach_the_user(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = "mmearth_infer.engine.trt.runtime.build"
    monkeypatch.setattr(name, lambda *_, **__: (b"no plan", b""))
    dn = random_dn(height=32, width=32)[None]
    with pytest.raises(ModelError, match="Magic tag does not match"):
        features(UNTRAINED, dn, engine="tensorrt")
    assert kept(tmp_path)


def test_memory(gpu: Runtime) -> None:
    """It is freed with the runtime; when there is none, that is said."""
    dn = random_dn(height=32, width=32)[None]
    features(UNTRAINED, dn, engine="tensorrt")
    assert not gpu.held
    gpu.most_bytes = 1000
    with pytest.raises(ModelError, match="cudaErrorMemoryAllocation") as caught:
        features(UNTRAINED, dn, engine="tensorrt")
    assert "--batch-size" in (caught.value.hint or "")


def test_auto_takes_the_gpu() -> None:
    found = choice.this_machine()
    assert found.gpus == 1
    assert choice.choose(".onnx", "auto", "auto", found).device == "cuda:0"
    assert choice.choose(".onnx", "auto", "cpu", found).engine == "onnxruntime"
    with pytest.raises(ModelError, match="no GPU cuda:3"):
        choice.choose(".onnx", "auto", "cuda:3", found)


def test_unsigned_int8_is_refused(tmp_path: Path) -> None:
    manifest = read_file(UNTRAINED).manifest
    check_graph(manifest)
    with pytest.raises(ModelError, match="no unsigned int8") as caught:
        check_graph(replace(manifest, precision="int8"))
    assert "--format trt" in (caught.value.hint or "")
    assert not list(tmp_path.iterdir())
