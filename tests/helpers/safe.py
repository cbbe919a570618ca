"""Builds a .SAFE product, its zip and a STAC item from a folder of bands.

Names, folders and metadata are laid out as in ESA's own products; the pixels are
real JPEG 2000, lossless.
"""

from __future__ import annotations

import json
import zipfile
from typing import TYPE_CHECKING, Any

import numpy as np
import rasterio
from affine import Affine

from mmearth_infer.contract.bands import BANDS, L1C_BANDS

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

_METADATA = """<?xml version="1.0" encoding="UTF-8" standalone="no"?>
<n1:Level-{level}_User_Product xmlns:n1="https://psd-14.sentinel2.eo.esa.int/PSD/\
User_Product_Level-{level}.xsd">
  <n1:General_Info>
    <Product_Info>
      <PRODUCT_START_TIME>2020-02-23T03:37:31.024Z</PRODUCT_START_TIME>
      <PRODUCT_URI>{product}.SAFE</PRODUCT_URI>
      <PROCESSING_LEVEL>Level-{level}</PROCESSING_LEVEL>
      <PRODUCT_TYPE>S2MSI{level}</PRODUCT_TYPE>
      <PROCESSING_BASELINE>{baseline}</PROCESSING_BASELINE>
      <Product_Organisation>
        <Granule_List>
{granules}
        </Granule_List>
      </Product_Organisation>
    </Product_Info>
    <Product_Image_Characteristics>
      <Special_Values>
        <SPECIAL_VALUE_TEXT>NODATA</SPECIAL_VALUE_TEXT>
        <SPECIAL_VALUE_INDEX>0</SPECIAL_VALUE_INDEX>
      </Special_Values>
{quantification}
{offsets}
    </Product_Image_Characteristics>
  </n1:General_Info>
</n1:Level-{level}_User_Product>
"""


_QUANTIFICATION = {
    "1C": '<QUANTIFICATION_VALUE unit="none">10000</QUANTIFICATION_VALUE>',
    "2A": '<QUANTIFICATION_VALUES_LIST><BOA_QUANTIFICATION_VALUE unit="none">10000'
    "</BOA_QUANTIFICATION_VALUE></QUANTIFICATION_VALUES_LIST>",
}

BLOCK_PX = {10: 1024, 20: 640, 60: 192}
"""Sides of the blocks in ESA's files, by the pixel in metres."""


def padded(band: str) -> str:
    """Return the band's name in file names: `B02`, `B8A`."""
    return band if band == "B8A" else f"B{int(band[1:]):02d}"


def read_folder(folder: Path) -> dict[str, tuple[NDArray[np.uint16], dict[str, Any]]]:
    """Return pixels, CRS and transform of each band of a folder, by our names."""
    found = {}
    for band in BANDS:
        for name in (padded(band), band):
            path = folder / f"{name}.tif"
            if path.exists():
                with rasterio.open(path) as file:
                    place = {"crs": file.crs, "transform": file.transform}
                    found[band] = (file.read(1), place)
                break
    return found


def write_band(
    path: Path,
    pixels: NDArray[Any],
    *,
    crs: Any,  # noqa: ANN401
    transform: Affine,
    block_px: int = 1024,
) -> None:
    """Write one band, lossless JPEG 2000 or GeoTIFF by the file's suffix."""
    jpeg = {"driver": "JP2OpenJPEG", "QUALITY": "100", "REVERSIBLE": "YES"}
    jpeg |= {"BLOCKXSIZE": str(block_px), "BLOCKYSIZE": str(block_px)}
    kind = jpeg if path.suffix == ".jp2" else {"driver": "GTiff"}
    path.parent.mkdir(parents=True, exist_ok=True)
    with rasterio.open(
        path,
        "w",
        count=1,
        height=pixels.shape[0],
        width=pixels.shape[1],
        dtype=pixels.dtype,
        crs=crs,
        transform=transform,
        **kind,
    ) as file:
        file.write(pixels, 1)


def write_safe(
    parent: Path,
    bands: Mapping[str, tuple[NDArray[np.uint16], dict[str, Any]]],
    *,
    level: str = "2A",
    baseline: str = "02.14",
    offset: int | None = None,
    change: Callable[[NDArray[np.uint16]], NDArray[np.uint16]] = lambda dn: dn,
    scl: NDArray[np.uint8] | None = None,
) -> Path:
    """Write a product into a folder and return its .SAFE.

    Args:
        parent: Folder to write into.
        bands: Pixels and place of each band.
        level: `1C` or `2A`.
        baseline: Processing baseline.
        offset: Offset that the metadata state for every band; None for no list.
        change: What happens to the pixels.
        scl: Scene classes on the grid of B5.

    """
    product = (
        f"S2A_MSIL{level}_20200223T033731_N{baseline.replace('.', '')}"
        "_R061_T48QUE_20200223T073913"
    )
    granule = f"L{level}_T48QUE_A024397_20200223T034859"
    safe = parent / f"{product}.SAFE"
    images = []

    def image(name: str, side_m: int) -> str:
        stem = f"T48QUE_20200223T033731_{name}"
        data = f"GRANULE/{granule}/IMG_DATA"
        return (
            f"{data}/{stem}" if level == "1C" else f"{data}/R{side_m}m/{stem}_{side_m}m"
        )

    for band, (pixels, place) in bands.items():
        side_m = BANDS[band].native_px_m
        images.append(image(padded(band), side_m))
        block_px = BLOCK_PX[side_m]
        path = safe / f"{images[-1]}.jp2"
        write_band(path, change(pixels), **place, block_px=block_px)
    if level == "2A":
        # A coarser copy of B2, as products have it, which must not be taken.
        pixels, place = bands["B2"]
        images.append(image("B02", 60))
        coarse = place | {"transform": place["transform"] @ place["transform"].scale(6)}
        write_band(safe / f"{images[-1]}.jp2", change(pixels[::6, ::6]), **coarse)
    if scl is not None:
        images.append(image("SCL", 20))
        write_band(safe / f"{images[-1]}.jp2", scl, **bands["B5"][1])
    (safe / f"MTD_MSIL{level}.xml").write_text(
        _METADATA.format(
            level=level,
            product=product,
            baseline=baseline,
            granules=_granule("Granule", granule, "IMAGE_FILE", images),
            quantification=_QUANTIFICATION[level],
            offsets="" if offset is None else _offsets(level, offset),
        )
    )
    return safe


