"""Keywords of the functions: the flags of the command line, by their names.

A test holds them to the fields of `RunConfig`, `SceneOptions` and so on, which say what
each means and what it is where it is left out.
"""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypedDict

from mmearth_infer.errors import MMEarthError
from mmearth_infer.read.options import SceneOptions, parse_bands

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from mmearth_infer.engine.choice import EngineChoice
    from mmearth_infer.grid.plan import Blend
    from mmearth_infer.read.options import OffsetChoice, ProductChoice
    from mmearth_infer.write.encode import DtypeChoice
    from mmearth_infer.write.layout import LayoutChoice


class SceneSettings(TypedDict, total=False):
    """How a scene is read: `mmearth_infer.SceneOptions`."""

    bands: Sequence[str]
    product: ProductChoice
    offset: OffsetChoice
    scale: float | None
    allow_resolution: bool
    granule: str | None
    mask: Sequence[str]
    bbox: tuple[float, float, float, float] | None
    aoi: str | Path | None
    snap_px: int | None


class RunSettings(SceneSettings, total=False):
    """How a model goes over a scene: `mmearth_infer.run.config.RunConfig`."""

    engine: EngineChoice
    device: str
    trust_model: bool
    window_px: int | None
    halo_px: int | None
    batch_size: int | None
    threads: int
    blend: Blend | None
    read_ahead_mb: int
    resume: bool
    overwrite: bool


class EmbedSettings(RunSettings, total=False):
    """How a scene is embedded: `mmearth_infer.EmbedConfig`."""

    dtype: DtypeChoice
    layout: LayoutChoice
    report: bool
    report_picture: str | Path | None


class SegmentSettings(RunSettings, total=False):
    """How a scene is mapped: `mmearth_infer.SegmentConfig`."""

    polygons: str | Path | None
    least_cells: int


OF_FILES: Final = (
    *("resume", "overwrite", "layout", "report", "report_picture"),
    *("polygons", "least_cells"),
)
"""Settings of runs that write something."""

FILES: Final = ("report_picture", "polygons", "picture", "table")
"""Settings that name files beside the result."""


def config_fields(settings: Mapping[str, Any], *, written: bool) -> dict[str, Any]:
    """Return keywords as the fields of a configuration.

    Args:
        settings: Keywords.
        written: Whether the run writes something.

    Raises:
        MMEarthError: If one is about files, and none is written.
        SceneError: If one says something of the scene that cannot be.

    """
    for name in OF_FILES:
        if name in settings and not written:
            raise MMEarthError(
                f"`{name}` is about what is written, and nothing is",
                hint="say where the result goes with out=",
            )
    said, about_scene = with_paths(settings), {}
    for field in fields(SceneOptions):
        if field.name in said:
            about_scene[field.name] = said.pop(field.name)
    if about_scene.get("bands"):
        about_scene["bands"] = parse_bands(",".join(about_scene["bands"]))
    if "mask" in about_scene:
        about_scene["mask"] = tuple(about_scene["mask"])
    if about_scene.get("aoi") is not None:
        about_scene["aoi"] = str(about_scene["aoi"])
    return {**said, "options": SceneOptions(**about_scene)}


def with_paths(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return keywords with those that name files as paths."""
    return {
        name: Path(value) if name in FILES and isinstance(value, str) else value
        for name, value in settings.items()
    }
