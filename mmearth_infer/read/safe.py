"""Sentinel-2 products as they are delivered: a .SAFE folder, or a .zip of one.

What is in it is what its own metadata, MTD_MSIL1C.xml or MTD_MSIL2A.xml, say.
"""

from __future__ import annotations

import re
import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Final

from defusedxml.ElementTree import fromstring  # type: ignore[import-untyped]

from mmearth_infer.contract.bands import L1C_BANDS
from mmearth_infer.errors import SceneError
from mmearth_infer.read.described import BandFile, Product
from mmearth_infer.read.folder import file_band, native_first, stated_side_m
from mmearth_infer.read.product import product_facts
from mmearth_infer.read.raster import PLAIN_DRIVERS

if TYPE_CHECKING:
    from xml.etree.ElementTree import Element

METADATA: Final = re.compile(r"MTD_MSIL(1C|2A)\.xml")
"""Name of a product's own metadata."""

MAX_XML_BYTES: Final = 32 * 2**20
"""Real ones are below 100 kB, L1C of old baselines below 1 MB."""

_TAGS: Final = (
    *("PRODUCT_URI", "PRODUCT_URI_1C", "PRODUCT_URI_2A"),
    *("PROCESSING_LEVEL", "PRODUCT_TYPE", "PROCESSING_BASELINE"),
    *("PRODUCT_START_TIME", "PRODUCT_STOP_TIME"),
)
_IMAGES: Final = ("IMAGE_FILE", "IMAGE_FILE_2A")
_OFFSETS: Final = ("BOA_ADD_OFFSET", "RADIO_ADD_OFFSET")
_QUANTIFICATIONS: Final = (
    *("BOA_QUANTIFICATION_VALUE", "QUANTIFICATION_VALUE"),
    "L2A_BOA_QUANTIFICATION_VALUE",
)
_HINT_DAMAGED: Final = (
    "the product may be cut off or changed; compare it with its source"
)
_HINT_ONE: Final = "name one product: its .SAFE folder or its .zip"


@dataclass(frozen=True, slots=True, kw_only=True)
class Safe:
    """Where a product is, and what its metadata file holds."""

    name: str
    """Name of the folder or archive."""

    metadata: str
    """Name of the metadata file."""

    xml: bytes
    """What is in it."""

    prefix: str
    """What GDAL needs before a path inside the product."""

    files: tuple[str, ...]
    """Files that tell this product from another."""

    folder: Path | None = None
    """Root of the product; None for an archive."""

    members: frozenset[str] = frozenset()
    """Paths inside the product, where it is an archive."""

    def locate(self, inside: str) -> str | None:
        """Return what GDAL calls a file of the product, None if it is not there.

        Raises:
            SceneError: If the path leads out of the product.

        """
        parts = PurePosixPath(inside).parts
        odd = any(sign in inside for sign in '\\:\0\n"{}')
        outside = inside.startswith("/") or ".." in parts or odd
        if not outside and self.folder is not None:
            place = (self.folder / inside).resolve()
            outside = not place.is_relative_to(self.folder.resolve())
            there = place.is_file()
        else:
            there = inside in self.members
        if outside:
            raise SceneError(
                f"{self.metadata} of `{self.name}` names a file outside the product: "
                f"{inside[:200]!r}",
                hint="get the product from its source again; nothing was read",
            )
        return self.prefix + inside if there else None


def find_safe(path: Path) -> Safe | None:
    """Return the product at a path, None if it looks like none.

    A folder around a single .SAFE is taken for it, as an unpacked archive is.

    Raises:
        SceneError: If there are several, or one without its metadata.

    """
    if METADATA.fullmatch(path.name) and path.is_file():
        return _in_folder(path.resolve().parent, path.name)
    if path.suffix.lower() == ".zip" and path.is_file():
        return _in_zip(path)
    if not path.is_dir():
        return None
    inside = sorted(entry.name for entry in path.iterdir())
    metadata = [name for name in inside if METADATA.fullmatch(name)]
    if metadata:
        if len(metadata) > 1:
            raise SceneError(
                f"`{path}` holds several products: {', '.join(metadata)}",
                hint="name one of these files",
            )
        return _in_folder(path.resolve(), metadata[0])
    safes = [name for name in inside if name.upper().endswith(".SAFE")]
    if len(safes) > 1:
        raise SceneError(
            f"`{path}` holds several products: {safes[0]}, {safes[1]}", hint=_HINT_ONE
        )
    if safes:
        return find_safe(path / safes[0])
    if path.name.upper().endswith(".SAFE"):
        raise SceneError(
            f"`{path}` holds no MTD_MSIL1C.xml or MTD_MSIL2A.xml", hint=_HINT_DAMAGED
        )
    return None


def _in_folder(root: Path, metadata: str) -> Safe:
    """Return the product in a folder."""
    file = root / metadata
    if file.stat().st_size > MAX_XML_BYTES:
        raise SceneError(f"`{file}` is too large for metadata", hint=_HINT_DAMAGED)
    return Safe(
        name=root.name,
        metadata=metadata,
        xml=file.read_bytes(),
        prefix=f"{root}/",
        files=(str(file),),
        folder=root,
    )


