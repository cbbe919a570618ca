"""A batch job as a TOML file: which scenes, which model, what is written where."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from difflib import get_close_matches
from pathlib import Path  # noqa: TC003 -- the type of a field
from typing import Annotated, Any, Final, Literal, TypeVar, get_type_hints

import msgspec
from msgspec import Meta, Struct

from mmearth_infer.engine.model import BUILTIN_MODEL
from mmearth_infer.errors import JobError
from mmearth_infer.jobs.scenes import JobScene, find_scenes
from mmearth_infer.read.options import SceneOptions, parse_bands
from mmearth_infer.run.config import EmbedConfig, RunConfig, SegmentConfig
from mmearth_infer.write.address import Address, Where, locate_to_write

Task = Literal["embed", "segment"]
"""The command that is run over each scene."""

CONFIGS: Final[dict[Task, type[RunConfig]]] = {
    "embed": EmbedConfig,
    "segment": SegmentConfig,
}
"""What a scene of each task becomes."""

NOT_SETTINGS: Final = frozenset(
    (
        *("scene", "out", "model", "resume", "overwrite", "options"),
        *("report", "report_picture", "polygons", "least_cells"),
    )
)
"""Fields of configurations that the job decides, or that are about files beside one."""

LATER: Final = {
    "mgrs": "scenes by their tile of the military grid",
    "mosaic": "one store for a UTM zone",
    "parts": "parts of a scene on several workers",
    "steps": "steps after a scene",
}
"""Keys that are spoken for, and are not there yet."""

T = TypeVar("T")

_HINT: Final = "docs/guides/batch.md lists the keys and what they mean"


class _Part(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A table of a job file; unknown keys are errors."""


