"""A module like `tensorrt`: names and signatures are the real ones, nothing is built.

An engine is the ONNX graph itself, and ONNX Runtime runs it, on "device" memory
that is the processor's own.
"""

from __future__ import annotations

import ctypes
from types import ModuleType
from typing import Any

import numpy as np
import onnxruntime

from tests.helpers.stand_in.signatures import bind

DTYPES = {"tensor(uint8)": np.uint8, "tensor(float)": np.float32}


class StandIn:
    """An object of a real class whose every use is held against that class."""

    def __init__(self, real: type, trt: Any, **state: Any) -> None:
        self.stands_for, self._trt, self.state = real, trt, state
        self.called: list[str] = []

    def __getattr__(self, name: str) -> Any:
        real = getattr(self.stands_for, name)  # AttributeError if there is none
        act = BEHAVIOUR.get(f"{self.stands_for.__name__}.{name}")
        if isinstance(real, property):
            assert act is not None, name
            return act(self)

        def call(*args: Any, **kwargs: Any) -> Any:
            given, returns = bind(real, args, kwargs)
            self.called.append(name)
            if act is not None:
                return act(self, **given)
            kind = getattr(self._trt, returns.rpartition(".")[2], None)
            return None if kind is None else StandIn(kind, self._trt, made_by=self)

        return call

    def __bytes__(self) -> bytes:
        assert self.stands_for.__name__ == "IHostMemory"
        content: bytes = self.state["content"]
        return content


class Module(ModuleType):
    """`tensorrt` as our code imports it."""

    def __init__(self, trt: Any) -> None:
        super().__init__("tensorrt")
        self._trt = trt
        self.builds = 0
        self.__version__: str = trt.__version__
        self.__spec__ = trt.__spec__

    def __getattr__(self, name: str) -> Any:
        real = getattr(self._trt, name)
        if name not in {"Builder", "OnnxParser", "Runtime"}:
            return real  # enums and the logger are the real ones

        def make(*args: Any, **kwargs: Any) -> StandIn:
            given, _ = bind(real.__init__, args, kwargs)
            return StandIn(real, self._trt, module=self, **given)

        return make


def _parse(parser: StandIn, model: bytes) -> bool:
    parser.state["network"].state["graph"] = model
    return True


def _build(builder: StandIn, network: StandIn, config: StandIn) -> StandIn:
    """Only if it was asked for as it should be."""
    flag = builder._trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED
    assert network.state["flags"] == 1 << int(flag)
    assert config.state["cleared"] == [builder._trt.BuilderFlag.TF32]
    ((name, low, typical, high),) = config.state["profile"].state["shapes"]
    assert name == "dn_bytes"
    assert all(a <= b <= c for a, b, c in zip(low, typical, high, strict=True))
    builder.state["module"].builds += 1
    return StandIn(
        builder._trt.IHostMemory, builder._trt, content=network.state["graph"]
    )


def _add_profile(config: StandIn, profile: StandIn) -> int:
    config.state["profile"] = profile
    return 0


def _set_shape(profile: StandIn, **given: Any) -> None:
    found = tuple(given[name] for name in ("input", "min", "opt", "max"))
    profile.state.setdefault("shapes", []).append(found)


def _network(builder: StandIn, flags: int = 0) -> StandIn:
    return StandIn(builder._trt.INetworkDefinition, builder._trt, flags=flags)


def _clear(config: StandIn, flag: Any) -> None:
    config.state.setdefault("cleared", []).append(flag)


def _timings(config: StandIn, serialized_timing_cache: bytes) -> StandIn:
    return StandIn(config._trt.ITimingCache, config._trt, known=serialized_timing_cache)


def _set_timings(config: StandIn, cache: StandIn, *, ignore_mismatch: bool) -> bool:
    assert not ignore_mismatch
    config.state["timings"] = cache
    return cache.state["known"] != b"of another GPU"


def _serialize(cache: StandIn) -> StandIn:
    content = cache.state["known"] + b"+"
    return StandIn(cache._trt.IHostMemory, cache._trt, content=content)


def _deserialize(runtime: StandIn, serialized_engine: bytes) -> StandIn | None:
    if serialized_engine == b"no plan":
        runtime.state["logger"].log(
            runtime._trt.ILogger.Severity.ERROR, "Magic tag does not match"
        )
        return None
    session = onnxruntime.InferenceSession(
        serialized_engine, providers=["CPUExecutionProvider"]
    )
    return StandIn(runtime._trt.ICudaEngine, runtime._trt, session=session)


