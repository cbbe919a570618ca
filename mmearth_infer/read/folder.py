"""A folder with a file for every band, named after it."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from mmearth_infer.contract.bands import BANDS, find_band
from mmearth_infer.errors import SceneError
from mmearth_infer.read.described import BandFile, Product

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

SUFFIXES: Final = (".tif", ".tiff", ".jp2", ".vrt")
"""Files that may hold a band."""

_SIDE: Final = re.compile(r"(?:^|[_.\- ])(10|20|60)m(?=$|[_.\- ])", re.IGNORECASE)
_HINT: Final = (
    "a folder holds one product: a .SAFE, or a file for every band, such as B02.tif"
)


def folder_product(folder: Path) -> Product:
    """Find the bands of a folder by the names of its files.

    `B02.tif`, `T48QUE_20200223T033731_B8A_20m.jp2` and `red.tif` are names of bands;
    other files are left alone. Where a band is there at several resolutions, its
    native one is taken.

    Raises:
        SceneError: If no file is named after a band, or several after one.

    """
    files = sorted(
        file
        for file in folder.iterdir()
        if file.suffix.lower() in SUFFIXES and not file.name.startswith(".")
    )
    if not files:
        raise SceneError(f"`{folder}` holds no rasters", hint=_HINT)
    found: dict[str, list[Path]] = {}
    for file in files:
        name = file_band(file.stem)
        if name is not None:
            found.setdefault(name, []).append(file)
    chosen = {name: _one(name, several) for name, several in found.items()}
    scl = chosen.pop("SCL", None)
    if not chosen:
        raise SceneError(
            f"no file in `{folder}` is named after a band: {files[0].name}, ...",
            hint=_HINT,
        )
    first = min(chosen.values())
    return Product(
        name=folder.resolve().name,
        bands={name: BandFile(path=str(file)) for name, file in chosen.items()},
        bands_evidence="named by the files of the folder",
        tags={"file name": first.name, "folder name": folder.resolve().name},
        scl=BandFile(path=str(scl)) if scl else None,
    )


def file_band(stem: str) -> str | None:
    """Return the band, or `SCL`, that a file is named after, or None.

    >>> file_band("T48QUE_20200223T033731_B8A_20m"), file_band("SCL_20m")
    ('B8A', 'SCL')
    """
    parts = [stem, *reversed(re.split(r"[_.\- ]", stem))]
    for part in parts:
        if part.upper() == "SCL":
            return "SCL"
        name = find_band(part)
        if name is not None:
            return name
    return None


def stated_side_m(text: str) -> int | None:
    """Return the resolution that a file's name, or an asset's key, ends with.

    >>> stated_side_m("T48QUE_20200223T033731_B02_10m")
    10
    """
    found = _SIDE.findall(text)
    return int(found[-1]) if found else None


def native_first(band: str, sides_m: Iterable[float | None]) -> list[float]:
    """Return how far resolutions are from a band's native one; unknown is far."""
    native = BANDS[band].native_px_m if band in BANDS else 20
    return [float("inf") if side is None else abs(side - native) for side in sides_m]


def _one(name: str, files: list[Path]) -> Path:
    """Return the file at the band's native resolution.

    Raises:
        SceneError: If two could be meant.

    """
    away = native_first(name, [stated_side_m(file.stem) for file in files])
    nearest = [file for file, far in zip(files, away, strict=True) if far == min(away)]
    if len(nearest) > 1:
        raise SceneError(
            f"`{files[0].parent}` holds several products: both {nearest[0].name} and "
            f"{nearest[1].name} are named after {name}",
            hint=_HINT,
        )
    return nearest[0]