def write_old_safe(
    parent: Path,
    tiles: Mapping[str, Mapping[str, tuple[NDArray[np.uint16], dict[str, Any]]]],
) -> Path:
    """Write an L1C product of several tiles, as they were before December 2016.

    Args:
        parent: Folder to write into.
        tiles: Pixels and place of each band of each tile, by names such as `32TQM`.

    """
    taken = "PDMC_20160223T120000_R061_V20160223T033731_20160223T033731"
    safe = parent / f"S2A_OPER_PRD_MSIL1C_{taken}.SAFE"
    granules = []
    for tile, bands in tiles.items():
        stem = f"S2A_OPER_MSI_L1C_TL_EPA__20160223T110000_A003480_T{tile}"
        images = [f"{stem}_{padded(band)}" for band in bands]
        granule = f"{stem}_N02.01"
        folder = safe / "GRANULE" / granule / "IMG_DATA"
        for image, (pixels, place) in zip(images, bands.values(), strict=True):
            write_band(folder / f"{image}.jp2", pixels, **place)
        granules.append(_granule("Granules", granule, "IMAGE_ID", images))
    (safe / f"S2A_OPER_MTD_SAFL1C_{taken}.xml").write_text(
        _METADATA.format(
            level="1C",
            product=safe.stem,
            baseline="02.01",
            granules="\n".join(granules),
            quantification=_QUANTIFICATION["1C"],
            offsets="",
        )
    )
    return safe


def _granule(tag: str, granule: str, image_tag: str, images: Sequence[str]) -> str:
    """Return a granule and its images as metadata."""
    inside = "".join(f"<{image_tag}>{image}</{image_tag}>\n" for image in images)
    head = f'{tag} granuleIdentifier="{granule}" imageFormat="JPEG2000"'
    return f"<{head}>\n{inside}</{tag}>"


def _offsets(level: str, offset: int) -> str:
    """Return the list of offsets, a band each."""
    tag, around = (
        ("RADIO_ADD_OFFSET", "Radiometric_Offset_List")
        if level == "1C"
        else ("BOA_ADD_OFFSET", "BOA_ADD_OFFSET_VALUES_LIST")
    )
    items = "".join(
        f'<{tag} band_id="{n}">{offset}</{tag}>' for n in range(len(L1C_BANDS))
    )
    return f"<{around}>{items}</{around}>"


def zip_safe(safe: Path) -> Path:
    """Pack a product as the archives deliver it: its folder is the only root."""
    path = safe.parent / f"{safe.stem}.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for file in sorted(safe.rglob("*")):
            archive.write(file, file.relative_to(safe.parent))
    return path


def write_item(path: Path, hrefs: Mapping[str, str], **changes: Any) -> Path:  # noqa: ANN401
    """Write a STAC item whose assets are the bands, under their common names.

    Args:
        path: Where to.
        hrefs: Where each band is; `SCL` for scene classes.
        changes: What else the item says: `properties`, `id`, `raster` of each asset.

    """
    raster = changes.pop("raster", None)
    assets: dict[str, Any] = {}
    for band, href in hrefs.items():
        common = BANDS[band].common_name if band in BANDS else "scl"
        named = [{"name": band, "common_name": common}] if band in BANDS else []
        assets[common] = {"href": href, "roles": ["data"], "eo:bands": named}
        if raster and band in BANDS:
            assets[common]["raster:bands"] = [raster]
    item = {
        "type": "Feature",
        "stac_version": "1.0.0",
        "id": "S2A_48QUE_20200223_0_L2A",
        "collection": "sentinel-2-l2a",
        "geometry": None,
        "properties": {"datetime": "2020-02-23T03:48:59Z"},
        "links": [],
        "assets": assets,
    }
    path.write_text(json.dumps(item | changes))
    return path


def small_bands(
    side: int = 72, *, level: str = "2A", seed: int = 0, east_px: int = 0
) -> dict[str, tuple[NDArray[np.uint16], dict[str, Any]]]:
    """Return random bands at their native sizes, with some nodata in the corner."""
    rng = np.random.default_rng(seed)
    corner = Affine(10, 0, 600_000 + 10 * east_px, 0, -10, 5_300_000)
    bands = {}
    for name, band in BANDS.items():
        factor = band.native_px_m // 10
        pixels = rng.integers(1, 6000, (side // factor,) * 2, dtype=np.uint16)
        pixels[: 12 // factor, : 24 // factor] = 0
        place = {"crs": "EPSG:32633", "transform": corner @ Affine.scale(factor)}
        if name != "B10" or level == "1C":
            bands[name] = (pixels, place)
    return bands


def write_folder(
    folder: Path,
    bands: Mapping[str, tuple[NDArray[Any], dict[str, Any]]],
    *,
    suffix: str = ".tif",
) -> Path:
    """Write a folder with a file for every band."""
    for band, (pixels, place) in bands.items():
        write_band(folder / f"{padded(band)}{suffix}", pixels, **place)
    return folder