def _nodes(engine: StandIn) -> list[Any]:
    session = engine.state["session"]
    return [*session.get_inputs(), *session.get_outputs()]


def _node(engine: StandIn, name: str) -> Any:
    return next(node for node in _nodes(engine) if node.name == name)


def _mode(engine: StandIn, name: str) -> Any:
    modes = engine._trt.TensorIOMode
    inputs = {node.name for node in engine.state["session"].get_inputs()}
    return modes.INPUT if name in inputs else modes.OUTPUT


def _open_shape(engine: StandIn, name: str) -> Any:
    shape = _node(engine, name).shape
    return engine._trt.Dims([a if isinstance(a, int) else -1 for a in shape])


def _dtype(engine: StandIn, name: str) -> Any:
    kinds = {"tensor(float)": engine._trt.DataType.FLOAT}
    return kinds.get(_node(engine, name).type, engine._trt.DataType.UINT8)


def _context(engine: StandIn) -> StandIn:
    state = {"engine": engine, "shapes": {}, "addresses": {}}
    return StandIn(engine._trt.IExecutionContext, engine._trt, **state)


def _set_input_shape(context: StandIn, name: str, shape: tuple[int, ...]) -> bool:
    known = _open_shape(context.state["engine"], name)
    context.state["shapes"][name] = shape
    return all(a in {-1, b} for a, b in zip(tuple(known), shape, strict=True))


def _address(context: StandIn, name: str, memory: int) -> bool:
    context.state["addresses"][name] = memory
    return True


def _shape(context: StandIn, name: str) -> Any:
    """As TensorRT would infer it; here by running once on zeros."""
    session = context.state["engine"].state["session"]
    zeros = {
        node.name: np.zeros(context.state["shapes"][node.name], DTYPES[node.type])
        for node in session.get_inputs()
    }
    (found,) = session.run([name], zeros)
    return context._trt.Dims(list(found.shape))


def _execute(context: StandIn, stream_handle: int) -> bool:
    assert stream_handle
    session = context.state["engine"].state["session"]
    feeds = {
        node.name: _memory(
            context.state["addresses"][node.name],
            context.state["shapes"][node.name],
            DTYPES[node.type],
        )
        for node in session.get_inputs()
    }
    names = [node.name for node in session.get_outputs()]
    for name, found in zip(names, session.run(names, feeds), strict=True):
        target = context.state["addresses"][name]
        _memory(target, found.shape, np.float32)[...] = found
    return True


def _memory(address: int, shape: tuple[int, ...], dtype: Any) -> Any:
    size = int(np.prod(shape)) * np.dtype(dtype).itemsize
    raw = (ctypes.c_ubyte * size).from_address(address)
    return np.ctypeslib.as_array(raw).view(dtype).reshape(shape)


BEHAVIOUR: dict[str, Any] = {
    "OnnxParser.parse": _parse,
    "OnnxParser.num_errors": lambda _: 0,
    "Builder.create_network": _network,
    "Builder.build_serialized_network": _build,
    "IBuilderConfig.add_optimization_profile": _add_profile,
    "IBuilderConfig.clear_flag": _clear,
    "IBuilderConfig.create_timing_cache": _timings,
    "IBuilderConfig.set_timing_cache": _set_timings,
    "IBuilderConfig.get_timing_cache": lambda config: config.state["timings"],
    "IOptimizationProfile.set_shape": _set_shape,
    "ITimingCache.serialize": _serialize,
    "Runtime.deserialize_cuda_engine": _deserialize,
    "ICudaEngine.num_io_tensors": lambda engine: len(_nodes(engine)),
    "ICudaEngine.get_tensor_name": lambda engine, index: _nodes(engine)[index].name,
    "ICudaEngine.get_tensor_mode": _mode,
    "ICudaEngine.get_tensor_shape": _open_shape,
    "ICudaEngine.get_tensor_dtype": _dtype,
    "ICudaEngine.create_execution_context": _context,
    "IExecutionContext.set_input_shape": _set_input_shape,
    "IExecutionContext.set_tensor_address": _address,
    "IExecutionContext.get_tensor_shape": _shape,
    "IExecutionContext.execute_async_v3": _execute,
}
