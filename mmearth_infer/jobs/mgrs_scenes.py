"""Scenes of tiles of the military grid (MGRS) below a folder, in any usual layout."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

import msgspec

from mmearth_infer.errors import JobError
from mmearth_infer.read.folder import file_band

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

RASTERS: Final = (".tif", ".tiff")
"""Suffixes of scenes that are one file, or a file for every band."""

ITEMS: Final = (".json", ".geojson")
"""Suffixes of what may be STAC items."""

STORE: Final = ".zarr"
"""Suffix of folders that are outputs, and of very many files."""

MOST_ITEM_BYTES: Final = 8 * 2**20
"""Of a JSON file that is looked into; items have a hundredth of that."""

ANY: Final = "any tile"
"""What is missing where no tile was asked for."""

_TILE: Final = re.compile(r"\d{2}[C-HJ-NP-X][A-HJ-NP-Z]{2}")
_IN_NAME: Final = re.compile(
    r"(?:^|[_.\-])T?(\d{2}[C-HJ-NP-X][A-HJ-NP-Z]{2})(?![^_.\-])"
)
_IN_PARTS: Final = re.compile(r"(\d{1,2})/([C-HJ-NP-X])/([A-HJ-NP-Z]{2})")
_SUFFIXES: Final = re.compile(r"(\.SAFE|\.zip|\.tiff?|\.(geo)?json)+\Z", re.IGNORECASE)


class _Typed(msgspec.Struct, frozen=True):
    """A JSON file that may be a STAC item."""

    type: str
    stac_version: str


@dataclass(frozen=True, slots=True, kw_only=True)
class _Folder:
    """A folder that is looked into."""

    path: Path
    """Where it is."""

    tile: str | None = None
    """The tile that it, or one around it, is named after."""

    below: tuple[str, ...] = ()
    """Names of the folders from that one to this one."""


def scenes_of_tiles(
    root: Path, tiles: Sequence[str], *, leave_out: Path | None = None
) -> Iterator[tuple[str, Path]]:
    """Yield the names and paths of the scenes of tiles, folder by folder, by name.

    A scene belongs to the tile in its name (`..._T32TLS_....SAFE`), else to that of
    the nearest folder (`32TLS/...`, or `32/T/LS/...` as in open-data buckets). It is a
    .SAFE or a zip of one, a STAC item, a .tif, or a folder with a .tif for every band.
    Of a folder that holds items the .tif files are theirs, and a zip beside what was
    unpacked from it is left out. Links are followed, each folder is entered once;
    stores, and what begins with a dot, are not entered.

    Args:
        root: Where they are.
        tiles: Which, such as `32TLS`; empty for all.
        leave_out: A folder that is not entered: that of the outputs.

    Raises:
        JobError: If a name is none of a tile, or a tile has no scene.

    """
    for tile in tiles:
        check_tile(tile)
    if not root.is_dir():
        raise JobError(f"`{root}` is no folder", hint="root leads to a tree of scenes")
    missing = set(tiles) or {ANY}
    for tile, name, path in _scenes(root, leave_out):
        if not tiles or tile in tiles:
            missing -= {tile, ANY}
            yield name, path
    if missing:
        raise JobError(
            f"no scene of {', '.join(sorted(missing))} below `{root}`",
            hint="scenes have the tile in their names, or in those of their folders",
        )


def check_tile(tile: str) -> None:
    """Refuse what is no name of a tile.

    Raises:
        JobError: Naming it.

    """
    if not _TILE.fullmatch(tile):
        like = tile.upper().removeprefix("T")
        raise JobError(
            f"`{tile}` is no tile of the military grid",
            hint=f"did you mean `{like}`?"
            if _TILE.fullmatch(like)
            else "tiles are called like 32TLS: zone, band of latitude, square",
        )


def _scenes(root: Path, leave_out: Path | None) -> Iterator[tuple[str, str, Path]]:
    """Yield tile, name and path of each scene whose tile is known."""
    waiting = [_around(root)]
    entered: set[tuple[int, int]] = set()
    if leave_out is not None and leave_out.exists():
        entered.add(_identity(leave_out))
    while waiting:
        folder = waiting.pop()
        try:
            own = _identity(folder.path)
            if own in entered:
                continue
            entered.add(own)
            with os.scandir(folder.path) as entries:
                inside = sorted(entries, key=lambda entry: entry.name)
        except OSError as error:
            raise JobError(
                f"cannot look into `{folder.path}`: {error.strerror}",
                hint="leave it out of root, or make it readable",
            ) from error
        inside = [entry for entry in inside if not entry.name.startswith(".")]
        folders = [entry for entry in inside if entry.is_dir()]
        products = [one for one in folders if one.name.upper().endswith(".SAFE")]
        files = [entry for entry in inside if entry.is_file()]
        for path in _found(folder, products, files):
            tile = _tile_in(path.name) or folder.tile
            if tile is not None:
                yield tile, _name(path, tile, folder), path
        below = (
            _inside(folder, one.name)
            for one in folders
            if one not in products and not one.name.endswith(STORE)
        )
        waiting += reversed(list(below))


def _identity(folder: Path) -> tuple[int, int]:
    """Return what tells a folder from others, by whatever links it was found."""
    found = folder.stat()
    return found.st_dev, found.st_ino


def _around(root: Path) -> _Folder:
    """Return the root, which may be the folder of a tile, called so and no more."""
    parts = root.resolve().parts
    last = parts[-1].removeprefix("T")
    tile = last if _TILE.fullmatch(last) else _tile_of(parts)
    return _Folder(path=root, tile=tile)


def _inside(folder: _Folder, name: str) -> _Folder:
    """Return a folder in another."""
    path = folder.path / name
    tile = _tile_of(path.parts) or _tile_in(name)
    if tile is not None:
        return _Folder(path=path, tile=tile)
    below = (*folder.below, name) if folder.tile else ()
    return _Folder(path=path, tile=folder.tile, below=below)


def _found(
    folder: _Folder,
    products: Sequence[os.DirEntry[str]],
    files: Sequence[os.DirEntry[str]],
) -> Iterator[Path]:
    """Yield what may be a scene of a folder."""
    unpacked = {_stem(one.name) for one in products}
    for one in products:
        yield Path(one.path)
    rasters: list[Path] = []
    items: list[Path] = []
    for one in files:
        path = Path(one.path)
        suffix, known = path.suffix.lower(), folder.tile or _tile_in(one.name)
        if not known:
            continue
        if suffix == ".zip" and _stem(one.name) not in unpacked:
            yield path
        elif suffix in ITEMS and _is_item(path):
            items.append(path)
        elif suffix in RASTERS:
            rasters.append(path)
    if items:
        yield from items
    elif any(file_band(path.stem) for path in rasters):
        yield folder.path
    else:
        yield from rasters


def _is_item(path: Path) -> bool:
    """Tell whether a file is a STAC item."""
    try:
        if path.stat().st_size > MOST_ITEM_BYTES:
            return False
        return msgspec.json.decode(path.read_bytes(), type=_Typed).type == "Feature"
    except (OSError, msgspec.DecodeError, UnicodeError, RecursionError):
        return False


def _tile_in(name: str) -> str | None:
    """Return the tile that a name holds, or None.

    >>> _tile_in("S2A_MSIL1C_20240101T103421_N0510_R065_T32TLS_20240101T123456.SAFE")
    '32TLS'
    """
    found = _IN_NAME.search(name)
    return found[1] if found else None


def _tile_of(parts: Sequence[str]) -> str | None:
    """Return the tile that the last folders are, or None.

    >>> _tile_of(["tiles", "5", "Q", "KB"])
    '05QKB'
    """
    found = _IN_PARTS.fullmatch("/".join(parts[-3:]))
    return f"{found[1]:0>2}{found[2]}{found[3]}" if found else None


def _stem(name: str) -> str:
    """Return a name without the suffixes of scenes.

    >>> _stem("S2A.SAFE.zip")
    'S2A'
    """
    return _SUFFIXES.sub("", name)


def _name(path: Path, tile: str, folder: _Folder) -> str:
    """Return what a scene is called: by itself, or by its folders from the tile on."""
    own = _stem(path.name)
    if _tile_in(path.name):
        return own
    return "_".join((tile, *folder.below, *(() if path == folder.path else (own,))))
