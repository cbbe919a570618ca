"""Everything a run depends on, in one value."""

from __future__ import annotations

from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path  # noqa: TC003 -- the type of a field
from typing import Final

from mmearth_infer.engine.choice import EngineChoice  # noqa: TC001 -- a field's type
from mmearth_infer.engine.model import BUILTIN
from mmearth_infer.errors import MissingExtraError, WindowError
from mmearth_infer.grid.plan import Blend  # noqa: TC001 -- likewise
from mmearth_infer.read.array import Pixels  # noqa: TC001 -- likewise
from mmearth_infer.read.options import SceneOptions
from mmearth_infer.write.address import Where  # noqa: TC001 -- likewise
from mmearth_infer.write.encode import DtypeChoice  # noqa: TC001 -- likewise
from mmearth_infer.write.layout import LayoutChoice  # noqa: TC001 -- likewise

MOST_THREADS: Final = 1024
"""More is a slip of the keyboard."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunConfig:
    """A run over a scene, whatever comes out of it."""

    scene: str | Pixels | tuple[str | Pixels, ...]
    """What `read.source.open_source` takes; several are one mosaic, the first wins."""

    out: str | Where | None = None
    """Where the result goes; None for a run that holds it in memory."""

    model: str | Path = BUILTIN
    """The model file, or the name of one."""

    engine: EngineChoice = "auto"
    """What runs the model; `auto` for the fastest that is installed."""

    device: str = "auto"
    """What it computes on: `cpu`, `cuda`, `cuda:1`, `cuda:0,1`, `cuda:all`; `auto` for
    a GPU if there is one."""

    trust_model: bool = False
    """Run a model file that holds machine code."""

    window_px: int | None = None
    """Side of a tile; None for `run.tiling.DEFAULT_WINDOW_PX`."""

    halo_px: int | None = None
    """Margin of a tile that is dropped; None for that of the model's GRN."""

    batch_size: int | None = None
    """Tiles a batch; None for as many as suit the device and its memory."""

    threads: int = 0
    """Threads of engine and decoder; 0 for one a core."""

    blend: Blend | None = None
    """How tiles that overlap make one map; None for what suits the model's GRN."""

    resume: bool = False
    """Go on with what an earlier run began; start where nothing is."""

    read_ahead_mb: int = 512
    """Pixels that are in use or wait, at most, in MB of 2**20 bytes."""

    overwrite: bool = False
    """Replace what is there."""

    options: SceneOptions = field(default_factory=SceneOptions)
    """What the user says about the scene."""

    @property
    def scenes(self) -> tuple[str | Pixels, ...]:
        """The scenes, one or several."""
        return self.scene if isinstance(self.scene, tuple) else (self.scene,)

    @property
    def target(self) -> str | Where:
        """Where the result of a run goes that writes it."""
        assert self.out is not None, "a run in memory has no place"
        return self.out

    def __post_init__(self) -> None:
        """Refuse numbers that cannot be.

        Raises:
            WindowError: Naming the flag and its value.

        """
        if self.batch_size is not None and self.batch_size < 1:
            raise WindowError(f"--batch-size {self.batch_size} holds no tile")
        if self.read_ahead_mb < 0:
            raise WindowError(f"--read-ahead {self.read_ahead_mb} is less than nothing")
        if not 0 <= self.threads <= MOST_THREADS:
            raise WindowError(f"--threads {self.threads} is not a number of threads")


@dataclass(frozen=True, slots=True, kw_only=True)
class EmbedConfig(RunConfig):
    """A run of `mmearth embed`."""

    stages: tuple[int, ...] = ()
    """Stages of the encoder, 1 to 4; empty for the deepest the model gives."""

    dtype: DtypeChoice = "float32"
    """How embeddings are kept."""

    layout: LayoutChoice = "plain"
    """Chunks as files of their own, or many in a file."""

    report: bool = False
    """Measure how far tiles show in the store, once it is finished."""

    report_picture: Path | None = None
    """Where a picture of that goes; asks for it, too."""

    def __post_init__(self) -> None:
        """Refuse a picture that nothing can draw, and numbers that cannot be.

        Raises:
            MissingExtraError: If what draws is not installed.
            WindowError: Naming the flag and its value.

        """
        RunConfig.__post_init__(self)
        if self.report_picture is not None and find_spec("matplotlib") is None:
            raise MissingExtraError("--report-picture", extra="train")


@dataclass(frozen=True, slots=True, kw_only=True)
class SegmentConfig(RunConfig):
    """A run of `mmearth segment`."""

    probabilities: bool = False
    """Keep the probability of each class, too."""

    polygons: Path | None = None
    """Where the map goes as polygons, too."""

    least_cells: int = 1
    """Patches of fewer cells are no polygons of their own."""

    def __post_init__(self) -> None:
        """Refuse what cannot be.

        Raises:
            MissingExtraError: If what writes polygons is not installed.
            WindowError: Naming the flag and its value.

        """
        RunConfig.__post_init__(self)
        if self.polygons is not None and find_spec("pyogrio") is None:
            raise MissingExtraError("--polygons", extra="probe")
        if self.least_cells < 1:
            raise WindowError(f"--least-cells {self.least_cells} is no size")
