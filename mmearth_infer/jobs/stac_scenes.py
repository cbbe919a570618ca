"""Scenes of a STAC catalogue on the disk, or of a search result saved there."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

import msgspec

from mmearth_infer.errors import JobError
from mmearth_infer.read.fetch import is_web

if TYPE_CHECKING:
    from collections.abc import Iterator

DEEPEST: Final = 8
"""Catalogues within catalogues that are followed."""

_HINT: Final = "stac takes a catalogue, or the items of a search, as a JSON file"


class _Link(msgspec.Struct, frozen=True):
    """A link; those that lead to items matter."""

    rel: str
    href: str


class _Shaped(msgspec.Struct, frozen=True):
    """What may say how many pixels there are."""

    shape: tuple[int, int] | None = msgspec.field(name="proj:shape", default=None)


class _Node(msgspec.Struct, frozen=True):
    """A catalogue, a collection, an item, or the items of a search."""

    type: str
    id: str = ""
    links: tuple[_Link, ...] = ()
    features: tuple[_Node, ...] = ()
    properties: _Shaped | None = None
    assets: dict[str, _Shaped] = {}


@dataclass(frozen=True, slots=True, kw_only=True)
class ItemScene:
    """An item that is a scene."""

    id: str
    """What it is called."""

    place: str
    """Path or address of the item."""

    size_px: tuple[int, int] | None = None
    """Rows and columns of its finest band, where it says so."""


def scenes_of_stac(path: Path) -> Iterator[ItemScene]:
    """Yield the items below a catalogue, or of a search.

    Items of a search are where their `self` links say; those of a catalogue are not
    opened, so that catalogues of any length are read at once.

    Raises:
        JobError: If it is neither, or an item does not say where it is.

    """
    node = _read(path)
    if node.type == "FeatureCollection":
        for item in node.features:
            yield _found(item, path)
    elif node.type in {"Catalog", "Collection"}:
        yield from _below(node, path, depth=0)
    else:
        raise JobError(f"`{path}` is neither catalogue nor search result", hint=_HINT)


def _below(node: _Node, path: Path, *, depth: int) -> Iterator[ItemScene]:
    """Yield the items of a catalogue and of those in it."""
    for link in node.links:
        if link.rel == "item":
            place = _place(link.href, path)
            yield ItemScene(id=Path(link.href).name, place=place)
        elif link.rel == "child":
            child = _place(link.href, path)
            if is_web(child):
                raise JobError(
                    f"`{path}` goes on at {child}", hint="only catalogues on a disk do"
                )
            if depth == DEEPEST:
                raise JobError(f"`{path}` is the {DEEPEST}th catalogue within another")
            yield from _below(_read(Path(child)), Path(child), depth=depth + 1)


def _found(item: _Node, path: Path) -> ItemScene:
    """Return an item of a search."""
    home = next((link.href for link in item.links if link.rel == "self"), None)
    if home is None:
        raise JobError(
            f"item `{item.id}` of `{path}` does not say where it is",
            hint="its link `self` would; or save items as files, and use globs",
        )
    said = [item.properties or _Shaped(), *item.assets.values()]
    shapes = [one.shape for one in said if one.shape is not None]
    size = max(shapes, default=None)
    return ItemScene(id=item.id, place=_place(home, path), size_px=size)


def _place(href: str, path: Path) -> str:
    """Return where a link leads, seen from the file that it stands in."""
    return href if is_web(href) else str(path.parent / href)


def _read(path: Path) -> _Node:
    """Read a STAC file.

    Raises:
        JobError: If it cannot be read, or is none.

    """
    try:
        return msgspec.json.decode(path.read_bytes(), type=_Node)
    except OSError as error:
        raise JobError(f"cannot read `{path}`: {error.strerror}", hint=_HINT) from error
    except (msgspec.DecodeError, RecursionError, UnicodeError) as error:
        raise JobError(f"`{path}` is no STAC: {error}", hint=_HINT) from error
