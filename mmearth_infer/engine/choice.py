"""Which library runs a file, on which device: decided from what is installed."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from importlib.util import find_spec
from typing import TYPE_CHECKING, Final, Literal, get_args

from mmearth_infer.engine.cuda import gpu_count
from mmearth_infer.errors import MissingExtraError, ModelError

if TYPE_CHECKING:
    from collections.abc import Mapping

EngineName = Literal[
    "onnxruntime", "openvino", "torch", "tensorrt", "onnxruntime-tensorrt"
]
"""A library that runs models; the last is ONNX Runtime that leaves it to TensorRT."""

EngineChoice = Literal["auto", EngineName]
"""One of them, or the fastest that is installed and runs the file."""

DeviceKind = Literal["cpu", "cuda"]
"""Processor, or GPU by NVIDIA."""

ENGINES: Final[tuple[EngineName, ...]] = get_args(EngineName)

ABLE: Final[Mapping[str, Mapping[DeviceKind, tuple[EngineName, ...]]]] = {
    ".onnx": {
        "cpu": ("onnxruntime", "openvino"),
        "cuda": ("onnxruntime", "tensorrt", "onnxruntime-tensorrt"),
    },
    ".xml": {"cpu": ("openvino",)},
    ".pt2": {"cpu": ("torch",)},
    ".engine": {"cuda": ("tensorrt",)},
}
"""What runs a file, by its suffix and the device, the fastest first. The order on CPUs
was measured (docs/benchmarks/engines.md); on GPUs what was run comes first."""

KINDS: Final[Mapping[str, str]] = {
    ".onnx": "an ONNX model",
    ".xml": "an OpenVINO model",
    ".pt2": "a PyTorch package",
    ".engine": "a TensorRT engine",
}
"""What a file is, by its suffix."""

MACHINE_CODE: Final = frozenset({".pt2", ".engine"})
"""Files that run as programs when they are opened."""

EXTRAS: Final[Mapping[tuple[EngineName, DeviceKind], str]] = {
    ("onnxruntime", "cpu"): "cpu",
    ("onnxruntime", "cuda"): "gpu",
    ("onnxruntime-tensorrt", "cuda"): "gpu,tensorrt",
    ("openvino", "cpu"): "openvino",
    ("tensorrt", "cuda"): "tensorrt",
    ("torch", "cpu"): "train",
}
"""Extra that brings a library for a device."""

UNPROVEN: Final[frozenset[EngineName]] = frozenset({"tensorrt", "onnxruntime-tensorrt"})
"""Engines that were never run on a GPU here, for want of TensorRT beside one."""

_DEVICE: Final = re.compile(r"auto|cpu|cuda(:all|:\d{1,3}(,\d{1,3})*)?")


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """What is installed on a machine, and what is in it."""

    engines: Mapping[DeviceKind, frozenset[EngineName]]
    """Engines that can be imported, by what they compute on."""

    gpus: int
    """GPUs that CUDA can use."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """What runs a file."""

    engine: EngineName
    """The library."""

    device: str
    """What it computes on: `cpu`, `cuda:0`, or `cuda:0,1` for two GPUs."""

    why: str
    """Why it is this one."""

    @property
    def kind(self) -> DeviceKind:
        """What kind of device it is."""
        return "cpu" if self.device == "cpu" else "cuda"

    @property
    def gpus(self) -> tuple[int, ...]:
        """Numbers of the GPUs; none on a processor."""
        return _numbers(self.device) if self.kind == "cuda" else ()

    @property
    def gpu(self) -> int:
        """Number of the GPU, of a choice of one."""
        (number,) = self.gpus
        return number

    def each(self) -> tuple[Choice, ...]:
        """Return the same choice for each GPU by itself; itself on a processor."""
        if not self.gpus:
            return (self,)
        return tuple(replace(self, device=f"cuda:{gpu}") for gpu in self.gpus)


def this_machine() -> Machine:
    """Look at what is installed, and whether there is a GPU. Imports no engine."""
    cpu: set[EngineName] = {
        name for name in ("onnxruntime", "openvino", "torch") if find_spec(name)
    }
    cuda: set[EngineName] = {"tensorrt"} if find_spec("tensorrt") else set()
    gpus = gpu_count()
    if gpus and "onnxruntime" in cpu:
        import onnxruntime  # noqa: PLC0415 -- only where there is a GPU

        given = onnxruntime.get_available_providers()
        if "CUDAExecutionProvider" in given:
            cuda.add("onnxruntime")
        if "TensorrtExecutionProvider" in given and "tensorrt" in cuda:
            cuda.add("onnxruntime-tensorrt")
    return Machine(engines={"cpu": frozenset(cpu), "cuda": frozenset(cuda)}, gpus=gpus)


def check_device(device: str) -> str:
    """Return a device as it was given.

    Raises:
        ModelError: If it is none.

    """
    if not _DEVICE.fullmatch(device):
        raise ModelError(
            f"--device {device} is no device",
            hint="auto, cpu, cuda, cuda:1 for the second GPU, cuda:0,1 for two of "
            "them, or cuda:all",
        )
    return device


def installed(suffix: str, kind: DeviceKind, machine: Machine) -> list[EngineName]:
    """Return what is installed and runs a file on a device, the fastest first."""
    return [name for name in able(suffix, kind) if name in machine.engines[kind]]


def able(suffix: str, kind: DeviceKind) -> tuple[EngineName, ...]:
    """Return what runs a file on a device; a suffix nobody knows is ONNX."""
    return ABLE.get(suffix, ABLE[".onnx"]).get(kind, ())


def choose(suffix: str, engine: EngineChoice, device: str, machine: Machine) -> Choice:
    """Return what runs a file, where, and why.

    Args:
        suffix: The file's.
        engine: What was asked for.
        device: `auto` (a GPU if there is one that something installed can use),
            `cpu`, `cuda`, `cuda:1`, `cuda:0,1` or `cuda:all`.
        machine: What there is.

    Raises:
        ModelError: If nothing runs such files there, or not what was asked for.
        MissingExtraError: If it is not installed.

    """
    kinds = _kinds(suffix, engine, check_device(device), machine)
    for kind in kinds:
        there = installed(suffix, kind, machine)
        place = "cpu" if kind == "cpu" else _gpus(device, machine)
        if engine != "auto":
            if engine in there:
                return Choice(engine=engine, device=place, why="it was asked for")
        elif there:
            why = _why(there[0], suffix, kind)
            return Choice(engine=there[0], device=place, why=why)
    kind = kinds[-1]
    missing = able(suffix, kind)[0] if engine == "auto" else engine
    raise MissingExtraError(f"engine {missing}", extra=EXTRAS[missing, kind])


def every_choice(suffix: str, device: str, machine: Machine) -> list[Choice]:
    """Return everything installed that runs a file on a device.

    Raises:
        ModelError: If nothing runs such files there.
        MissingExtraError: If nothing is installed that does.

    """
    best = choose(suffix, "auto", device, machine)
    return [
        choose(suffix, name, best.device, machine)
        for name in installed(suffix, best.kind, machine)
    ]


def describe_engines(suffix: str, machine: Machine) -> list[str]:
    """Return a line for each engine that runs a file: is it here, was it ever run."""
    lines = []
    for kind in ("cpu", "cuda"):
        for name in able(suffix, kind):
            here = name in machine.engines[kind] and (kind == "cpu" or machine.gpus > 0)
            line = f"{name} on {kind}: {'here' if here else 'not here'}"
            if name in UNPROVEN:
                line += ", never run on hardware by those who wrote it"
            lines.append(line)
    return lines


def _kinds(
    suffix: str, engine: EngineChoice, device: str, machine: Machine
) -> list[DeviceKind]:
    """Return the kinds of device to try, in order; at least one."""
    possible: list[DeviceKind] = [
        kind
        for kind in ("cuda", "cpu")
        if able(suffix, kind) and engine in {"auto", *able(suffix, kind)}
    ]
    if not possible:
        every = {name for kind in ABLE[".onnx"] for name in able(suffix, kind)}
        raise ModelError(
            f"{engine} does not run `{suffix}` files",
            hint=f"{' and '.join(sorted(every))} do; "
            "`mmearth export --format` makes others",
        )
    wanted = device.partition(":")[0]
    if wanted != "auto" and wanted not in possible:
        what = "nothing runs" if engine == "auto" else f"{engine} does not run"
        raise ModelError(
            f"{what} `{suffix}` files on {device}",
            hint=f"--device {possible[0]}",
        )
    kinds = [kind for kind in possible if wanted in {"auto", kind}]
    if "cuda" in kinds and not max(_numbers(device), default=0) < machine.gpus:
        kinds.remove("cuda")
        if not kinds:
            raise ModelError(
                f"there is no GPU {device if wanted == 'cuda' else 'cuda'} that "
                f"CUDA can use: it finds {machine.gpus}",
                hint="it needs NVIDIA's driver and the `gpu` or `tensorrt` extra; "
                "--device cpu does without, with a model for it",
            )
    return kinds


def _gpus(device: str, machine: Machine) -> str:
    """Return the GPUs that are meant, by number."""
    if device == "cuda:all":
        return "cuda:" + ",".join(map(str, range(machine.gpus)))
    return "cuda:" + ",".join(map(str, _numbers(device) or (0,)))


def _numbers(device: str) -> tuple[int, ...]:
    """Return the numbers that a device names, each once, in order."""
    return tuple(sorted({int(number) for number in re.findall(r"\d+", device)}))


def _why(name: EngineName, suffix: str, kind: DeviceKind) -> str:
    """Return why `auto` takes an engine."""
    those = able(suffix, kind)
    where = "" if kind == "cpu" else " on a GPU"
    if len(those) == 1:
        return f"it alone runs `{suffix}` files{where}"
    if name == those[0] and kind == "cuda":
        return "it is the one that was measured on a GPU"
    if name == those[0]:
        return f"it is the fastest that runs `{suffix}` files{where}"
    return f"the fastest{where}, {those[0]}, is not installed"
