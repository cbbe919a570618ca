"""STAC items: a JSON that says where the bands of a scene are.

Understands versions 1.0 and 1.1, with the bands of an asset under `bands` or in the
`eo` and `raster` extensions, as Earth Search, Planetary Computer and the Copernicus
Data Space write them.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Annotated, Any, Final
from urllib.parse import unquote, urljoin, urlsplit

import msgspec

from mmearth_infer.contract.bands import BANDS, find_band
from mmearth_infer.errors import SceneError
from mmearth_infer.read.described import BandFile, Product
from mmearth_infer.read.fetch import fetch, is_web
from mmearth_infer.read.folder import native_first, stated_side_m
from mmearth_infer.read.offset import FIRST_BASELINE, Offset
from mmearth_infer.read.product import product_facts
from mmearth_infer.read.raster import PLAIN_DRIVERS, is_remote, shown

MAX_ITEM_BYTES: Final = 16 * 2**20
"""Real ones are below 100 kB."""

CORRECTED_BUCKET: Final = "sentinel-cogs"
"""Element 84's archive: most of its pixels are corrected, whatever its items say."""

_CORRECTED: Final = (
    "earthsearch:boa_offset_applied",
    "sentinel:boa_offset_applied",
)
_BASELINES: Final = (
    *("s2:processing_baseline", "sentinel:processing_baseline"),
    *("processing:version", "s2:product_uri", "sentinel:product_id"),
)
_PICTURES: Final = {"thumbnail", "overview", "visual", "metadata"}
_HINT: Final = "give a STAC item of a Sentinel-2 scene, with an asset for every band"


class _Band(msgspec.Struct, frozen=True):
    """A band of an asset, whichever of the three lists it stands in."""

    name: str = ""
    common_name: str = ""
    eo_common_name: str = msgspec.field(name="eo:common_name", default="")
    scale: float | None = None
    offset: float | None = None
    raster_scale: float | None = msgspec.field(name="raster:scale", default=None)
    raster_offset: float | None = msgspec.field(name="raster:offset", default=None)
    spatial_resolution: float | None = None

    @property
    def known(self) -> str | None:
        """Its name among ours."""
        said = (self.common_name, self.eo_common_name, self.name)
        return next((find_band(text) for text in said if find_band(text)), None)

    @property
    def line(self) -> tuple[float | None, float | None]:
        """Its scale and offset to reflectance."""
        return (
            self.scale if self.raster_scale is None else self.raster_scale,
            self.offset if self.raster_offset is None else self.raster_offset,
        )


_Href = Annotated[str, msgspec.Meta(min_length=1, max_length=8192)]


class _Asset(msgspec.Struct, frozen=True):
    """A file of the item."""

    href: _Href
    roles: list[str] = []
    gsd: float | None = None
    bands: list[_Band] = []
    eo_bands: list[_Band] = msgspec.field(name="eo:bands", default=[])
    raster_bands: list[_Band] = msgspec.field(name="raster:bands", default=[])
    raster_scale: float | None = msgspec.field(name="raster:scale", default=None)
    raster_offset: float | None = msgspec.field(name="raster:offset", default=None)


class _Item(msgspec.Struct, frozen=True):
    """What is read of an item."""

    id: str
    assets: dict[str, _Asset]
    properties: dict[str, Any] = {}
    collection: str | None = None


class _Candidate(msgspec.Struct, frozen=True):
    """A file that a band may be read from."""

    rank: tuple[float, ...]
    file: BandFile
    scale: float | None


def is_item(scene: str) -> bool:
    """Tell whether what the user typed is the place of a STAC item."""
    path = (urlsplit(scene).path if is_web(scene) else scene).lower()
    if path.endswith((".json", ".geojson")):
        return True
    return is_web(scene) and "/items/" in path and "." not in path.rpartition("/")[2]


def stac_product(place: str) -> Product:
    """Read the item at a path or address.

    Raises:
        SceneError: If it cannot be had, is no item, or has no usable assets.

    """
    name, said = shown(place), fetch(place, max_bytes=MAX_ITEM_BYTES)
    try:
        item = msgspec.json.decode(said, type=_Item)
    except (msgspec.DecodeError, RecursionError, UnicodeError) as error:
        raise SceneError(f"`{name}` is no STAC item: {error}", hint=_HINT) from error
    found: dict[str, list[_Candidate]] = {}
    for key, asset in item.assets.items():
        for band, candidate in _candidates(key, asset, place):
            found.setdefault(band, []).append(candidate)
    chosen = {band: min(several, key=_rank) for band, several in found.items()}
    scl = chosen.pop("SCL", None)
    if not chosen:
        raise SceneError(
            f"no asset of `{name}` is a band of Sentinel-2; it has "
            f"{', '.join(item.assets)[:200] or 'none'}",
            hint=_HINT,
        )
    tags = {
        key: str(value)
        for key, value in {
            "id": item.id,
            **item.properties,
            "collection": item.collection,
        }.items()
        if isinstance(value, (str, int, float))
    }
    offset, tags = _corrected(chosen, item.properties, tags)
    scales = {one.scale for one in chosen.values()} - {None, 0.0, 1.0}
    return Product(
        name=Path(item.id).name or name,
        bands={
            band: one.file
            if offset is None
            else BandFile(path=one.file.path, number=one.file.number)
            for band, one in chosen.items()
        },
        bands_evidence="named by the assets of the item",
        tags=tags,
        scl=scl.file if scl else None,
        offset=offset if offset and offset.evidence else None,
        quantification=_quantification(scales, name),
        files=(hashlib.sha256(said).hexdigest(),),
        drivers=PLAIN_DRIVERS,
        hint_missing="an asset needs the band's name as key, or as its common name",
    )