def _in_zip(path: Path) -> Safe:
    """Return the product in an archive, which stays packed."""
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
            metadata = [
                name
                for name in names
                if METADATA.fullmatch(PurePosixPath(name).name)
                and len(PurePosixPath(name).parts) <= 2  # noqa: PLR2004 -- X.SAFE/MTD
            ]
            if len(metadata) > 1:
                raise SceneError(
                    f"`{path}` holds several products: {metadata[0]}, {metadata[1]}",
                    hint="unpack it, and name one of them",
                )
            if not metadata:
                raise SceneError(
                    f"`{path}` holds no MTD_MSIL1C.xml or MTD_MSIL2A.xml",
                    hint="give a .zip of one .SAFE folder; unpack others",
                )
            if archive.getinfo(metadata[0]).file_size > MAX_XML_BYTES:
                raise SceneError(
                    f"{metadata[0]} in `{path}` is too large for metadata",
                    hint=_HINT_DAMAGED,
                )
            xml = archive.read(metadata[0])
    except (
        *(zipfile.BadZipFile, zlib.error, EOFError, RuntimeError),
        *(NotImplementedError, ValueError, UnicodeError),
    ) as error:
        raise SceneError(
            f"`{path}` is not an archive that can be read: {error}",
            hint=_HINT_DAMAGED,
        ) from error
    root = metadata[0][: -len(PurePosixPath(metadata[0]).name)]
    return Safe(
        name=path.name,
        metadata=PurePosixPath(metadata[0]).name,
        xml=xml,
        prefix=f"/vsizip/{{{path.resolve()}}}/{root}",
        files=(str(path.resolve()),),
        members=frozenset(n.removeprefix(root) for n in names if n.startswith(root)),
    )


def safe_product(safe: Safe) -> Product:
    """Read what a product says of itself.

    Raises:
        SceneError: If its metadata are cut off, contradict themselves, or name
            files outside it.

    """
    tags: dict[str, str] = {}
    images: list[str] = []
    quantification: float | None = None
    for element in _parse(safe).iter():
        kind = str(element.tag).rpartition("}")[2]
        text = (element.text or "").strip()
        if kind in _IMAGES and text:
            images.append(text)
        elif kind in _TAGS and text:
            tags.setdefault(kind, text)
        elif kind in _OFFSETS:
            tags[f"{kind}_{_offset_band(element, safe)}"] = text
        elif kind in _QUANTIFICATIONS:
            quantification = _number(text, kind, safe)
    _check_level(tags, safe)
    found = _choose(images, safe)
    scl = found.pop("SCL", None)
    if not found:
        raise SceneError(
            f"{safe.metadata} of `{safe.name}` names no band that is in the product",
            hint=_HINT_DAMAGED,
        )
    uri = next((tags[key] for key in _TAGS[:3] if key in tags), "")
    return Product(
        name=uri if re.fullmatch(r"[\w.-]+", uri) else safe.name,
        bands={name: BandFile(path=path) for name, path in found.items()},
        bands_evidence=f"named in {safe.metadata}",
        tags=tags,
        scl=BandFile(path=scl) if scl else None,
        quantification=quantification,
        files=safe.files,
        drivers=PLAIN_DRIVERS,
        hint_missing="the product names its own bands; some of its files may be gone",
    )


def _parse(safe: Safe) -> Element:
    """Return the root of the metadata, which may define no entities."""
    try:
        root: Element = fromstring(safe.xml, forbid_dtd=True)
    except (SyntaxError, ValueError, LookupError, RecursionError) as error:
        raise SceneError(
            f"{safe.metadata} of `{safe.name}` is not XML that can be read: {error}",
            hint=_HINT_DAMAGED,
        ) from error
    return root


def _offset_band(element: Element, safe: Safe) -> str:
    """Return the band that an offset is for; bands count from 0 as L1C has them."""
    number = element.get("band_id", "")
    if not re.fullmatch(r"\d{1,2}", number) or int(number) >= len(L1C_BANDS):
        raise SceneError(
            f"{safe.metadata} of `{safe.name}` states an offset for band {number!r}, "
            "which Sentinel-2 has not",
            hint=_HINT_DAMAGED,
        )
    return L1C_BANDS[int(number)]


def _number(text: str, kind: str, safe: Safe) -> float:
    try:
        return float(text)
    except ValueError as error:
        raise SceneError(
            f"{safe.metadata} of `{safe.name}` states {kind} {text[:40]!r}, no number",
            hint=_HINT_DAMAGED,
        ) from error


def _check_level(tags: dict[str, str], safe: Safe) -> None:
    """Refuse metadata that call a product L1C here and L2A there."""
    said = {safe.metadata: product_facts("", {"PRODUCT_TYPE": safe.metadata[4:]}).level}
    for key, text in tags.items():
        said[key] = product_facts(text, {key: text}).level
    levels = {level: key for key, level in said.items() if level is not None}
    if len(levels) > 1:
        text = " and ".join(f"{key} says {level}" for level, key in levels.items())
        raise SceneError(
            f"{safe.metadata} of `{safe.name}` contradicts itself: {text}",
            hint=_HINT_DAMAGED,
        )


def _choose(images: list[str], safe: Safe) -> dict[str, str]:
    """Return GDAL's path of each band at its native resolution, and of SCL.

    Raises:
        SceneError: If two files could be meant, as in products of several tiles.

    """
    found: dict[str, dict[str, str]] = {}
    for image in images:
        inside = image if image.lower().endswith(".jp2") else f"{image}.jp2"
        path = safe.locate(inside)
        name = file_band(PurePosixPath(inside).stem)
        if name is not None and path is not None:
            found.setdefault(name, {})[inside] = path
    chosen = {}
    for name, several in found.items():
        stems = [PurePosixPath(inside).stem for inside in several]
        away = native_first(name, [stated_side_m(stem) for stem in stems])
        first, *others = sorted(zip(away, several.items(), strict=True))
        if others and others[0][0] == first[0]:
            raise SceneError(
                f"`{safe.name}` has several files of {name}: {first[1][0]} and "
                f"{others[0][1][0]}",
                hint="products of several tiles are not read; split them into tiles",
            )
        chosen[name] = first[1][1]
    return chosen
