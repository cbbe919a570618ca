"""Opens any scene by what the user typed."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from mmearth_infer.read.demo import DEMO_NAME, DemoSource
from mmearth_infer.read.geotiff import GeoTiffSource

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from mmearth_infer.read.options import SceneOptions
    from mmearth_infer.seams import Source


@contextmanager
def open_source(
    scene: str,
    *,
    options: SceneOptions,
    wanted: Sequence[str] | None,
    threads: int = 1,
) -> Iterator[Source]:
    """Open a scene, and close it at the end of the block.

    Args:
        scene: Path of a raster file, or `demo` for the built-in scene.
        options: What the user says about it.
        wanted: Bands to give, in order; None for all that have a name.
        threads: Threads that decode the file.

    Raises:
        SceneError: If it cannot be read, or not as asked.

    """
    if scene == DEMO_NAME:
        yield DemoSource(wanted)
        return
    with GeoTiffSource(
        scene, options=options, wanted=wanted, threads=threads
    ) as source:
        yield source
