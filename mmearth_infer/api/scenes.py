"""What a scene may be in Python: a path, an address, an xarray object, or several."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from mmearth_infer.errors import MissingExtraError, SceneError
from mmearth_infer.read.array import Pixels

if TYPE_CHECKING:
    import xarray as xr

    OneScene = str | Path | Pixels | xr.DataArray | xr.Dataset
    SceneLike = OneScene | Sequence[OneScene]


def readable(scene: SceneLike) -> str | Pixels | tuple[str | Pixels, ...]:
    """Return a scene as `read.source.open_sources` takes it.

    Args:
        scene: A path, an address, a DataArray or Dataset as `read.from_xarray` has
            them, or a sequence of these, which is one mosaic.

    Raises:
        SceneError: If it is something else, or cannot be read.
        MissingExtraError: If it is an xarray object and rioxarray is not installed.

    """
    if isinstance(scene, Sequence) and not isinstance(scene, str):
        return tuple(_one(part) for part in scene)
    return _one(scene)


def need_xarray(feature: str) -> None:
    """Refuse a feature that gives or takes xarray objects where there are none.

    Raises:
        MissingExtraError: Naming the extra.

    """
    if find_spec("xarray") is None or find_spec("rioxarray") is None:
        raise MissingExtraError(feature, extra="xarray")


def _one(scene: OneScene) -> str | Pixels:
    """Return one scene."""
    if isinstance(scene, str | Path):
        return str(scene)
    if isinstance(scene, Pixels):
        return scene
    if type(scene).__module__.partition(".")[0] == "xarray":
        need_xarray("a scene from xarray")
        from mmearth_infer.read.from_xarray import pixels_of  # noqa: PLC0415 -- an extra

        return pixels_of(scene)
    raise SceneError(
        f"a scene cannot be a {type(scene).__name__}",
        hint="give a path, or an xarray.DataArray (band, y, x) with CRS",
    )
