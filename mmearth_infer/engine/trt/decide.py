"""What TensorRT is asked to build, and what a built engine depends on. All pure.

Shapes of tiles: N tiles, H W pixels.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Final

import msgspec

from mmearth_infer.errors import ModelError

if TYPE_CHECKING:
    from pathlib import Path

    from mmearth_infer.contract.manifest import Manifest

Tiles = tuple[int, int, int]
"""`(N, H, W)` of a batch."""

RECIPE: Final = 1
"""Version of how engines are built here; engines of another are not used again."""

HINT_REBUILD: Final = (
    "export it again on this machine, or run a .onnx with --engine tensorrt, which "
    "is built where it runs"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Profile:
    """Batches that an engine runs."""

    bands: int
    """Bands of a tile."""

    smallest: Tiles
    """The smallest; one tile of one cell."""

    largest: Tiles
    """The largest, which it is tuned for: nearly all batches are of this shape."""

    def admits(self, tiles: Tiles) -> bool:
        """Tell whether a batch is within."""
        return all(
            low <= n <= high
            for low, n, high in zip(self.smallest, tiles, self.largest, strict=True)
        )

    def shapes(self) -> tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...]]:
        """Return smallest, typical and largest shape `(N, C, H, W, 2)` of the input.

        The last axis is the two bytes of a digital number (`rewrite`).
        """
        low, high = (
            (n, self.bands, height, width, 2)
            for n, height, width in (self.smallest, self.largest)
        )
        return low, high, high


def profile_for(manifest: Manifest, largest: Tiles) -> Profile:
    """Return the batches an engine is built for, from one tile of one cell up.

    Raises:
        ModelError: If the largest batch is none of the model's.

    """
    multiple = manifest.multiple_px
    tiles, height, width = largest
    if tiles < 1 or height < multiple or width < multiple:
        raise ModelError(
            f"a batch of {tiles} tiles of {height} x {width} px is no batch of the "
            f"model `{manifest.name}`",
            hint=f"tiles are multiples of {multiple} px",
        )
    return Profile(
        bands=len(manifest.bands), smallest=(1, multiple, multiple), largest=largest
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Built:
    """What a built engine depends on: it runs nowhere else."""

    model: str
    """SHA-256 of the model it was built from, in hex."""

    gpu: str
    """Name of the GPU."""

    capability: str
    """Compute capability of the GPU."""

    tensorrt: str
    """Version of TensorRT."""

    profile: Profile
    """Batches it runs."""

    recipe: int = RECIPE
    """Version of how it was built."""

    @property
    def file_name(self) -> str:
        """Name it is kept under: other if anything that it depends on is."""
        return f"{self.model[:16]}-{_digest(self)[:16]}.engine"

    @property
    def timing_name(self) -> str:
        """Name of the timings of kernels, which all models on a GPU share."""
        return _plain(f"timing-{self.gpu}-{self.capability}-{self.tensorrt}.cache")


def check_host(path: Path, found: Built, here: Built) -> None:
    """Refuse an engine that was built for another GPU or TensorRT.

    Raises:
        ModelError: Naming both.

    """
    for name, what in (
        ("gpu", "the GPU"),
        ("capability", "compute capability"),
        ("tensorrt", "TensorRT"),
        ("recipe", "recipe"),
    ):
        theirs, ours = getattr(found, name), getattr(here, name)
        if theirs != ours:
            raise ModelError(
                f"`{path}` was built for {what} {theirs}, here is {ours}",
                hint=HINT_REBUILD,
            )


def check_kept(path: Path, found: Built, wanted: Built) -> None:
    """Refuse a kept engine that is not what its name says: somebody put it there.

    Raises:
        ModelError: Naming what differs.

    """
    for field in fields(Built):
        theirs, ours = getattr(found, field.name), getattr(wanted, field.name)
        if theirs != ours:
            raise ModelError(
                f"the kept engine `{path}` is stale: its {field.name} is {theirs}, "
                f"needed is {ours}",
                hint=f"remove it, and it is built again: rm {path}",
            )


def check_graph(manifest: Manifest) -> None:
    """Refuse a model file that TensorRT cannot read.

    Raises:
        ModelError: If its activations are unsigned int8.

    """
    if manifest.precision == "int8":
        raise ModelError(
            f"TensorRT has no unsigned int8, which `{manifest.name}` is in",
            hint="`mmearth export --format trt --precision int8` makes one it can run",
        )


def _digest(built: Built) -> str:
    """Return a digest of everything in a value."""
    text = msgspec.json.encode(built, order="deterministic")
    return hashlib.sha256(text).hexdigest()


def _plain(name: str) -> str:
    """Return a file name without what a GPU's name may hold."""
    return re.sub(r"[^A-Za-z0-9.]+", "-", name)
