"""A batch job as a TOML file: which scenes, which model, what is written where."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from difflib import get_close_matches
from pathlib import Path  # noqa: TC003 -- the type of a field
from typing import TYPE_CHECKING, Any, Final, TypeVar, get_type_hints

import msgspec

from mmearth_infer.engine.model import BUILTIN, find_model
from mmearth_infer.errors import JobError
from mmearth_infer.jobs.cluster_tables import ClusterTable
from mmearth_infer.jobs.scenes import JobScene, find_scenes
from mmearth_infer.jobs.steps import StepsTable, check_fit, check_steps
from mmearth_infer.jobs.tables import (
    JobFile,
    OutputsTable,
    RunTable,
    ScenesTable,
    Task,
)
from mmearth_infer.read.options import SceneOptions, parse_bands
from mmearth_infer.run.config import EmbedConfig, RunConfig, SegmentConfig
from mmearth_infer.write.address import Address, Where, locate_to_write

if TYPE_CHECKING:
    from msgspec import Struct

CONFIGS: Final[dict[Task, type[RunConfig]]] = {
    "embed": EmbedConfig,
    "segment": SegmentConfig,
}
"""What a scene of each task becomes."""

NOT_SETTINGS: Final = frozenset(
    (
        *("scene", "out", "model", "resume", "overwrite", "options"),
        *("report_picture", "polygons", "least_cells", "snap_px"),
    )
)
"""Fields of configurations that the job decides, or that are about files beside one."""

TABLES: Final[dict[str, type[Struct]]] = {
    "scenes": ScenesTable,
    "outputs": OutputsTable,
    "steps": StepsTable,
    "run": RunTable,
    "cluster": ClusterTable,
}
"""Tables whose keys are known."""

PARTS_OF_MOSAICS: Final = "scenes"
"""Folder below the outputs with the stores that mosaics are made of."""

T = TypeVar("T")

_HINT: Final = "docs/guides/batch.md lists the keys and what they mean"


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

    steps: StepsTable | None
    """What is done with each finished store."""

    run: RunTable
    """How it is run."""

    cluster: ClusterTable
    """What clusters are asked for."""

    @property
    def name(self) -> str:
        """What the job is called."""
        return self.path.stem

    def out_of(self, scene: JobScene) -> Where:
        """Return where the output of a scene goes."""
        name = f"{scene.name}.{self.outputs.format}"
        if isinstance(self.folder, Address):
            return self.folder.below(name)
        if self.outputs.mosaic:
            return self.folder / PARTS_OF_MOSAICS / name
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
    refuse_unknown(said, JobFile, "the job file")
    for name, table in TABLES.items():
        if isinstance(said.get(name), dict):
            refuse_unknown(said[name], table, f"[{name}]")
    file = _convert(said, JobFile, path)
    folder = path.absolute().parent
    _check_outputs(file)
    placed = _placed(file.outputs.folder, folder)
    outputs = None if isinstance(placed, Address) else placed
    config = _config(file, path)
    steps = file.steps and check_steps(file.steps, folder, remote=outputs is None)
    if steps is not None:
        assert isinstance(config, EmbedConfig)
        check_fit(steps, config)
    return Job(
        path=path,
        task=file.task,
        scenes=find_scenes(file.scenes, folder, leave_out=outputs),
        outputs=file.outputs,
        folder=placed,
        config=config,
        steps=steps,
        run=file.run,
        cluster=file.cluster,
    )


def refuse_unknown(said: dict[str, Any], table: type[Struct], where: str) -> None:
    """Refuse keys that a table has not got, with the one that is most like them.

    Raises:
        JobError: Naming the first.

    """
    known = table.__struct_encode_fields__
    for key in said:
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


def _config(file: JobFile, path: Path) -> RunConfig:
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
        model=folder / find_model(file.model or BUILTIN),
        resume=True,
        options=SceneOptions(**about_scene),
        **said,
    )


def _check_outputs(file: JobFile) -> None:
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
    if file.task == "segment" and (file.outputs.mosaic or file.steps is not None):
        raise JobError(
            "[steps] and [outputs] mosaic are for stores of embeddings, not for maps",
            hint="embed, and apply a probe to the mosaic: [steps] probe",
        )
    if isinstance(locate_to_write(file.outputs.folder), Address):
        for name in ("stac", "mosaic"):
            if getattr(file.outputs, name):
                raise JobError(
                    f"[outputs] {name} is for outputs on a disk, not behind an address"
                )


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
