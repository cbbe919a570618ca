"""A list of scenes as a TOML file: which, and what only their user knows of each."""

from __future__ import annotations

import datetime as dt  # noqa: TC003 -- msgspec
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import msgspec
from msgspec import Struct

from mmearth_infer.errors import DataError
from mmearth_training.data.scenes import OffsetChoice, ProductChoice  # noqa: TC001 -- msgspec

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from mmearth_training.data.scenes import SceneOptions

SUFFIX: Final = ".toml"
"""What tells a list from a scene."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """A scene that is to be cut."""

    path: str
    """What `open_source` takes."""

    date: dt.date | None
    """When it was taken; None to look for it in its name."""

    options: SceneOptions
    """How to read it."""

    stride_px: int
    """Distance of neighbouring tiles."""


class _Scene(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """An entry of the list."""

    path: str
    """A scene; relative to the folder the command runs in."""

    date: dt.date | None = None
    """When it was taken."""

    product: ProductChoice | None = None
    """Replaces --product."""

    offset: OffsetChoice | None = None
    """Replaces --offset."""

    allow_resolution: bool | None = None
    """Replaces --allow-resolution."""

    stride: Annotated[int, msgspec.Meta(ge=1)] | None = None
    """Replaces --stride."""


class _List(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The file."""

    scenes: tuple[_Scene, ...]
    """Its entries, in the order they are cut."""


def list_scenes(
    given: Sequence[str],
    *,
    options: SceneOptions,
    date: dt.date | None,
    stride_px: int,
) -> tuple[Asked, ...]:
    """Return scenes, each list among them replaced by its entries.

    Args:
        given: Scenes, and lists of scenes by their suffix.
        options: How to read those that do not say otherwise.
        date: When those were taken that do not say.
        stride_px: Distance of the tiles of those that do not say.

    Raises:
        DataError: If a list cannot be read.

    """
    return tuple(
        asked
        for text in given
        for asked in _expand(
            Asked(path=text, date=date, options=options, stride_px=stride_px)
        )
    )


def _expand(given: Asked) -> Iterator[Asked]:
    """Yield a scene, or what a list holds."""
    if Path(given.path).suffix != SUFFIX:
        yield given
        return
    for scene in _read(given.path).scenes:
        said = {
            key: value
            for key in ("product", "offset", "allow_resolution")
            if (value := getattr(scene, key)) is not None
        }
        yield Asked(
            path=scene.path,
            date=scene.date or given.date,
            options=replace(given.options, **said),
            stride_px=scene.stride or given.stride_px,
        )


def _read(text: str) -> _List:
    """Parse a list."""
    try:
        return msgspec.toml.decode(Path(text).read_bytes(), type=_List)
    except OSError as error:
        raise DataError(
            f"cannot read the list of scenes `{text}`: {error.strerror}",
            hint="give a TOML file of [[scenes]], or the scenes themselves",
        ) from error
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise DataError(
            f"`{text}` is no list of scenes: {error}",
            hint="each [[scenes]] has a path, and may have date, product, offset, "
            "allow_resolution, stride",
        ) from error
