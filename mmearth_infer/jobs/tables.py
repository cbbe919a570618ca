"""The tables of a job file, as TOML has them; unknown keys are errors."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from msgspec import Meta, Struct

from mmearth_infer.jobs.cluster_tables import ClusterTable
from mmearth_infer.jobs.steps import StepsTable  # noqa: TC001 -- msgspec reads it

Task = Literal["embed", "segment"]
"""The command that is run over each scene."""


class Table(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A table of a job file; unknown keys are errors."""


class MgrsTable(Table, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Scenes of tiles of the military grid below a folder."""

    root: str
    """The folder, relative to the job file."""

    tiles: tuple[str, ...] = ()
    """Tiles such as `32TLS`; empty for all that are there."""


class ScenesTable(Table, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Where the scenes are; paths are relative to the job file."""

    globs: tuple[str, ...] = ()
    """Patterns of paths."""

    list: str | None = None
    """A CSV or Parquet file with a column `scene`."""

    stac: str | None = None
    """A STAC catalogue, or the items of a search, as JSON on the disk."""

    mgrs: MgrsTable | None = None
    """Products by their tile of the military grid."""


class OutputsTable(Table, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What is written."""

    folder: str
    """Where the outputs go, one a scene: a folder or an address."""

    format: Literal["zarr", "tif"] = "zarr"
    """Stores, or GeoTIFFs, which only maps of classes can be."""

    stac: bool = False
    """Write a STAC item beside each store, and a catalogue of them."""

    mosaic: bool = False
    """Join the scenes of each UTM zone in one store."""


class RunTable(Table, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How it is run."""

    workers: Annotated[int, Meta(ge=1, le=256)] = 1
    """Processes on this machine, each with a model of its own."""

    tries: Annotated[int, Meta(ge=1, le=100)] = 3
    """How often a scene is begun before it counts as failed."""

    parts: Annotated[int, Meta(ge=1, le=1024)] | None = None
    """Parts of a scene that several workers compute; None for as many as leave no
    worker without one."""


class JobFile(Table, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A job file."""

    scenes: ScenesTable
    outputs: OutputsTable
    task: Task = "embed"
    model: str | None = None
    settings: dict[str, Any] = {}
    steps: StepsTable | None = None
    run: RunTable = RunTable()
    cluster: ClusterTable = ClusterTable()
