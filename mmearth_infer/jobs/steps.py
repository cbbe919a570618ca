"""Steps after a scene: what is made of its finished store, beside it."""

from __future__ import annotations

import os
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final, Literal

from msgspec import Meta, Struct
from msgspec.structs import replace

from mmearth_infer.engine.open import read_file
from mmearth_infer.errors import JobError, MMEarthError, StoreError
from mmearth_infer.jobs.step import STAMP, is_there, stamp_in, stamp_of, steps_of
from mmearth_infer.probe.probe_file import open_probe
from mmearth_infer.view.basis import load_basis
from mmearth_infer.view.pool import check_side, check_table
from mmearth_infer.write.open_store import short_digest

if TYPE_CHECKING:
    from collections.abc import Iterator

    from mmearth_infer.jobs.step import Step
    from mmearth_infer.run.config import EmbedConfig

POOL: Final = "[steps] pool"
"""How people know the step."""


class StepsTable(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What is made of each store of embeddings, beside it."""

    probe: str | None = None
    """A probe, whose map of classes is made: `NAME.map.tif`."""

    probe_format: Literal["tif", "zarr"] = "tif"
    """What the map is: a GeoTIFF, or a store."""

    probabilities: bool = False
    """Keep the probability of each class, too: `NAME.map.probability.tif`, or in the
    store."""

    allow_other_model: bool = False
    """Accept another model file than the probe was fitted on."""

    preview: bool = False
    """Draw the store: `NAME.png`."""

    basis: str | None = None
    """Colours of the pictures, as `mmearth view --save-basis` keeps them; without it
    each store has colours of its own."""

    cog: bool | tuple[Annotated[int, Meta(ge=1)], ...] = False
    """Write the store as a GeoTIFF, `NAME.tif`: all channels, or these."""

    pool: Annotated[int, Meta(ge=1)] | None = None
    """Side of squares in pixels, of which `NAME.parquet` holds the mean vectors."""

    @property
    def is_empty(self) -> bool:
        """Whether nothing is made."""
        return not (self.probe or self.preview or self.cog or self.pool)


def check_steps(steps: StepsTable, folder: Path, *, remote: bool = False) -> StepsTable:
    """Return steps with absolute paths, if they can be taken.

    Args:
        steps: As the job file says them.
        folder: What their paths are relative to.
        remote: Whether the stores lie behind an address.

    Raises:
        JobError: If something is asked for of what is not made, or cannot be beside
            an address.
        ModelError: If the probe cannot be read, or is none.
        StoreError: If the basis is none.
        MissingExtraError: If a step needs what is not installed.

    """
    if remote and not steps.is_empty:
        raise JobError(
            "[steps] are not taken beside an address",
            hint="let [outputs] folder be on a disk, and copy it",
        )
    alone = {
        "probe": [
            *(["probe_format"] if steps.probe_format != "tif" else []),
            *(["probabilities"] if steps.probabilities else []),
            *(["allow_other_model"] if steps.allow_other_model else []),
        ],
        "preview": ["basis"] if steps.basis else [],
    }
    for needed, given in alone.items():
        if given and not getattr(steps, needed):
            raise JobError(f"[steps] {given[0]} goes with {needed}")
    if not isinstance(steps.cog, bool) and len(set(steps.cog)) < len(steps.cog):
        raise JobError("[steps] cog names a channel twice")
    probe = steps.probe and str(folder / steps.probe)
    basis = steps.basis and str(folder / steps.basis)
    if probe:
        open_probe(Path(probe))
    if basis:
        load_basis(Path(basis))
    if steps.pool:
        check_table(Path("x.parquet"), feature=POOL)
    return replace(steps, probe=probe, basis=basis)


def check_fit(steps: StepsTable, config: EmbedConfig) -> None:
    """Refuse steps that do not fit the embeddings of a run.

    Args:
        steps: As `check_steps` returns them.
        config: The run over each scene.

    Raises:
        ModelError: If the probe was fitted on another model, or a stage that is not
            kept.
        JobError: If the basis is of another model or stage.
        StoreError: If squares cut cells.

    """
    if steps.is_empty:
        return
    model = read_file(config.model)
    outputs = model.manifest.outputs_of(config.stages)
    digest = f"sha256:{model.digest}"
    if steps.probe:
        probe = open_probe(Path(steps.probe))
        probe.check_model(
            model.manifest.name, digest, allow_other=steps.allow_other_model
        )
        stages, kept = probe.manifest.stages, {output.stage for output in outputs}
        missing = [str(stage) for stage in stages if stage not in kept]
        if missing:
            raise JobError(
                f"[steps] probe is of stage {', '.join(missing)}, which the job does "
                "not keep",
                hint=f"[settings] stages = {list(stages)}",
            )
    if steps.basis:
        basis = load_basis(Path(steps.basis))
        if (basis.model_digest, basis.stage) != (digest, outputs[-1].stage):
            raise JobError(
                f"`{steps.basis}` is a basis of `{basis.model_name}` "
                f"({short_digest(basis.model_digest)}), stage {basis.stage}; the job "
                f"makes `{model.manifest.name}` ({short_digest(digest)}), stage "
                f"{outputs[-1].stage}",
                hint="`mmearth view STORE -o PICTURE.png --save-basis BASIS.json` "
                "makes one of a store of the job",
            )
    if steps.pool:
        check_side(steps.pool, outputs[-1].stride_px, flag=POOL)


def files_of(store: Path, steps: StepsTable) -> tuple[Path, ...]:
    """Return what steps make of a store; beside a picture lie those that place it."""
    return tuple(out for step in steps_of(store, steps) for out in step.outs)


def run_steps(store: Path, steps: StepsTable) -> tuple[Path, ...]:
    """Take steps over a finished store, and return what is there afterwards.

    What was made of this store by the same step is left as it is, what was made of
    another is replaced.

    Args:
        store: A finished store.
        steps: As `check_steps` returns them.

    Raises:
        MMEarthError: With a hint. What the step was to make is as it was before.

    """
    outs = files_of(store, steps)
    for out in outs:
        if os.path.lexists(out) and stamp_in(out) is None:
            raise StoreError(
                f"`{out}` was not made by a step of mmearth, so it is not replaced",
                hint="move it away, or give the scene another name in a list",
            )
    for step in steps_of(store, steps):
        with _store_stays(step):
            stamp = stamp_of(store, step)
            if not is_there(store, step, stamp):
                step.make({STAMP: stamp})
    return outs


@contextmanager
def _store_stays(step: Step) -> Iterator[None]:
    """Add to an error's hint that the store is complete."""
    try:
        yield
    except MMEarthError as error:
        kept = f"the store is complete, the same job goes on with its {step.name}"
        error.hint = f"{error.hint}; {kept}" if error.hint else kept
        raise
