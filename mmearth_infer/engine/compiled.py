"""A compiled model: its file, and the library that runs it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from mmearth_infer.contract.manifest import MEAN_INPUT, PIXELS_INPUT, STD_INPUT
from mmearth_infer.engine.runtime import RuntimeFailure
from mmearth_infer.errors import ManifestError, ModelError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from mmearth_infer.contract.bands import ProductLevel
    from mmearth_infer.contract.manifest import Output
    from mmearth_infer.contract.normalize import Statistics
    from mmearth_infer.engine.model import ModelFile
    from mmearth_infer.engine.runtime import Runtime

HINT_EXPORT: Final = "make a model file with `mmearth export CHECKPOINT -o MODEL.onnx`"


@dataclass(frozen=True, slots=True, kw_only=True)
class CompiledModel:
    """A model file that a library opened, not yet bound to level and stage."""

    file: ModelFile
    """The file and its manifest."""

    runtime: Runtime
    """The library."""

    why: str
    """Why it is this library."""

    warnings: tuple[str, ...] = ()
    """What a user should know before trusting its outputs."""

    def __post_init__(self) -> None:
        """Refuse a graph whose inputs or outputs are not what the manifest says.

        Raises:
            ManifestError: Naming them.

        """
        axes = self.runtime.axes()
        if axes is None:
            return
        outputs = {out.name for out in self.file.manifest.outputs}
        promised = {PIXELS_INPUT, MEAN_INPUT, STD_INPUT} | outputs
        if set(axes) != promised:
            raise ManifestError(
                f"the graph in `{self.file.path}` has inputs and outputs "
                f"{', '.join(sorted(axes))}, which its manifest does not describe: it "
                f"says {', '.join(sorted(promised))}",
                hint=HINT_EXPORT,
            )

    def engine(self, *, level: ProductLevel, output: Output) -> OneMap:
        """Bind the model to a product level and one output.

        Raises:
            ModelError: If it has no statistics for the level.

        """
        return OneMap(self.engines(level=level, outputs=[output]))

    def engines(
        self,
        *,
        level: ProductLevel,
        outputs: Sequence[Output],
        largest: tuple[int, int, int] | None = None,
    ) -> BoundEngine:
        """Bind the model to a product level and outputs.

        Args:
            level: Whose statistics.
            outputs: Which maps.
            largest: The largest batch to come, `(N, H, W)`; libraries that compile
                for sizes do so now.

        Raises:
            ModelError: If it has no statistics for the level, or does not run such
                batches.

        """
        numbers = self.file.manifest.statistics_for(level)
        if largest is not None:
            try:
                self.runtime.prepare(largest)
            except RuntimeFailure as error:
                raise ModelError(
                    f"`{self.file.path}` cannot be made ready: {error}",
                    hint="choose another --window or --batch-size",
                ) from error
        return BoundEngine(self.runtime, numbers, outputs)


class BoundEngine:
    """Turns digital numbers into maps (`seams.Engine`)."""

    def __init__(
        self, runtime: Runtime, numbers: Statistics, outputs: Sequence[Output]
    ) -> None:
        """Keep what is the same for every batch."""
        self._runtime, self._outputs = runtime, tuple(outputs)
        self._names = [output.name for output in outputs]
        self._statistics = {
            MEAN_INPUT: np.asarray(numbers.mean, dtype=np.float32),
            STD_INPUT: np.asarray(numbers.std, dtype=np.float32),
        }

    def __call__(self, dn_NCHW: NDArray[np.uint16]) -> tuple[NDArray[np.float32], ...]:
        """Return `features_NDhw` of each map; standardisation happens in the graph.

        Raises:
            ModelError: If the library fails.
            ManifestError: If a map has another shape than the manifest promises.

        """
        feeds: dict[str, NDArray[Any]] = {PIXELS_INPUT: dn_NCHW, **self._statistics}
        try:
            maps = self._runtime.run(self._names, feeds)
        except RuntimeFailure as error:
            raise ModelError(
                f"the model failed on tiles of {dn_NCHW.shape}: {error}",
                hint="if memory ran out, choose a smaller --window or --batch-size",
            ) from error
        tiles, _, height, width = dn_NCHW.shape
        for output, features_NDhw in zip(self._outputs, maps, strict=True):
            stride = output.stride_px
            promised = (tiles, output.channels, height // stride, width // stride)
            if features_NDhw.shape != promised:
                raise ManifestError(
                    f"the model gives features of {features_NDhw.shape}, its manifest "
                    f"promises {promised}",
                    hint=HINT_EXPORT,
                )
        return tuple(maps)


class OneMap:
    """An engine that gives one map, by itself."""

    def __init__(self, engine: BoundEngine) -> None:
        """Take an engine of one output."""
        self._engine = engine

    def __call__(self, dn_NCHW: NDArray[np.uint16]) -> NDArray[np.float32]:
        """Return `features_NDhw`.

        Raises:
            ModelError: As the engine.

        """
        (features_NDhw,) = self._engine(dn_NCHW)
        return features_NDhw
