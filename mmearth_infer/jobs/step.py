"""One step after a scene: what it makes of a store, and of what that was made.

Each file says, under `STAMP`, a digest of the store and of the settings of its step.
One that is there, says the same and is not older than the store is left as it is.
"""

from __future__ import annotations

import hashlib
import json
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from rasterio.errors import NotGeoreferencedWarning

from mmearth_infer.disk import sha256_of
from mmearth_infer.errors import StoreError
from mmearth_infer.probe.apply import ApplyConfig, apply_probe
from mmearth_infer.probe.map_store import write_map_store
from mmearth_infer.view.cog import write_cog
from mmearth_infer.view.draw import ViewConfig, view
from mmearth_infer.view.picture import files_of as files_of_picture
from mmearth_infer.view.pool import pool, read_table_tag
from mmearth_infer.write.map_cog import read_tag
from mmearth_infer.write.map_store import PROBABILITY
from mmearth_infer.write.metadata import ROOT, said_by
from mmearth_infer.write.place import Folder

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from mmearth_infer.jobs.steps import StepsTable

STAMP: Final = "MMEARTH_STEP"
"""Tag of a file with a digest of what it was made of."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One step over a store."""

    name: str
    """How people know it."""

    outs: tuple[Path, ...]
    """What it makes."""

    settings: Mapping[str, object]
    """What that depends on besides the store: JSON, or files."""

    make: Callable[[dict[str, str]], object]
    """Makes it, with these tags, in place of what is there."""


def steps_of(store: Path, steps: StepsTable) -> list[Step]:
    """Return the steps that are to be taken over a store."""
    base = str(store).removesuffix(".zarr")
    made = []
    if steps.probe:
        made.append(_map(store, base, steps, Path(steps.probe)))
    if steps.preview:
        basis = Path(steps.basis) if steps.basis else None
        made.append(_preview(store, Path(f"{base}.png"), basis))
    if steps.cog:
        channels = None if isinstance(steps.cog, bool) else steps.cog
        made.append(_cog(store, Path(f"{base}.tif"), channels))
    if steps.pool:
        made.append(_pool(store, Path(f"{base}.parquet"), steps.pool))
    return made


def stamp_of(store: Path, step: Step) -> str:
    """Return a digest of everything that decides what a step makes of a store.

    Raises:
        StoreError: If the store, or a file of the step, cannot be read.

    """
    try:
        settings = {
            name: sha256_of(value) if isinstance(value, Path) else value
            for name, value in step.settings.items()
        }
        said = [sha256_of(store / ROOT), step.name, settings]
    except OSError as error:
        raise StoreError(
            f"cannot read `{error.filename}`: {error.strerror}",
            hint="workers need probe and basis under the same paths",
        ) from error
    return hashlib.sha256(json.dumps(said, sort_keys=True).encode()).hexdigest()


def stamp_in(out: Path) -> str | None:
    """Return what a file or a store says that it was made of; None for others."""
    if out.suffix == ".parquet":
        return read_table_tag(out, STAMP)
    if out.suffix == ".zarr":
        said: Mapping[str, Any] = said_by(Folder(out)) or {}
        return said.get(STAMP)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NotGeoreferencedWarning)
        return read_tag(out, STAMP)


def is_there(store: Path, step: Step, stamp: str) -> bool:
    """Tell whether all that a step makes of a store is there, and newer than it."""
    made_ns = _changed_ns(store)
    return all(
        all(path.exists() for path in files_of_picture(out))
        and stamp_in(out) == stamp
        and _changed_ns(out) >= made_ns
        for out in step.outs
    )


def _changed_ns(path: Path) -> int:
    """Return when a file, or a store, was finished."""
    return (path / ROOT if path.is_dir() else path).stat().st_mtime_ns


def _map(store: Path, base: str, steps: StepsTable, probe: Path) -> Step:
    """Return the step that maps the classes of a probe."""
    out = Path(f"{base}.map.{steps.probe_format}")
    shares = None
    if steps.probabilities and steps.probe_format == "tif":
        shares = Path(f"{base}.map.{PROBABILITY}.tif")

    def make(tags: dict[str, str]) -> None:
        config = ApplyConfig(
            store=store,
            probe=probe,
            out=out,
            probabilities=shares,
            allow_other_model=steps.allow_other_model,
            overwrite=True,
            tags=tags,
        )
        if steps.probe_format == "zarr":
            write_map_store(config, probabilities=steps.probabilities)
        else:
            apply_probe(config, lambda *_: None)

    return Step(
        name="probe",
        outs=(out, shares) if shares else (out,),
        settings={"probe": probe, "probabilities": steps.probabilities},
        make=make,
    )


def _preview(store: Path, out: Path, basis: Path | None) -> Step:
    """Return the step that draws a store."""

    def make(tags: dict[str, str]) -> None:
        view(ViewConfig(store=store, out=out, basis=basis, overwrite=True, tags=tags))

    return Step(name="preview", outs=(out,), settings={"basis": basis}, make=make)


def _cog(store: Path, out: Path, channels: tuple[int, ...] | None) -> Step:
    """Return the step that writes a store as a GeoTIFF."""

    def make(tags: dict[str, str]) -> None:
        write_cog(store, out, channels=channels, overwrite=True, tags=tags)

    return Step(name="cog", outs=(out,), settings={"channels": channels}, make=make)


def _pool(store: Path, out: Path, window_px: int) -> Step:
    """Return the step that writes mean vectors of squares."""

    def make(tags: dict[str, str]) -> None:
        pool(store, out, window_px=window_px, overwrite=True, tags=tags)

    return Step(name="pool", outs=(out,), settings={"window_px": window_px}, make=make)
