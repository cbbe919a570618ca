"""Which engine runs a file, where, and what is said when none does."""

from __future__ import annotations

from importlib.util import find_spec
from typing import TYPE_CHECKING

import onnxruntime
import pytest

from mmearth_infer.engine import choice, cuda
from mmearth_infer.engine.choice import (
    ABLE,
    EXTRAS,
    Choice,
    Machine,
    choose,
    describe_engines,
    every_choice,
    this_machine,
)
from mmearth_infer.engine.ort import OrtRuntime, Providers, providers_for
from mmearth_infer.engine.runtime import RuntimeFailure
from mmearth_infer.errors import MissingExtraError, ModelError
from tests.helpers.models import UNTRAINED

if TYPE_CHECKING:
    from collections.abc import Callable

    from mmearth_infer.engine.choice import EngineChoice
    from tests.conftest import Ran

LAPTOP = Machine(
    engines={"cpu": frozenset({"onnxruntime", "openvino"}), "cuda": frozenset()}, gpus=0
)
SERVER = Machine(
    engines={
        "cpu": frozenset({"onnxruntime", "torch"}),
        "cuda": frozenset({"tensorrt", "onnxruntime"}),
    },
    gpus=2,
)
BARE = Machine(engines={"cpu": frozenset(), "cuda": frozenset()}, gpus=1)


@pytest.mark.parametrize(
    ("machine", "suffix", "engine", "device", "found", "why"),
    [
        (LAPTOP, ".onnx", "auto", "auto", "onnxruntime cpu", "it is the fastest"),
        (LAPTOP, ".onnx", "openvino", "auto", "openvino cpu", "it was asked for"),
        (LAPTOP, ".xml", "auto", "auto", "openvino cpu", "it alone runs `.xml` files"),
        (LAPTOP, ".what", "auto", "cpu", "onnxruntime cpu", "it is the fastest"),
        (SERVER, ".onnx", "auto", "auto", "onnxruntime cuda:0", "was measured on"),
        (SERVER, ".onnx", "auto", "cuda:1", "onnxruntime cuda:1", "was measured on"),
        (SERVER, ".onnx", "auto", "cuda:1,0,1", "onnxruntime cuda:0,1", "measured"),
        (SERVER, ".onnx", "tensorrt", "cuda:all", "tensorrt cuda:0,1", "asked for"),
        (SERVER, ".onnx", "auto", "cpu", "onnxruntime cpu", "it is the fastest"),
        (SERVER, ".onnx", "onnxruntime", "auto", "onnxruntime cuda:0", "asked for"),
        (SERVER, ".pt2", "auto", "auto", "torch cpu", "it alone runs `.pt2` files"),
        (SERVER, ".engine", "auto", "auto", "tensorrt cuda:0", "it alone runs"),
    ],
)
def test_what_is_taken(
    machine: Machine,
    suffix: str,
    engine: EngineChoice,
    device: str,
    found: str,
    why: str,
) -> None:
    taken = choose(suffix, engine, device, machine)
    assert f"{taken.engine} {taken.device}" == found
    assert why in taken.why


def test_the_next_best_is_said_to_be_that() -> None:
    only = Machine(
        engines={"cpu": frozenset({"openvino"}), "cuda": frozenset({"tensorrt"})},
        gpus=1,
    )
    assert choose(".onnx", "auto", "cpu", only).why == (
        "the fastest, onnxruntime, is not installed"
    )
    assert choose(".onnx", "auto", "auto", only).why == (
        "the fastest on a GPU, onnxruntime, is not installed"
    )


@pytest.mark.parametrize(
    ("machine", "suffix", "engine", "device", "message"),
    [
        (LAPTOP, ".onnx", "auto", "gpu", "--device gpu is no device"),
        (LAPTOP, ".onnx", "auto", "cuda", "there is no GPU cuda that CUDA can use"),
        (LAPTOP, ".engine", "auto", "auto", "there is no GPU cuda that CUDA can use"),
        (SERVER, ".onnx", "auto", "cuda:2", "no GPU cuda:2 .*: it finds 2"),
        (SERVER, ".onnx", "auto", "cuda:0,2", "no GPU cuda:0,2 .*: it finds 2"),
        (LAPTOP, ".onnx", "auto", "cuda:all", "no GPU cuda:all .*: it finds 0"),
        (SERVER, ".onnx", "auto", "cuda:0,", "--device cuda:0, is no device"),
        (SERVER, ".pt2", "auto", "cuda", "nothing runs `.pt2` files on cuda"),
        (
            SERVER,
            ".onnx",
            "openvino",
            "cuda",
            "openvino does not run `.onnx`",
        ),
        (LAPTOP, ".pt2", "onnxruntime", "auto", "onnxruntime does not run `.pt2`"),
        (LAPTOP, ".xml", "torch", "auto", "torch does not run `.xml` files"),
        (LAPTOP, ".engine", "torch", "auto", "torch does not run `.engine` files"),
    ],
)
def test_what_cannot_be(
    machine: Machine, suffix: str, engine: EngineChoice, device: str, message: str
) -> None:
    with pytest.raises(ModelError, match=message) as caught:
        choose(suffix, engine, device, machine)
    assert caught.value.hint


