"""What a Sentinel-2 product's metadata say: its granules, files, level and offsets."""

from __future__ import annotations

import re
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Final

from defusedxml.ElementTree import fromstring  # type: ignore[import-untyped]

from mmearth_infer.contract.bands import L1C_BANDS
from mmearth_infer.errors import SceneError
from mmearth_infer.read.described import BandFile, Product
from mmearth_infer.read.folder import file_band, native_first, stated_side_m
from mmearth_infer.read.product import product_facts
from mmearth_infer.read.raster import PLAIN_DRIVERS
from mmearth_infer.read.safe import HINT_DAMAGED

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from xml.etree.ElementTree import Element

    from mmearth_infer.read.safe import Safe

_TAGS: Final = (
    *("PRODUCT_URI", "PRODUCT_URI_1C", "PRODUCT_URI_2A"),
    *("PROCESSING_LEVEL", "PRODUCT_TYPE", "PROCESSING_BASELINE"),
    *("PRODUCT_START_TIME", "PRODUCT_STOP_TIME"),
)
_PATHS: Final = ("IMAGE_FILE", "IMAGE_FILE_2A")
_NAMES: Final = ("IMAGE_ID", "IMAGE_ID_2A")
"""What images are called: by path, or before December 2016 in their granule."""

_IMAGES: Final = (*_PATHS, *_NAMES)

_GRANULES: Final = ("Granule", "Granules")
_GRANULE: Final = re.compile(r"(?:_|/|^)T(\d{2}[A-Z]{3})(?=[_/]|$)")
_UNNAMED: Final = "?"
_OFFSETS: Final = ("BOA_ADD_OFFSET", "RADIO_ADD_OFFSET")
_QUANTIFICATIONS: Final = (
    *("BOA_QUANTIFICATION_VALUE", "QUANTIFICATION_VALUE"),
    "L2A_BOA_QUANTIFICATION_VALUE",
)


def safe_product(safe: Safe, granule: str | None = None) -> Product:
    """Read what a product says of itself.

    Args:
        safe: Where it is.
        granule: Which of its granules, by its tile of the military grid, such as
            `T32TQM`; None for the only one.

    Raises:
        SceneError: If its metadata are cut off, contradict themselves, or name
            files outside it; or if it has several granules and none is chosen.

    """
    tags: dict[str, str] = {}
    quantification: float | None = None
    root = _parse(safe)
    for element in root.iter():
        kind = _kind(element)
        text = (element.text or "").strip()
        if kind in _TAGS and text:
            tags.setdefault(kind, text)
        elif kind in _OFFSETS:
            tags[f"{kind}_{_offset_band(element, safe)}"] = text
        elif kind in _QUANTIFICATIONS:
            quantification = _number(text, kind, safe)
    _check_level(tags, safe)
    granules = _granules(root)
    chosen = _granule(granules, granule, safe)
    found = _choose(granules.get(chosen, ()), safe)
    scl = found.pop("SCL", None)
    if not found:
        raise SceneError(
            f"{safe.metadata} of `{safe.name}` names no band that is in the product",
            hint=HINT_DAMAGED,
        )
    uri = next((tags[key] for key in _TAGS[:3] if key in tags), "")
    name = uri if re.fullmatch(r"[\w.-]+", uri) else safe.name
    return Product(
        name=name if len(granules) == 1 else f"{name} T{chosen}",
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
            hint=HINT_DAMAGED,
        ) from error
    return root


def _offset_band(element: Element, safe: Safe) -> str:
    """Return the band that an offset is for; bands count from 0 as L1C has them."""
    number = element.get("band_id", "")
    if not re.fullmatch(r"\d{1,2}", number) or int(number) >= len(L1C_BANDS):
        raise SceneError(
            f"{safe.metadata} of `{safe.name}` states an offset for band {number!r}, "
            "which Sentinel-2 has not",
            hint=HINT_DAMAGED,
        )
    return L1C_BANDS[int(number)]


def _number(text: str, kind: str, safe: Safe) -> float:
    try:
        return float(text)
    except ValueError as error:
        raise SceneError(
            f"{safe.metadata} of `{safe.name}` states {kind} {text[:40]!r}, no number",
            hint=HINT_DAMAGED,
        ) from error


def _check_level(tags: dict[str, str], safe: Safe) -> None:
    """Refuse metadata that call a product L1C here and L2A there."""
    said = {safe.metadata: product_facts("", {"PRODUCT_TYPE": safe.level}).level}
    for key, text in tags.items():
        said[key] = product_facts(text, {key: text}).level
    levels = {level: key for key, level in said.items() if level is not None}
    if len(levels) > 1:
        text = " and ".join(f"{key} says {level}" for level, key in levels.items())
        raise SceneError(
            f"{safe.metadata} of `{safe.name}` contradicts itself: {text}",
            hint=HINT_DAMAGED,
        )


def _granules(root: Element) -> dict[str, list[str]]:
    """Return the images of each granule, as paths inside the product."""
    granules: dict[str, list[str]] = {}
    folder = ""
    for element in root.iter():
        kind, image = _kind(element), (element.text or "").strip()
        if kind in _GRANULES:
            folder = f"GRANULE/{element.get('granuleIdentifier', '')}/IMG_DATA"
        if kind not in _IMAGES or not image:
            continue
        if kind in _NAMES:
            side_m = stated_side_m(image)
            image = f"{folder}/R{side_m}m/{image}" if side_m else f"{folder}/{image}"
        name = _GRANULE.search(image)
        granules.setdefault(name[1] if name else _UNNAMED, []).append(image)
    return granules


def _granule(
    granules: Mapping[str, Sequence[str]], asked: str | None, safe: Safe
) -> str:
    """Return the granule that is meant.

    Raises:
        SceneError: Listing the granules that there are.

    """
    has = ", ".join(f"T{name}" for name in sorted(granules))[:400]
    if asked is None:
        if len(granules) > 1:
            raise SceneError(
                f"`{safe.name}` holds {len(granules)} granules: {has}",
                hint="choose one with --granule",
            )
        return next(iter(granules), _UNNAMED)
    name = asked.upper().removeprefix("T")
    if name not in granules:
        raise SceneError(
            f"`{safe.name}` holds no granule `{asked}`",
            hint=f"it holds {has or 'none'}",
        )
    return name


def _kind(element: Element) -> str:
    """Return an element's name without its namespace."""
    return str(element.tag).rpartition("}")[2]


def _choose(images: Sequence[str], safe: Safe) -> dict[str, str]:
    """Return GDAL's path of each band at its native resolution, and of SCL.

    Raises:
        SceneError: If two files could be meant.

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
                hint=HINT_DAMAGED,
            )
        chosen[name] = first[1][1]
    return chosen