class ScenesTable(_Part, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Where the scenes are; paths are relative to the job file."""

    globs: tuple[str, ...] = ()
    """Patterns of paths."""

    list: str | None = None
    """A CSV or Parquet file with a column `scene`."""

    stac: str | None = None
    """A STAC catalogue, or the items of a search, as JSON on the disk."""


class OutputsTable(_Part, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What is written."""

    folder: str
    """Where the outputs go, one a scene: a folder or an address."""

    format: Literal["zarr", "tif"] = "zarr"
    """Stores, or GeoTIFFs, which only maps of classes can be."""

    stac: bool = False
    """Write a STAC item beside each store, and a catalogue of them."""


class RunTable(_Part, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How it is run."""

    workers: Annotated[int, Meta(ge=1, le=256)] = 1
    """Processes on this machine, each with a model of its own."""

    tries: Annotated[int, Meta(ge=1, le=100)] = 3
    """How often a scene is begun before it counts as failed."""


class _JobFile(_Part, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A job file."""

    scenes: ScenesTable
    outputs: OutputsTable
    task: Task = "embed"
    model: str | None = None
    settings: dict[str, Any] = {}
    run: RunTable = RunTable()


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """A batch job, checked."""

    path: Path
    """The job file."""

    task: Task
    """What is run over each scene."""

    scenes: tuple[JobScene, ...]
    """The scenes; no two names are alike."""

    outputs: OutputsTable
    """What is written."""

    folder: Where
    """Where it goes."""

    config: RunConfig
    """The run over each scene, but for scene and output."""

    run: RunTable
    """How it is run."""

    @property
    def name(self) -> str:
        """What the job is called."""
        return self.path.stem

    def out_of(self, scene: JobScene) -> Where:
        """Return where the output of a scene goes."""
        name = f"{scene.name}.{self.outputs.format}"
        if isinstance(self.folder, Address):
            return self.folder.below(name)
        return self.folder / name

    def config_of(self, scene: JobScene) -> RunConfig:
        """Return the run over a scene."""
        return replace(self.config, scene=scene.source, out=self.out_of(scene))


def read_job(path: Path) -> Job:
    """Read a job file, and find its scenes.

    Raises:
        JobError: If it cannot be read, or asks for what cannot be.
        MMEarthError: If a setting cannot be.

    """
    said = _decode(path)
    refuse_unknown(said, _JobFile, "the job file")
    for name, table in (
        ("scenes", ScenesTable),
        ("outputs", OutputsTable),
        ("run", RunTable),
    ):
        if isinstance(said.get(name), dict):
            refuse_unknown(said[name], table, f"[{name}]")
    file = _convert(said, _JobFile, path)
    folder = path.absolute().parent
    _check_outputs(file)
    return Job(
        path=path,
        task=file.task,
        scenes=find_scenes(file.scenes, folder),
        outputs=file.outputs,
        folder=_placed(file.outputs.folder, folder),
        config=_config(file, path),
        run=file.run,
    )


def refuse_unknown(said: dict[str, Any], table: type[Struct], where: str) -> None:
    """Refuse keys that a table has not got, with the one that is most like them.

    Raises:
        JobError: Naming the first.

    """
    known = table.__struct_encode_fields__
    for key in said:
        if key in LATER and key not in known:
            raise JobError(f"`{key}` in {where}: {LATER[key]} cannot be had yet")
        if key not in known:
            like = get_close_matches(key, known, n=1)
            raise JobError(
                f"{where} has no key `{key}`",
                hint=f"did you mean `{like[0]}`?"
                if like
                else f"it takes {', '.join(sorted(known))}",
            )


def settings_table(task: Task) -> type[Struct]:
    """Return what `[settings]` takes: the flags of the command, by their fields."""
    taken: list[tuple[str, Any, Any]] = []
    for kind in (SceneOptions, CONFIGS[task]):
        hints = get_type_hints(kind)
        taken += [
            (field.name, hints[field.name], field.default)
            for field in fields(kind)
            if field.name not in NOT_SETTINGS
        ]
    return msgspec.defstruct("Settings", taken, frozen=True, kw_only=True)


def _config(file: _JobFile, path: Path) -> RunConfig:
    """Return the run over each scene, but for scene and output.

    Raises:
        MMEarthError: If a setting cannot be.

    """
    folder = path.absolute().parent
    table = settings_table(file.task)
    refuse_unknown(file.settings, table, "[settings]")
    made = _convert(file.settings, table, path)
    said = {name: getattr(made, name) for name in file.settings}
    about_scene = {
        field.name: said.pop(field.name)
        for field in fields(SceneOptions)
        if field.name in said
    }
    if about_scene.get("bands"):
        about_scene["bands"] = parse_bands(",".join(about_scene["bands"]))
    if about_scene.get("aoi") is not None:
        about_scene["aoi"] = str(folder / about_scene["aoi"])
    return CONFIGS[file.task](
        scene="",
        model=BUILTIN_MODEL if file.model is None else folder / file.model,
        resume=True,
        options=SceneOptions(**about_scene),
        **said,
    )


def _check_outputs(file: _JobFile) -> None:
    """Refuse outputs that a task cannot have.

    Raises:
        JobError: Naming the key.

    """
    if file.task == "segment" and file.model is None:
        raise JobError(
            "the job names no model, and there is no built-in one for maps",
            hint="model takes what `mmearth segment` does",
        )
    if file.task == "embed" and file.outputs.format == "tif":
        raise JobError(
            "[outputs] format `tif` is for maps of classes, not for embeddings",
            hint="`mmearth cog` writes a store as a GeoTIFF",
        )
    if file.outputs.stac and file.task == "segment":
        raise JobError("[outputs] stac is for stores of embeddings, not for maps")
    if file.outputs.stac and isinstance(locate_to_write(file.outputs.folder), Address):
        raise JobError("STAC items are not written behind an address")


def _placed(said: str, folder: Path) -> Where:
    """Return the folder of the outputs, seen from the job file."""
    where = locate_to_write(said)
    return where if isinstance(where, Address) else folder / where


def _decode(path: Path) -> dict[str, Any]:
    """Return what a job file says.

    Raises:
        JobError: If it is none.

    """
    try:
        return msgspec.toml.decode(path.read_bytes(), type=dict[str, Any])
    except OSError as error:
        raise JobError(
            f"cannot read the job file `{path}`: {error.strerror}"
        ) from error
    except (msgspec.DecodeError, UnicodeError, RecursionError) as error:
        raise JobError(f"`{path}` is no job file: {error}", hint=_HINT) from error


def _convert(said: dict[str, Any], table: type[T], path: Path) -> T:
    """Return what is said as a table.

    Raises:
        JobError: Naming the key whose value cannot be.

    """
    try:
        return msgspec.convert(said, table)
    except msgspec.ValidationError as error:
        raise JobError(f"`{path}`: {error}", hint=_HINT) from error