def _rank(candidate: _Candidate) -> tuple[float, ...]:
    return candidate.rank


def _quantification(scales: set[float | None], name: str) -> float | None:
    """Return the digital number of reflectance 1 by the bands' scale."""
    if len(scales) > 1:
        raise SceneError(
            f"the bands of `{name}` have different scales: "
            f"{', '.join(map(str, sorted(map(str, scales))))}",
            hint="give bands of one product",
        )
    scale = next(iter(scales), None)
    return round(1 / scale, 6) if scale else None


def _corrected(
    chosen: dict[str, _Candidate], properties: dict[str, Any], tags: dict[str, str]
) -> tuple[Offset | None, dict[str, str]]:
    """Tell Element 84's corrected pixels, whose other metadata are of the original.

    Where an item says that they are corrected, they are. Where it says that they are
    not, or nothing, some in their archive are all the same: then nothing is said of
    the offset, so that the pixels are asked.
    """
    hrefs = [one.file.path for one in chosen.values()]
    if any(shown(href).lower().endswith(".jp2") for href in hrefs):
        return None, tags  # originals, beside the corrected ones
    for key in _CORRECTED:
        if properties.get(key) is True:
            return Offset(0, f"{key}=true"), tags
    facts = product_facts("", tags)
    late = facts.baseline is None or facts.baseline >= FIRST_BASELINE
    if late and all(CORRECTED_BUCKET in href for href in hrefs):
        silent = {key: text for key, text in tags.items() if key not in _BASELINES}
        return Offset(0, ""), silent
    return None, tags


def _candidates(key: str, asset: _Asset, place: str) -> list[tuple[str, _Candidate]]:
    """Return the bands that may be read from an asset.

    A file at the band's native resolution is best, then one whose key is a name of
    the band, then one with fewer bands.
    """
    named = asset.bands or asset.eo_bands
    bands = [band.known for band in named]
    by_key = find_band(key)
    if key.upper().startswith("SCL"):
        bands, by_key = ["SCL"], "SCL"
    elif by_key is not None and len(bands) <= 1:
        bands = [by_key]
    if _PICTURES & set(asset.roles) or not any(bands):
        return []
    path = _resolve(asset.href, place, key)
    found = []
    for at, band in enumerate(bands):
        if band is None:
            continue
        lists = [one[at] for one in (named, asset.raster_bands) if at < len(one)]
        lines = [(asset.raster_scale, asset.raster_offset), *(b.line for b in lists)]
        scale = next((scale for scale, _ in lines if scale is not None), None)
        offset = next((offset for _, offset in lines if offset is not None), None)
        sides = [asset.gsd, *(b.spatial_resolution for b in lists), stated_side_m(key)]
        side = next((side for side in reversed(sides) if side), None)
        native = BANDS[band].native_px_m if band in BANDS else None
        away = native_first(band, [native if side is None else side])[0]
        offset_dn = (offset or 0.0) / (scale or 1.0)
        file = BandFile(path=path, number=at + 1, offset_dn=offset_dn)
        rank = (away, float(by_key != band), float(len(bands)))
        found.append((band, _Candidate(rank=rank, file=file, scale=scale)))
    return found


def _resolve(href: str, place: str, key: str) -> str:
    """Return where an asset is, seen from its item.

    Raises:
        SceneError: If an item from elsewhere names a file of this machine.

    """
    if "\0" in href:
        raise SceneError(f"asset {key} has an href that is no address", hint=_HINT)
    if is_remote(href) and not href.startswith("/vsi"):
        return href
    local = unquote(urlsplit(href).path) if href.lower().startswith("file:") else href
    if not is_web(place):
        return local if local.startswith("/") else str(Path(place).parent / local)
    try:
        joined = urljoin(place, href)
    except ValueError:
        joined = ""
    if href.startswith("/vsi") or not is_web(joined):
        raise SceneError(
            f"asset {key} of `{shown(place)}` leads to {href[:200]!r}, which is not "
            "on the web",
            hint="download the item, if you trust it, and name the file",
        )
    return joined
