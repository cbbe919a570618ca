"""PyTorch's ahead-of-time form: a package of machine code, made for one processor."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch._inductor import aoti_load_package

from mmearth_infer.contract.manifest import MEAN_INPUT, PIXELS_INPUT, STD_INPUT
from mmearth_infer.engine.package import HOST, read_extra
from mmearth_infer.engine.runtime import Axes, Runtime, RuntimeFailure

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from numpy.typing import NDArray


def host() -> dict[str, str]:
    """Return what machine code depends on: this processor and this PyTorch."""
    return {
        "cpu": torch.backends.cpu.get_cpu_capability(),
        "torch": torch.__version__.split("+")[0],
    }


class TorchRuntime(Runtime):
    """A package that PyTorch compiled. Loading it runs what is in it."""

    name: str = "torch"
    version: str = torch.__version__
    device: str = "cpu"

    def __init__(self, path: Path, *, outputs: Sequence[str], threads: int) -> None:
        """Load a package.

        Args:
            path: The `.pt2` file.
            outputs: Names of its outputs in order.
            threads: Threads of the whole process; 0 for one a core.

        Raises:
            RuntimeFailure: If it was made for another processor or PyTorch, or
                cannot be loaded.

        """
        said = read_extra(path, HOST)
        made_for = json.loads(said) if said else None
        if made_for != host():
            raise RuntimeFailure(f"it was made for {made_for}, this is {host()}")
        if threads:
            torch.set_num_threads(threads)
        self._outputs = list(outputs)
        try:
            self._package = aoti_load_package(str(path))
        except RuntimeError as error:
            raise RuntimeFailure(error) from error

    def axes(self) -> Mapping[str, Axes] | None:
        """Return None: inputs and outputs have no names in a package."""
        return None

    def prepare(self, largest: tuple[int, int, int]) -> None:
        """Do nothing: it runs batches of any size."""

    def run(
        self, outputs: Sequence[str], feeds: Mapping[str, NDArray[Any]]
    ) -> list[NDArray[np.float32]]:
        """Return some of the outputs; all are computed."""
        inputs = [
            torch.from_numpy(np.require(feeds[name], requirements="W"))
            for name in (PIXELS_INPUT, MEAN_INPUT, STD_INPUT)
        ]
        try:
            with torch.inference_mode():
                given = self._package(*inputs)
        except RuntimeError as error:
            raise RuntimeFailure(error) from error
        return [given[self._outputs.index(name)].numpy() for name in outputs]
