"""What TensorRT is asked for, and when a built engine is used again."""

from __future__ import annotations

import zipfile
from dataclasses import replace
from pathlib import Path

import msgspec
import numpy as np
import onnx
import onnxruntime
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmearth_infer.engine.open import read_file
from mmearth_infer.engine.runtime import RuntimeFailure
from mmearth_infer.engine.trt.decide import (
    Built,
    Profile,
    check_host,
    check_kept,
    profile_for,
)
from mmearth_infer.engine.trt.package import read_built, read_plan, write_package
from mmearth_infer.engine.trt.rewrite import as_bytes, read_bytes
from mmearth_infer.errors import ModelError
from tests.helpers.models import UNTRAINED

PROFILE = Profile(bands=12, smallest=(1, 16, 16), largest=(8, 672, 672))

BUILT = Built(
    model="ab" * 32,
    gpu="NVIDIA H100 80GB HBM3",
    capability="9.0",
    tensorrt="10.16.1.11",
    profile=PROFILE,
)

OTHERS = {
    "model": "cd" * 32,
    "gpu": "NVIDIA L4",
    "capability": "8.9",
    "tensorrt": "11.4.0",
    "profile": replace(PROFILE, largest=(4, 672, 672)),
    "recipe": 99,
}


@pytest.mark.parametrize("name", OTHERS)
def test_anything_else_is_another_engine(name: str) -> None:
    other = replace(BUILT, **{name: OTHERS[name]})
    assert other.file_name != BUILT.file_name
    with pytest.raises(ModelError, match=f"is stale: its {name} is") as caught:
        check_kept(Path("k.engine"), other, BUILT)
    assert "rm k.engine" in (caught.value.hint or "")


def test_the_same_is_the_same() -> None:
    check_kept(Path("k.engine"), replace(BUILT), BUILT)
    assert replace(BUILT).file_name == BUILT.file_name
    assert BUILT.timing_name == "timing-NVIDIA-H100-80GB-HBM3-9.0-10.16.1.11.cache"
    path = replace(BUILT, gpu="../../x").timing_name
    assert "/" not in path


@pytest.mark.parametrize("name", ["gpu", "capability", "tensorrt", "recipe"])
def test_an_engine_for_another_host(name: str) -> None:
    other = replace(BUILT, **{name: OTHERS[name]})
    with pytest.raises(ModelError, match="was built for") as caught:
        check_host(Path("m.engine"), other, BUILT)
    assert str(getattr(BUILT, name)) in str(caught.value)
    assert caught.value.hint
    check_host(Path("m.engine"), replace(BUILT, model="other"), BUILT)


def test_profiles() -> None:
    manifest = read_file(UNTRAINED).manifest
    profile = profile_for(manifest, (8, 672, 448))
    assert profile.shapes() == (
        (1, 12, 16, 16, 2),
        (8, 12, 672, 448, 2),
        (8, 12, 672, 448, 2),
    )
    assert profile.admits((1, 16, 16))
    assert profile.admits((8, 672, 448))
    assert not profile.admits((9, 672, 448))
    assert not profile.admits((8, 448, 672))
    with pytest.raises(ModelError, match="no batch of the model"):
        profile_for(manifest, (0, 672, 672))
    with pytest.raises(ModelError, match="no batch of the model"):
        profile_for(manifest, (1, 8, 672))


def test_what_is_kept_is_read_again(tmp_path: Path) -> None:
    path = tmp_path / "k.engine"
    manifest = read_file(UNTRAINED).manifest
    write_package(path, b"plan" * 99, BUILT, manifest)
    assert read_built(path) == BUILT
    assert read_plan(path) == b"plan" * 99
    whole = path.read_bytes()
    at = whole.index(b"planplan") + 9
    path.write_bytes(whole[:at] + b"X" + whole[at + 1 :])
    with pytest.raises(RuntimeFailure, match="CRC"):
        read_plan(path)
    path.write_bytes(whole[:-40])
    with pytest.raises(RuntimeFailure, match="zip"):
        read_plan(path)
    path.write_bytes(whole.replace(b'"recipe":1', b'"recipe":"'))
    with pytest.raises(RuntimeFailure):
        read_built(path)


def test_a_package_that_says_nothing(tmp_path: Path) -> None:
    path = tmp_path / "k.engine"
    with zipfile.ZipFile(path, "w") as package:
        package.writestr("engine/other", b"")
    with pytest.raises(RuntimeFailure, match="what it was built for"):
        read_built(path)
    with pytest.raises(RuntimeFailure, match="engine/plan"):
        read_plan(path)


@given(st.lists(st.integers(0, 65535), min_size=1, max_size=20))
def test_two_bytes_are_the_number(numbers: list[int]) -> None:
    dn = np.array(numbers, np.uint16)[None, None, None, :]
    pairs = as_bytes(dn).astype(np.float32)
    np.testing.assert_array_equal(pairs @ np.array([1, 256], np.float32), dn)


def test_the_rewritten_graph_computes_the_same() -> None:
    content = UNTRAINED.read_bytes()
    rewritten = read_bytes(content)
    onnx.checker.check_model(onnx.load_from_string(rewritten), full_check=True)
    dn = np.random.default_rng(0).integers(0, 65536, (2, 12, 32, 48), np.uint16)
    dn[:, :, :5] = 0
    rest = {
        "band_mean": np.full(12, 1000, np.float32),
        "band_std": np.full(12, 500, np.float32),
    }
    cpu = ["CPUExecutionProvider"]
    (expected,) = onnxruntime.InferenceSession(content, providers=cpu).run(
        None, {"dn": dn, **rest}
    )
    (found,) = onnxruntime.InferenceSession(rewritten, providers=cpu).run(
        None, {"dn_bytes": as_bytes(dn), **rest}
    )
    np.testing.assert_array_equal(found, expected)


def test_graphs_that_cannot_be_rewritten() -> None:
    with pytest.raises(RuntimeFailure):
        read_bytes(b"nonsense")
    model = onnx.load(UNTRAINED)
    (cast,) = (n for n in model.graph.node if n.op_type == "Cast" and "dn" in n.input)
    cast.attribute[0].i = onnx.TensorProto.DOUBLE
    with pytest.raises(RuntimeFailure, match="does not cast `dn`"):
        read_bytes(model.SerializeToString())


def test_messages_are_json() -> None:
    """A field more in a newer version is no error of an older one."""
    text = msgspec.json.encode({**msgspec.to_builtins(BUILT), "more": 1})
    assert msgspec.json.decode(text, type=Built) == BUILT
