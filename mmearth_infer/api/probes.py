"""Probes: fitted on labelled cells, applied to stores, fused with encoders."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Literal, TypedDict, Unpack, overload

from mmearth_infer.api.scenes import need_xarray
from mmearth_infer.api.settings import with_paths
from mmearth_infer.errors import MissingExtraError
from mmearth_infer.write.address import Address, locate
from mmearth_infer.write.map_store import PROBABILITY

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    import xarray as xr

    from mmearth_infer.contract.probe import ProbeKind
    from mmearth_infer.probe.apply import Mapped
    from mmearth_infer.probe.fit import Fitted
    from mmearth_infer.probe.fuse import Fused
    from mmearth_infer.write.address import Where

    Paths = str | Where | Sequence[str | Where]
    Tell = Callable[[str, int, int], None]


class FitSettings(TypedDict, total=False):
    """How a probe is fitted: `mmearth_infer.probe.fit.FitConfig`."""

    kind: ProbeKind
    min_share: float
    max_cells: int | None
    folds: int
    block_cells: int | None
    block_m: float | None
    balanced: bool
    seed: int
    picture: str | Path | None
    table: str | Path | None
    overwrite: bool


class LabelSettings(FitSettings, total=False):
    """How labels are read, too: `mmearth_infer.probe.labels.LabelOptions`."""

    class_field: str | None
    names: Mapping[int, str]
    ignore: Sequence[int]


def probe_fit(
    stores: Paths,
    labels: str | Path | Sequence[str | Path],
    out: str | Path,
    *,
    stages: Sequence[int] = (),
    tell: Tell | None = None,
    **settings: Unpack[LabelSettings],
) -> Fitted:
    """Fit a probe on labelled cells of stores, and validate it over blocks in space.

    Args:
        stores: Finished stores of one model, one or several.
        labels: Files of labels, one or several.
        out: Where the probe goes, an `.onnx`.
        stages: Stages of the encoder: the cells are those of the deepest, finer ones
            are read by mean and deviation inside them. None for the deepest the
            stores hold.
        tell: Is told what is done, how far it is, and how far it goes.
        **settings: Fields of `FitConfig` and of its `LabelOptions`, by their names.

    Returns:
        The probe's manifest, with its validation.

    Raises:
        MMEarthError: With a hint. Nothing is under the probe's name, or what was there
            before.

    """
    with _probe_extra("probe_fit"):
        from mmearth_infer.probe.fit import FitConfig, fit_probe  # noqa: PLC0415 -- extra
        from mmearth_infer.probe.labels import LabelOptions  # noqa: PLC0415 -- likewise

    said = with_paths(settings)
    about_labels = {
        one.name: said.pop(one.name) for one in fields(LabelOptions) if one.name in said
    }
    config = FitConfig(
        stores=tuple(locate(store) for store in _several(stores)),
        labels=tuple(Path(str(one)) for one in _several(labels)),
        out=Path(out),
        options=LabelOptions(**about_labels),
        stages=tuple(stages),
        **said,
    )
    return fit_probe(config, tell or _nobody)


@overload
def probe_apply(
    store: str | Where,
    probe: str | Path,
    out: str | Path,
    *,
    probabilities: bool = ...,
    allow_other_model: bool = ...,
    overwrite: bool = ...,
    tell: Tell | None = ...,
) -> Mapped: ...


@overload
def probe_apply(
    store: str | Where,
    probe: str | Path,
    out: None = ...,
    *,
    probabilities: Literal[False] = ...,
    allow_other_model: bool = ...,
    tell: Tell | None = ...,
) -> xr.DataArray: ...


@overload
def probe_apply(
    store: str | Where,
    probe: str | Path,
    out: None = ...,
    *,
    probabilities: Literal[True],
    allow_other_model: bool = ...,
    tell: Tell | None = ...,
) -> xr.Dataset: ...


def probe_apply(  # noqa: PLR0913 -- those of `ApplyConfig`
    store: str | Where,
    probe: str | Path,
    out: str | Path | None = None,
    *,
    probabilities: bool = False,
    allow_other_model: bool = False,
    overwrite: bool = False,
    tell: Tell | None = None,
) -> Mapped | xr.DataArray | xr.Dataset:
    """Map the classes of a probe over a store, into a GeoTIFF or into memory.

    Args:
        store: A finished store.
        probe: The probe.
        out: Where the map goes, a `.tif`; None for an array.
        probabilities: Keep the probability of each class, too; with `out`, in
            `OUT.probability.tif`.
        allow_other_model: Accept embeddings of another model file.
        overwrite: Replace files that are there.
        tell: Is told what is done, how far it is, and how far it goes.

    Returns:
        With `out`, cells and area of each class. Without, what `segment` returns.

    Raises:
        MMEarthError: With a hint. Nothing is under the map's name, or what was there
            before.

    """
    with _probe_extra("probe_apply"):
        from mmearth_infer.probe.apply import (  # noqa: PLC0415 -- an extra
            ApplyConfig,
            apply_in_memory,
            apply_probe,
        )

    path = None if out is None else Path(out)
    config = ApplyConfig(
        store=locate(store),
        probe=Path(probe),
        out=path,
        probabilities=path.with_name(f"{path.stem}.{PROBABILITY}{path.suffix}")
        if path is not None and probabilities
        else None,
        allow_other_model=allow_other_model,
        overwrite=overwrite,
    )
    if path is not None:
        return apply_probe(config, tell or _nobody)
    need_xarray("probe_apply without out")
    from mmearth_infer.write.to_xarray import class_arrays  # noqa: PLC0415 -- an extra

    held = apply_in_memory(config, tell or _nobody, probabilities=probabilities)
    return class_arrays(held)


def probe_fuse(  # noqa: PLR0913 -- those of `FuseConfig`
    model: str | Path,
    probe: str | Path,
    out: str | Path,
    *,
    name: str | None = None,
    allow_other_model: bool = False,
    overwrite: bool = False,
) -> Fused:
    """Join an encoder and a probe into one segmentation model, which `segment` takes.

    Args:
        model: The encoder, an `.onnx`.
        probe: The probe.
        out: Where the segmentation model goes, an `.onnx`.
        name: What people call it; None for the encoder's name and the kind of probe.
        allow_other_model: Accept another encoder file than the probe was fitted on.
        overwrite: Replace a file that is there.

    Returns:
        Its name, classes and stride, and how far it is from encoder and probe.

    Raises:
        MMEarthError: With a hint. Nothing is under the model's name, or what was there
            before.

    """
    with _probe_extra("probe_fuse"):
        from mmearth_infer.probe.fuse import FuseConfig, fuse  # noqa: PLC0415 -- an extra

    config = FuseConfig(
        model=Path(model),
        probe=Path(probe),
        out=Path(out),
        name=name,
        allow_other_model=allow_other_model,
        overwrite=overwrite,
    )
    return fuse(config)


@contextmanager
def _probe_extra(feature: str) -> Iterator[None]:
    """Name the extra that brings what cannot be imported.

    Raises:
        MissingExtraError: If something cannot.

    """
    try:
        yield
    except ModuleNotFoundError as error:
        raise MissingExtraError(feature, extra="probe") from error


def _several(
    items: str | Where | Sequence[str | Where],
) -> Sequence[str | Where]:
    """Return one or several as several."""
    return (items,) if isinstance(items, str | Path | Address) else items


def _nobody(what: str, done: int, of: int) -> None:
    """Tell nobody."""
    del what, done, of
