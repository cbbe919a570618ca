"""A stand-in for CUDA's runtime: one GPU whose memory is the processor's.

Each call goes to the real bindings first, which check the arguments and find no
driver; then what it would have done is done in memory.
"""

from __future__ import annotations

import ctypes
from types import ModuleType
from typing import Any

from cuda.bindings import runtime


class Runtime(ModuleType):
    """`cuda.bindings.runtime` as our code imports it."""

    def __init__(self, name: str = "NVIDIA Stand-In", capability: str = "9.0") -> None:
        super().__init__("cuda.bindings.runtime")
        self.gpu, self.capability = name, capability
        self.held: dict[int, Any] = {}
        self.most_bytes: int | None = None

    def __getattr__(self, name: str) -> Any:
        real = getattr(runtime, name)
        if not name.startswith("cuda") or isinstance(real, type):
            return real

        def call(*args: Any) -> Any:
            status, *_ = real(*args)  # a wrong argument is a TypeError
            assert status == runtime.cudaError_t.cudaErrorInsufficientDriver, status
            return getattr(self, f"_{name}")(*args)

        return call

    def _cudaGetDeviceCount(self) -> Any:
        return self._done(1)

    def _cudaSetDevice(self, device: int) -> Any:
        ok = device == 0
        errors = runtime.cudaError_t
        return (errors.cudaSuccess if ok else errors.cudaErrorInvalidDevice,)

    def _cudaStreamCreate(self) -> Any:
        return self._done(runtime.cudaStream_t(1))

    def _cudaStreamDestroy(self, _stream: int) -> Any:
        return self._done()

    def _cudaStreamSynchronize(self, stream: int) -> Any:
        assert stream == 1
        return self._done()

    def _cudaMemGetInfo(self) -> Any:
        return self._done(2**30, 2**31)

    def _cudaGetDeviceProperties(self, _device: int) -> Any:
        said = runtime.cudaDeviceProp()
        said.name = self.gpu.encode().ljust(256, b"\0")
        said.major, said.minor = map(int, self.capability.split("."))
        return self._done(said)

    def _cudaMalloc(self, size: int) -> Any:
        if self.most_bytes is not None and size > self.most_bytes:
            return runtime.cudaError_t.cudaErrorMemoryAllocation, None
        held = (ctypes.c_ubyte * size)()
        address = ctypes.addressof(held)
        self.held[address] = held
        return self._done(address)

    _cudaMallocHost = _cudaMalloc

    def _cudaFree(self, address: int) -> Any:
        del self.held[address]
        return self._done()

    _cudaFreeHost = _cudaFree

    def _cudaMemcpyAsync(
        self, target: int, source: int, size: int, _kind: Any, stream: int
    ) -> Any:
        assert stream == 1
        for address in (target, source):
            assert size <= len(self.held[address])
        ctypes.memmove(target, source, size)
        return self._done()

    @staticmethod
    def _done(*given: Any) -> Any:
        return runtime.cudaError_t.cudaSuccess, *given
