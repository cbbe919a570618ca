"""Opens any scene by what the user typed."""

from __future__ import annotations

from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from mmearth_infer.errors import SceneError
from mmearth_infer.read.array import ArraySource, Pixels
from mmearth_infer.read.bandfiles import BandFilesSource
from mmearth_infer.read.demo import DEMO_NAME, DemoSource
from mmearth_infer.read.folder import folder_product
from mmearth_infer.read.geotiff import GeoTiffSource
from mmearth_infer.read.mosaic import MosaicSource
from mmearth_infer.read.raster import shown
from mmearth_infer.read.safe import find_safe
from mmearth_infer.read.safe_metadata import safe_product
from mmearth_infer.read.stac import is_item, stac_product
from mmearth_infer.read.wrap import wrapped

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from mmearth_infer.read.described import Product
    from mmearth_infer.read.options import SceneOptions
    from mmearth_infer.seams import Source


@contextmanager
def open_sources(
    scenes: Sequence[str | Pixels],
    *,
    options: SceneOptions,
    wanted: Sequence[str] | None,
    threads: int = 1,
) -> Iterator[Source]:
    """Open scenes as one: a single one as it is, several as a mosaic.

    Args:
        scenes: What `open_source` takes; the first has precedence.
        options: What the user says about all of them.
        wanted: Bands to give, in order; None for all that have a name.
        threads: Threads that decode the files.

    Raises:
        SceneError: If one cannot be read, or they do not make one scene.

    """
    if not scenes:
        raise SceneError("no scene is given", hint="name at least one")
    masks = replace(options, bbox=None, aoi=None, snap_px=None)
    with ExitStack() as stack:
        sources = [
            stack.enter_context(
                open_source(scene, options=masks, wanted=wanted, threads=threads)
            )
            for scene in scenes
        ]
        one = sources[0] if len(sources) == 1 else MosaicSource(sources)
        yield wrapped(one, replace(options, mask=()))


@contextmanager
def open_source(
    scene: str | Pixels,
    *,
    options: SceneOptions,
    wanted: Sequence[str] | None,
    threads: int = 1,
) -> Iterator[Source]:
    """Open a scene, and close it at the end of the block.

    Args:
        scene: Path or address of a raster; a folder with a file for every band; a
            .SAFE folder, a .zip of one, or its MTD_MSIL1C.xml or MTD_MSIL2A.xml; a
            STAC item as JSON; `demo` for the built-in scene; or pixels in memory.
        options: What the user says about it.
        wanted: Bands to give, in order; None for all that have a name.
        threads: Threads that decode the file.

    Raises:
        SceneError: If it cannot be read, or not as asked.

    """
    if isinstance(scene, Pixels):
        _refuse_granule(scene.name, options.granule)
        yield wrapped(ArraySource(scene, options=options, wanted=wanted), options)
        return
    if scene == DEMO_NAME:
        _refuse_granule(scene, options.granule)
        yield wrapped(DemoSource(wanted), options)
        return
    product = _find_product(scene, options.granule)
    if product is None:
        with GeoTiffSource(
            scene, options=options, wanted=wanted, threads=threads
        ) as raster:
            yield wrapped(raster, options)
        return
    with BandFilesSource(
        product, options=options, wanted=wanted, threads=threads
    ) as source:
        yield wrapped(source, options)


def _find_product(scene: str, granule: str | None) -> Product | None:
    """Return what a scene with a file for every band says; None for a raster."""
    if is_item(scene):
        _refuse_granule(scene, granule)
        return stac_product(scene)
    path = Path(scene)
    try:
        safe = find_safe(path)
        if safe is not None:
            return safe_product(safe, granule)
        _refuse_granule(scene, granule)
        return folder_product(path) if path.is_dir() else None
    except OSError as error:
        raise SceneError(f"cannot read `{scene}`: {error.strerror}") from error
    except ValueError:  # a null in the name, which no file has
        return None


def _refuse_granule(scene: str, granule: str | None) -> None:
    """Refuse to choose a granule of what has none."""
    if granule is not None:
        raise SceneError(
            f"--granule {granule} chooses one of a .SAFE, `{shown(scene)}` is none",
            hint="leave --granule out",
        )
