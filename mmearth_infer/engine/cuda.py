"""The few calls to CUDA that engines need, by NVIDIA's own bindings.

Memory is freed with the object that holds it.
"""

from __future__ import annotations

import ctypes
import weakref
from dataclasses import dataclass
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

import numpy as np

from mmearth_infer.engine.runtime import RuntimeFailure

if TYPE_CHECKING:
    from numpy.typing import NDArray


@dataclass(frozen=True, slots=True, kw_only=True)
class Gpu:
    """A GPU, as far as compiled code depends on it."""

    name: str
    """What NVIDIA calls it."""

    capability: str
    """Its compute capability, as `9.0`."""


def gpu_count() -> int:
    """Return how many GPUs CUDA can use; 0 without its bindings or its driver."""
    if not (find_spec("cuda") and find_spec("cuda.bindings")):
        return 0
    from cuda.bindings import runtime  # noqa: PLC0415 -- an extra

    status, count = runtime.cudaGetDeviceCount()
    return int(count) if status == runtime.cudaError_t.cudaSuccess else 0


class Cuda:
    """One GPU, and a stream of work on it."""

    def __init__(self, index: int) -> None:
        """Take a GPU.

        Raises:
            RuntimeFailure: If there is none of that number.

        """
        from cuda.bindings import runtime  # noqa: PLC0415 -- an extra

        self._api: Any = runtime
        self.index = index
        self.use()
        self.stream = int(self._call("cudaStreamCreate"))
        said = self._call("cudaGetDeviceProperties", index)
        name = said.name.decode() if isinstance(said.name, bytes) else str(said.name)
        self.gpu = Gpu(name=name.rstrip("\0"), capability=f"{said.major}.{said.minor}")
        weakref.finalize(self, runtime.cudaStreamDestroy, self.stream)

    def use(self) -> None:
        """Make it the GPU of the calling thread, which CUDA remembers by thread."""
        self._call("cudaSetDevice", self.index)

    def free_bytes(self) -> int:
        """Return memory of the GPU that nobody uses."""
        self.use()
        status, free, _ = self._api.cudaMemGetInfo()
        if status != self._api.cudaError_t.cudaSuccess:
            raise RuntimeFailure(f"CUDA: cudaMemGetInfo gave {status.name}")
        return int(free)

    def wait(self) -> None:
        """Wait until all work of the stream is done."""
        self._call("cudaStreamSynchronize", self.stream)

    def copy(self, target: int, source: int, size: int, *, to_device: bool) -> None:
        """Add a copy between pinned memory and the device to the stream."""
        kinds = self._api.cudaMemcpyKind
        kind = (
            kinds.cudaMemcpyHostToDevice if to_device else kinds.cudaMemcpyDeviceToHost
        )
        self._call("cudaMemcpyAsync", target, source, size, kind, self.stream)

    def _call(self, name: str, *args: Any) -> Any:  # noqa: ANN401 -- by function
        """Call a function and return what it gives.

        Raises:
            RuntimeFailure: With the words of CUDA.

        """
        status, *given = getattr(self._api, name)(*args)
        if status != self._api.cudaError_t.cudaSuccess:
            raise RuntimeFailure(f"CUDA: {name} gave {status.name}")
        return given[0] if given else None


class Staging:
    """Memory on the device, and pinned memory of the same size to copy by."""

    def __init__(self, cuda: Cuda, size: int) -> None:
        """Take `size` bytes twice.

        Raises:
            RuntimeFailure: If there is no room.

        """
        self._cuda, self.size = cuda, size
        api = cuda._api  # noqa: SLF001 -- of this module
        self.address = int(cuda._call("cudaMalloc", size))  # noqa: SLF001
        weakref.finalize(self, api.cudaFree, self.address)
        self._pinned = int(cuda._call("cudaMallocHost", size))  # noqa: SLF001
        weakref.finalize(self, api.cudaFreeHost, self._pinned)

    def send(self, array: NDArray[Any]) -> None:
        """Copy an array to the device, once the stream gets there."""
        self._view(array.dtype, array.shape)[...] = array
        self._cuda.copy(self.address, self._pinned, array.nbytes, to_device=True)

    def fetch(self, dtype: np.dtype[Any], shape: tuple[int, ...]) -> NDArray[Any]:
        """Wait for the stream and return a copy of what is on the device."""
        view = self._view(dtype, shape)
        self._cuda.copy(self._pinned, self.address, view.nbytes, to_device=False)
        self._cuda.wait()
        return view.copy()

    def _view(self, dtype: np.dtype[Any], shape: tuple[int, ...]) -> NDArray[Any]:
        """Return the pinned memory as an array."""
        size = int(np.prod(shape)) * dtype.itemsize
        assert size <= self.size
        raw = (ctypes.c_ubyte * size).from_address(self._pinned)
        flat: NDArray[Any] = np.ctypeslib.as_array(raw).view(dtype)
        return flat.reshape(shape)


def staging(held: dict[str, Staging], name: str, size: int, cuda: Cuda) -> Staging:
    """Return memory that is held under a name, or more where it is too little.

    Raises:
        RuntimeFailure: If there is no room.

    """
    there = held.get(name)
    if there is None or there.size < size:
        held.pop(name, None)  # freed before more is taken
        del there
        there = held[name] = Staging(cuda, size)
    return there
