"""`embed` and `segment`: a scene in, a store or an array out."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, Unpack, cast, overload

from mmearth_infer.api.scenes import need_xarray, readable
from mmearth_infer.api.settings import config_fields
from mmearth_infer.engine.model import BUILTIN
from mmearth_infer.run.config import EmbedConfig, SegmentConfig
from mmearth_infer.run.embed import embed as run_embed
from mmearth_infer.run.in_memory import embed_in_memory, segment_in_memory
from mmearth_infer.run.segment import segment as run_segment
from mmearth_infer.write.layout import EMBEDDING

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    import xarray as xr

    from mmearth_infer.api.scenes import SceneLike
    from mmearth_infer.api.settings import EmbedSettings, SegmentSettings
    from mmearth_infer.run.in_memory import Computed
    from mmearth_infer.run.pipeline import Progress
    from mmearth_infer.run.report import Report
    from mmearth_infer.run.segment import MapReport
    from mmearth_infer.write.address import Where


@overload
def embed(scene: EmbedConfig, out: Progress | None = ..., /) -> Report: ...


@overload
def embed(scene: EmbedConfig, *, progress: Progress | None = ...) -> Report: ...


@overload
def embed(
    scene: SceneLike,
    out: str | Where,
    *,
    model: str | Path = ...,
    stages: Sequence[int] | None = ...,
    progress: Progress | None = ...,
    **settings: Unpack[EmbedSettings],
) -> Report: ...


@overload
def embed(
    scene: SceneLike,
    out: None = ...,
    *,
    model: str | Path = ...,
    stages: None = ...,
    progress: Progress | None = ...,
    **settings: Unpack[EmbedSettings],
) -> xr.DataArray: ...


@overload
def embed(
    scene: SceneLike,
    out: None = ...,
    *,
    model: str | Path = ...,
    stages: Sequence[int],
    progress: Progress | None = ...,
    **settings: Unpack[EmbedSettings],
) -> dict[int, xr.DataArray]: ...


def embed(
    scene: SceneLike | EmbedConfig,
    out: str | Where | Progress | None = None,
    *,
    model: str | Path = BUILTIN,
    stages: Sequence[int] | None = None,
    progress: Progress | None = None,
    **settings: Unpack[EmbedSettings],
) -> Report | xr.DataArray | dict[int, xr.DataArray]:
    """Embed a scene, into a store or into memory.

    An array is bit for bit what `open_store(out).to_xarray()` gives of the store.

    Args:
        scene: What `mmearth embed` takes; a DataArray `(band, y, x)` or a Dataset with
            a variable for each band, with CRS; several of these as one mosaic. Or an
            `EmbedConfig`, which says everything, with a progress after it.
        out: Where the store goes, a path or an address; None for an array.
        model: The model file; without it the built-in one.
        stages: Stages of the encoder, 1 to 4; None for the deepest the model gives.
        progress: Is told how far it is; None for nobody.
        **settings: Fields of `EmbedConfig` and of its `SceneOptions`, by their names.

    Returns:
        With `out`, the report of the run. Without, `(band, y, x)` in float32, or
        float16 with `dtype="float16"`, NaN where there is no data; by stage in a
        dictionary where `stages` are given.

    Raises:
        MMEarthError: With a hint. Nothing is under the store's name, or what was there
            before.

    """
    if isinstance(scene, EmbedConfig):
        return run_embed(scene, progress or cast("Progress | None", out))
    where = cast("str | Where | None", out)
    if where is None:
        need_xarray("embed without out")
    config = EmbedConfig(
        scene=readable(scene),
        out=where,
        model=model,
        stages=tuple(stages or ()),
        **config_fields(settings, written=where is not None),
    )
    if where is not None:
        return run_embed(config, progress)
    maps = _embeddings(embed_in_memory(config, progress))
    return list(maps.values())[-1] if stages is None else maps


def _embeddings(computed: Computed) -> dict[int, xr.DataArray]:
    """Return the maps of a run by their stages."""
    from mmearth_infer.write.to_xarray import held_array  # noqa: PLC0415 -- an extra

    made = computed.made
    maps = {}
    for held, output in zip(computed.held, made.outputs, strict=True):
        said = {
            "model": made.model.file.manifest.name,
            "model_digest": f"sha256:{made.model.file.digest}",
            "stage": output.stage,
            "stride_px": output.stride_px,
            "scene": made.scene.name,
        }
        maps[output.stage] = held_array(held, name=EMBEDDING, attributes=said)
    return maps


@overload
def segment(scene: SegmentConfig, *, progress: Progress | None = ...) -> MapReport: ...


@overload
def segment(
    scene: SceneLike,
    out: str | Where,
    *,
    model: str | Path,
    probabilities: bool = ...,
    progress: Progress | None = ...,
    **settings: Unpack[SegmentSettings],
) -> MapReport: ...


@overload
def segment(
    scene: SceneLike,
    out: None = ...,
    *,
    model: str | Path,
    probabilities: Literal[False] = ...,
    progress: Progress | None = ...,
    **settings: Unpack[SegmentSettings],
) -> xr.DataArray: ...


@overload
def segment(
    scene: SceneLike,
    out: None = ...,
    *,
    model: str | Path,
    probabilities: Literal[True],
    progress: Progress | None = ...,
    **settings: Unpack[SegmentSettings],
) -> xr.Dataset: ...


def segment(
    scene: SceneLike | SegmentConfig,
    out: str | Where | None = None,
    *,
    model: str | Path = BUILTIN,
    probabilities: bool = False,
    progress: Progress | None = None,
    **settings: Unpack[SegmentSettings],
) -> MapReport | xr.DataArray | xr.Dataset:
    """Map the classes of a scene, into a file or into memory.

    Args:
        scene: As for `embed`; or a `SegmentConfig`, which says everything.
        out: Where the map goes: a GeoTIFF if its name says so, else a store; None for
            an array.
        model: The segmentation model.
        probabilities: Keep the probability of each class, too.
        progress: Is told how far it is; None for nobody.
        **settings: Fields of `SegmentConfig` and of its `SceneOptions`, by their names.

    Returns:
        With `out`, the report of the run. Without, `class (y, x)` in uint8, 255 where
        there is no data, with `flag_values`, `flag_meanings` and, under `classes`,
        names and colours; with `probabilities` a Dataset of it and of
        `probability (band, y, x)`, a band for each class.

    Raises:
        MMEarthError: With a hint. Nothing is under the map's name, or what was there
            before.

    """
    if isinstance(scene, SegmentConfig):
        return run_segment(scene, progress)
    if out is None:
        need_xarray("segment without out")
    config = SegmentConfig(
        scene=readable(scene),
        out=out,
        model=model,
        probabilities=probabilities,
        **config_fields(settings, written=out is not None),
    )
    if out is not None:
        return run_segment(config, progress)
    from mmearth_infer.write.to_xarray import class_arrays  # noqa: PLC0415 -- an extra

    return class_arrays(segment_in_memory(config, progress).held)
