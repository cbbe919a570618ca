"""What a run did, in numbers: seconds a stage, throughput, memory."""

from __future__ import annotations

import sys
import time
from collections import Counter
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Any, Final, Literal, TypeVar, get_args

import msgspec

from mmearth_infer.grid.footprint import Outline  # noqa: TC001 -- a field's type

if TYPE_CHECKING:
    from collections.abc import Iterator

T = TypeVar("T")
StageName = Literal["open", "read", "compute", "stitch", "write"]
WaitName = Literal["read", "write"]

MUCH: Final = 0.2
"""Share of the time that is much to wait for a stage: then that stage decides."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """The summary of a run, as `--json` prints it."""

    store: str
    """Path of the store."""

    scene: str
    """Name of the scene."""

    model: str
    """Name of the model."""

    model_digest: str
    """SHA-256 of the model file."""

    engine: str
    """Library that ran the model."""

    device: str
    """What it computed on."""

    cells: int
    """Cells of the grid."""

    valid_cells: int
    """Cells that hold an embedding."""

    resumed_cells: int
    """Cells that an earlier run had written."""

    channels: int
    """Values a cell of the coarsest map."""

    tiles: int
    """Tiles of the plan."""

    window_px: int
    """Side of a tile."""

    halo_px: int
    """Margin of a tile that was dropped, or blended."""

    blend: str
    """How tiles that overlap made one map."""

    elapsed_s: float
    """Wall time from opening the scene to the finished store."""

    stage_s: dict[StageName, float]
    """Seconds each stage was busy; stages overlap, so they add up to more."""

    waited_s: dict[WaitName, float]
    """Seconds that computing waited for pixels, and for strips to be written."""

    bound_by: StageName
    """The stage that decided how long it took."""

    megapixels_per_s: float
    """Pixels of the scene by wall time, in millions a second."""

    square_km_per_s: float
    """Area of the scene by wall time."""

    peak_rss_bytes: int | None
    """Largest resident memory of the process so far; None where not known."""

    warnings: tuple[str, ...]
    """What was said on the way."""

    notes: tuple[str, ...] = ()
    """What was chosen of the scene: an area, a mask."""

    footprint: Outline = ()
    """Outline of the scene in longitude and latitude, degrees."""

    seams: dict[str, Any] | None = None
    """How far tiles show (`run.seams.SeamReport`); None if it was not asked."""

    def to_json(self) -> str:
        """Return the report as one line of JSON."""
        return msgspec.json.encode(self).decode()


class Stopwatch:
    """Busy seconds by stage: those in which any thread was at it."""

    def __init__(self) -> None:
        """Start at zero, and start the wall clock."""
        self._lock = Lock()
        self._at_it: Counter[StageName] = Counter()
        self._since: dict[StageName, float] = {}
        self.stage_s: dict[StageName, float] = dict.fromkeys(get_args(StageName), 0.0)
        self.waited_s: dict[WaitName, float] = dict.fromkeys(get_args(WaitName), 0.0)
        self._started = time.perf_counter()

    @property
    def elapsed_s(self) -> float:
        """Wall time since the start."""
        return time.perf_counter() - self._started

    @property
    def bound_by(self) -> StageName:
        """The stage that others wait for most; computing, if they hardly wait."""
        slowest = max(self.waited_s, key=lambda name: self.waited_s[name])
        much = self.waited_s[slowest] > MUCH * self.elapsed_s
        return slowest if much else "compute"

    @contextmanager
    def waiting(self, stage: WaitName) -> Iterator[None]:
        """Count the time that computing waits for a stage."""
        began = time.perf_counter()
        try:
            yield
        finally:
            self.waited_s[stage] += time.perf_counter() - began

    def waited(self, stage: WaitName, items: Iterator[T]) -> Iterator[T]:
        """Count the time that is waited for the items of an iterator."""
        while True:
            with self.waiting(stage):
                try:
                    item = next(items)
                except StopIteration:
                    return
            yield item

    @contextmanager
    def busy(self, stage: StageName) -> Iterator[None]:
        """Count the time of a block; what several threads spend at once, once."""
        with self._lock:
            if not self._at_it[stage]:
                self._since[stage] = time.perf_counter()
            self._at_it[stage] += 1
        try:
            yield
        finally:
            with self._lock:
                self._at_it[stage] -= 1
                if not self._at_it[stage]:
                    spent_s = time.perf_counter() - self._since[stage]
                    self.stage_s[stage] += spent_s

    def timed(self, stage: StageName, items: Iterator[T]) -> Iterator[T]:
        """Count the time an iterator takes to make its items."""
        while True:
            with self.busy(stage):
                try:
                    item = next(items)
                except StopIteration:
                    return
            yield item


def peak_rss_bytes() -> int | None:
    """Return the largest resident memory of this process so far, where known.

    Linux's resource usage counts what the parent held before this program was
    started in its place; the status of the process does not.
    """
    if sys.platform == "win32":
        return None
    with suppress(OSError):
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    import resource  # noqa: PLC0415 -- not there on Windows

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
