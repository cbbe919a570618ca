"""Which scenes a job has: patterns, a list, STAC items; each with a name of its own."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

import msgspec

from mmearth_infer.errors import JobError, MissingExtraError
from mmearth_infer.jobs.mgrs_scenes import scenes_of_tiles
from mmearth_infer.jobs.stac_scenes import scenes_of_stac
from mmearth_infer.read.raster import is_remote

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from mmearth_infer.jobs.tables import ScenesTable

Size = tuple[int, int]
"""Rows and columns of pixels."""

SUFFIXES: Final = (
    ".safe",
    ".zip",
    ".tif",
    ".tiff",
    ".jp2",
    ".json",
    ".geojson",
    ".vrt",
)
"""What the name of an output drops of the name of a scene."""

LISTS: Final = (".csv", ".parquet")
"""Suffixes of lists."""

LONGEST_NAME: Final = 200
"""Characters of a name; file systems take 255 bytes, and we add to them."""

_COLUMNS: Final = "a list has a column `scene`, and may have name, height_px, width_px"


@dataclass(frozen=True, slots=True, kw_only=True)
class JobScene:
    """A scene of a job."""

    name: str
    """What its output is called, without suffix."""

    source: str
    """What `read.source.open_source` takes."""

    size_px: Size | None = None
    """Rows and columns, where the list or the item says so."""


def find_scenes(
    table: ScenesTable, folder: Path, *, leave_out: Path | None = None
) -> tuple[JobScene, ...]:
    """Return the scenes of a job, in order of mention; of a pattern in order of name.

    Args:
        table: The table `[scenes]` of the job file.
        folder: What paths are relative to.
        leave_out: A folder where no scenes are looked for: that of the outputs.

    Raises:
        JobError: If there are none, or two would have one output.

    """
    found = list(_all(table, folder, leave_out))
    if not found:
        raise JobError(
            "the job has no scene",
            hint="globs, list, stac and mgrs of [scenes] lead to them",
        )
    by_name: dict[str, str] = {}
    for scene in found:
        _check_name(scene)
        other = by_name.setdefault(scene.name.casefold(), scene.source)
        if other is not scene.source:
            raise JobError(
                f"`{other}` and `{scene.source}` would both be `{scene.name}`",
                hint="give names in the column `name` of a list",
            )
    return tuple(found)


def _all(
    table: ScenesTable, folder: Path, leave_out: Path | None
) -> Iterator[JobScene]:
    """Yield the scenes of every kind of mention."""
    for pattern in table.globs:
        yield from _matches(pattern, folder)
    if table.list is not None:
        for number, row in enumerate(_rows(folder / table.list), start=1):
            yield _listed(row, folder, f"row {number} of `{table.list}`")
    if table.stac is not None:
        for item in scenes_of_stac(folder / table.stac):
            yield JobScene(
                name=default_name(item.id), source=item.place, size_px=item.size_px
            )
    if table.mgrs is not None:
        root, tiles = folder / table.mgrs.root, table.mgrs.tiles
        for name, path in scenes_of_tiles(root, tiles, leave_out=leave_out):
            yield JobScene(name=name, source=str(path))


def default_name(source: str) -> str:
    """Return what the output of a scene is called unless a list says otherwise."""
    last = Path(urlsplit(source).path if is_remote(source) else source).name
    suffix = Path(last).suffix
    return last.removesuffix(suffix) if suffix.lower() in SUFFIXES else last


def _matches(pattern: str, folder: Path) -> Iterator[JobScene]:
    """Yield what a pattern finds.

    Raises:
        JobError: If that is nothing.

    """
    anchor = Path(pattern).anchor
    try:
        paths = sorted((folder / anchor).glob(pattern.removeprefix(anchor)))
    except (ValueError, NotImplementedError) as error:
        raise JobError(f"`{pattern}` is no pattern of paths: {error}") from error
    if not paths:
        raise JobError(
            f"`{pattern}` finds no scene", hint="patterns are relative to the job file"
        )
    for path in paths:
        yield JobScene(name=default_name(str(path)), source=str(path))


def _rows(path: Path) -> Iterable[Mapping[str, Any]]:
    """Return the rows of a list.

    Raises:
        JobError: If it cannot be read.
        MissingExtraError: If what reads it is not installed.

    """
    if path.suffix.lower() not in LISTS:
        raise JobError(f"`{path}` is no list: it ends in neither .csv nor .parquet")
    try:
        if path.suffix.lower() == ".parquet":
            return _parquet_rows(path)
        with path.open(newline="", encoding="utf-8-sig") as file:
            return list(csv.DictReader(file))
    except (OSError, UnicodeError, csv.Error) as error:
        raise JobError(f"cannot read the list `{path}`: {error}") from error


def _parquet_rows(path: Path) -> list[dict[str, Any]]:
    """Return the rows of a Parquet file; of its columns, those that are known."""
    try:
        from pyarrow import ArrowInvalid, parquet  # noqa: PLC0415 -- an extra
    except ImportError as error:
        raise MissingExtraError("a list in Parquet", extra="dask") from error
    try:
        with parquet.ParquetFile(path) as file:
            known = [
                name
                for name in file.schema_arrow.names
                if name in _Row.__struct_encode_fields__
            ]
            rows: list[dict[str, Any]] = file.read(columns=known).to_pylist()
    except ArrowInvalid as error:
        raise JobError(f"`{path}` is no Parquet file: {error}") from error
    return rows


class _Row(msgspec.Struct, frozen=True):
    """A row of a list; other columns are ignored."""

    scene: str
    name: str | None = None
    height_px: int | None = None
    width_px: int | None = None


def _listed(row: Mapping[str, Any], folder: Path, where: str) -> JobScene:
    """Return the scene of a row; what is empty in a row is left out.

    Raises:
        JobError: Naming the row.

    """
    said = {key: value for key, value in row.items() if value not in {"", None}}
    try:
        made = msgspec.convert(said, _Row, strict=False)
    except msgspec.ValidationError as error:
        raise JobError(f"{where}: {error}", hint=_COLUMNS) from error
    size = None
    if made.height_px is not None and made.width_px is not None:
        size = (made.height_px, made.width_px)
        if min(size) < 1:
            raise JobError(f"{where}: {size[0]} x {size[1]} px is no size")
    source = made.scene
    if not is_remote(source) and source != "demo":
        source = str(folder / source)
    return JobScene(name=made.name or default_name(source), source=source, size_px=size)


def _check_name(scene: JobScene) -> None:
    """Refuse names that would lead out of the folder, or that no file can have.

    Raises:
        JobError: Naming it.

    """
    name = scene.name
    bad = name.startswith(".") or any(c in name for c in '/\\\0:*?"<>|\n')
    if not name or bad or len(name) > LONGEST_NAME:
        raise JobError(
            f"`{name[:LONGEST_NAME]}` is no name for the output of `{scene.source}`",
            hint="give a plain one in the column `name` of a list",
        )
