"""Building an engine: calls to TensorRT's builder, in the order it wants them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import tensorrt as trt

from mmearth_infer.engine.runtime import RuntimeFailure
from mmearth_infer.engine.trt.rewrite import BYTES_INPUT

if TYPE_CHECKING:
    from mmearth_infer.engine.trt.decide import Profile


class Words(trt.ILogger):  # type: ignore[misc]  # it has no types
    """Keeps what TensorRT says of errors: its functions return None instead."""

    def __init__(self) -> None:
        """Hear nothing yet."""
        super().__init__()
        self.errors: list[str] = []

    def log(self, severity: trt.ILogger.Severity, msg: str) -> None:
        """Keep an error; TensorRT calls this."""
        if severity in {
            trt.ILogger.Severity.ERROR,
            trt.ILogger.Severity.INTERNAL_ERROR,
        }:
            self.errors.append(msg)

    def failure(self, what: str) -> RuntimeFailure:
        """Return an error that says what was heard last."""
        return RuntimeFailure(f"{what}: {self.errors[-1]}" if self.errors else what)


def build(
    graph: bytes, profile: Profile, *, timings: bytes = b""
) -> tuple[bytes, bytes]:
    """Build an engine for the GPU of this thread.

    The network is strongly typed: every tensor has the type that the graph gives it,
    in TensorRT 10 as in 11, which knows nothing else. float32 is float32: products in
    TF32, which is TensorRT's default, would be beyond the tolerance of the gate.

    Args:
        graph: An ONNX model whose pixel input is bytes (`rewrite`).
        profile: Batches to build for.
        timings: Timings of kernels from earlier builds; those of another GPU or
            TensorRT are refused by it, and then not used.

    Returns:
        The engine, and the timings to keep.

    Raises:
        RuntimeFailure: With the words of TensorRT.

    """
    words = Words()
    builder = trt.Builder(words)
    flag = trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED
    network = builder.create_network(1 << int(flag))
    parser = trt.OnnxParser(network, words)
    if not parser.parse(graph):
        said = [parser.get_error(n).desc() for n in range(parser.num_errors)]
        raise RuntimeFailure("; ".join(said) or "TensorRT cannot read the graph")
    config = builder.create_builder_config()
    config.clear_flag(trt.BuilderFlag.TF32)
    batches = builder.create_optimization_profile()
    batches.set_shape(BYTES_INPUT, *profile.shapes())
    config.add_optimization_profile(batches)
    cache = config.create_timing_cache(timings)
    if not config.set_timing_cache(cache, ignore_mismatch=False):
        cache = config.create_timing_cache(b"")
        config.set_timing_cache(cache, ignore_mismatch=False)
    plan = builder.build_serialized_network(network, config)
    if plan is None:
        raise words.failure("TensorRT cannot build the engine")
    return bytes(plan), bytes(config.get_timing_cache().serialize())