@pytest.mark.parametrize(
    ("suffix", "engine", "device", "extra"),
    [
        (".onnx", "auto", "cpu", "cpu"),
        (".onnx", "openvino", "auto", "openvino"),
        (".onnx", "onnxruntime", "cuda", "gpu"),
        (".onnx", "onnxruntime-tensorrt", "auto", "gpu,tensorrt"),
        (".pt2", "auto", "auto", "train"),
        (".engine", "auto", "auto", "tensorrt"),
    ],
)
def test_what_is_not_installed(
    suffix: str, engine: EngineChoice, device: str, extra: str
) -> None:
    with pytest.raises(MissingExtraError) as caught:
        choose(suffix, engine, device, BARE)
    assert f"mmearth-infer[{extra}]" in (caught.value.hint or "")


def test_tables_agree() -> None:
    """Every engine that runs a file has an extra that brings it."""
    pairs = {
        (name, kind)
        for able in ABLE.values()
        for kind, names in able.items()
        for name in names
    }
    assert pairs == set(EXTRAS)


def test_all_of_them() -> None:
    names = [found.engine for found in every_choice(".onnx", "auto", SERVER)]
    assert names == ["onnxruntime", "tensorrt"]
    assert [f.engine for f in every_choice(".onnx", "cpu", LAPTOP)] == [
        "onnxruntime",
        "openvino",
    ]


def test_what_info_says() -> None:
    lines = describe_engines(".onnx", SERVER)
    assert "onnxruntime on cpu: here" in lines
    assert "openvino on cpu: not here" in lines
    (tensorrt,) = (line for line in lines if line.startswith("tensorrt"))
    assert tensorrt.endswith("here, never run on hardware by those who wrote it")


def test_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    found = this_machine()
    assert ("onnxruntime" in found.engines["cpu"]) == bool(find_spec("onnxruntime"))
    monkeypatch.setattr(choice, "gpu_count", lambda: 1)
    given = ["TensorrtExecutionProvider", "CUDAExecutionProvider"]
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: given)
    monkeypatch.setattr(choice, "find_spec", lambda _: True)
    assert this_machine().engines["cuda"] == {
        "tensorrt",
        "onnxruntime",
        "onnxruntime-tensorrt",
    }


def test_no_bindings_no_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cuda, "find_spec", lambda _: None)
    assert cuda.gpu_count() == 0


def test_providers_of_onnx_runtime() -> None:
    """The names are those that this version knows; float32 is never TF32."""
    known = onnxruntime.get_all_providers()
    for name in ("onnxruntime", "onnxruntime-tensorrt"):
        found = providers_for(Choice(engine=name, device="cuda:1", why=""))  # type: ignore[arg-type]
        assert {provider for provider, _ in found.those} <= set(known)
        settings = dict(found.those)
        cuda = settings["CUDAExecutionProvider"]
        assert (cuda["device_id"], cuda["use_tf32"]) == ("1", "0")
        assert found.place == ("cuda", 1)
    first, kept = found.those[0]
    assert first == "TensorrtExecutionProvider"
    assert kept["trt_engine_cache_enable"] == "1"


def test_a_provider_that_does_not_start() -> None:
    """ONNX Runtime would go on without, and be slow in silence."""
    meant = Providers(
        name="onnxruntime",
        device="cpu",
        those=(("CPUExecutionProvider", {}),),
    )
    content = UNTRAINED.read_bytes()
    runtime = OrtRuntime(content, meant, threads=1)
    assert runtime.device == "cpu"
    cuda_only = providers_for(Choice(engine="onnxruntime", device="cuda:0", why=""))
    with (
        pytest.warns(UserWarning, match="not in available provider names"),
        pytest.raises(RuntimeFailure, match="CUDAExecutionProvider does not start"),
    ):
        OrtRuntime(content, cuda_only, threads=1)


def test_no_such_device_on_the_command_line(mmearth: Callable[..., Ran]) -> None:
    for command in (("embed", "demo", "-o", "x.zarr"), ("bench",)):
        ran = mmearth(*command, "--device", "gpu0")
        assert ran.code == 1
        assert "--device gpu0 is no device" in ran.stderr
        assert "hint: auto, cpu" in ran.stderr
