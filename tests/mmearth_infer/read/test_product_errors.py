"""Products that are missing something, cut off, or lie: an error in two lines."""

import shutil
import zipfile
from pathlib import Path

import numpy as np
import pytest
from affine import Affine

from mmearth_infer.errors import BandError, SceneError
from mmearth_infer.grid.window import Window
from mmearth_infer.read.options import SceneOptions
from mmearth_infer.read.source import open_source
from tests.helpers.safe import (
    small_bands,
    write_band,
    write_folder,
    write_safe,
    zip_safe,
)
from tests.helpers.scenes import write_scene

AUTO = SceneOptions()
WINDOW = Window(row=0, col=0, height=72, width=72)
XML = "MTD_MSIL2A.xml"


def refused(scene: object, options: SceneOptions = AUTO) -> tuple[str, str]:
    """Return message and hint of a scene that cannot be opened, or read."""
    with (
        pytest.raises(SceneError) as error,
        open_source(str(scene), options=options, wanted=["B2", "B5", "B1"]) as source,
    ):
        source.read(WINDOW)
    assert error.value.hint, error.value
    assert "\n" not in f"{error.value}{error.value.hint}"
    return str(error.value), error.value.hint


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_folder(tmp_path / "bands", small_bands())


@pytest.fixture
def safe(tmp_path: Path) -> Path:
    return write_safe(tmp_path, small_bands())


class TestFolder:
    """A folder of bands."""

    def test_without_rasters(self, tmp_path: Path) -> None:
        assert "holds no rasters" in refused(tmp_path)[0]

    def test_without_bands(self, tmp_path: Path) -> None:
        write_scene(tmp_path / "dem.tif")
        assert "named after a band: dem.tif" in refused(tmp_path)[0]

    def test_without_a_band_that_is_wanted(self, folder: Path) -> None:
        (folder / "B05.tif").unlink()
        message, hint = refused(folder)
        assert "`bands` lacks B5" in message
        assert "it has B1, B2, B3" in hint
        assert "--bands" not in hint

    def test_with_two_products(self, folder: Path) -> None:
        shutil.copy(folder / "B02.tif", folder / "later_B02.tif")
        message, hint = refused(folder)
        assert "several products: both B02.tif and later_B02.tif" in message
        assert "one product" in hint

    def test_with_names_for_its_bands(self, folder: Path) -> None:
        options = SceneOptions(bands=("B2",))
        assert "`bands` has a file for each" in refused(folder, options)[0]

    @pytest.mark.parametrize(
        ("crs", "factor", "shape", "message"),
        [
            ("EPSG:32634", 2, (36, 36), "`B05.tif` is in EPSG:32634"),
            ("EPSG:32633", 2.5, (29, 29), "a pixel of `B05.tif` is 2.5 of `B02.tif`"),
            ("EPSG:32633", 2, (36, 30), "`B05.tif` and `B02.tif` cover different"),
        ],
    )
    def test_with_a_band_from_elsewhere(
        self, folder: Path, crs: str, factor: float, shape: tuple, message: str
    ) -> None:
        pixels = np.ones(shape, dtype=np.uint16)
        place = small_bands()["B2"][1]["transform"] @ Affine.scale(factor)
        write_band(folder / "B05.tif", pixels, crs=crs, transform=place)
        assert message in refused(folder)[0]

    def test_with_a_file_that_is_no_raster(self, folder: Path) -> None:
        (folder / "B05.tif").write_text("nonsense")
        message, hint = refused(folder)
        assert "B05.tif` is not a raster that can be read" in message
        assert "cut off" in hint

    def test_with_classes_that_are_none(self, folder: Path) -> None:
        shutil.copy(folder / "B05.tif", folder / "SCL.tif")
        with open_source(str(folder), options=AUTO, wanted=None) as source:
            source.read(WINDOW)
            with pytest.raises(SceneError, match=r"`SCL.tif` holds uint16"):
                source.classes(WINDOW)


class TestSafe:
    """A product as it is delivered."""

    def test_a_band_that_is_gone(self, safe: Path) -> None:
        next(safe.rglob("*_B05_20m.jp2")).unlink()
        message, hint = refused(safe)
        assert "lacks B5" in message
        assert "some of its files may be gone" in hint

    def test_a_band_that_is_cut_off(self, safe: Path) -> None:
        """At any length: an error, never other pixels."""
        band = next(safe.rglob("*_B02_10m.jp2"))
        image = band.read_bytes()
        for share in (0.02, 0.3, 0.9):
            band.write_bytes(image[: int(share * len(image))])
            message, hint = refused(safe)
            assert "B02_10m.jp2" in message
            assert "cut off" in hint

    def test_without_metadata(self, safe: Path) -> None:
        (safe / XML).unlink()
        assert "holds no MTD_MSIL1C.xml or MTD_MSIL2A.xml" in refused(safe)[0]

    def test_with_metadata_that_are_cut_off(self, safe: Path) -> None:
        text = (safe / XML).read_text()
        (safe / XML).write_text(text[: len(text) // 2])
        message, hint = refused(safe)
        assert f"{XML} of `{safe.name}` is not XML that can be read" in message
        assert "cut off" in hint

    def test_with_several_products(self, safe: Path, tmp_path: Path) -> None:
        shutil.copytree(safe, tmp_path / "other.SAFE")
        assert "holds several products" in refused(tmp_path)[0]
        shutil.copy(safe / XML, safe / "MTD_MSIL1C.xml")
        assert "several products: MTD_MSIL1C.xml, MTD_MSIL2A.xml" in refused(safe)[0]

    @pytest.mark.parametrize(
        ("old", "new", "message"),
        [
            ("GRANULE/", "../../GRANULE/", "outside the product: '../../GRANULE/"),
            ("GRANULE/", "/etc/GRANULE/", "names a file outside the product"),
            ("GRANULE/", "/vsicurl/http://x/", "names a file outside the product"),
            ("GRANULE/", "C:\\", "names a file outside the product"),
            ("<IMAGE_FILE>", "<IMAGE>", "is not XML that can be read"),
            ("_File", "", ""),
            ("Level-2A</PRO", "Level-1C</PRO", "contradicts itself"),
            ("MSIL2A_2020", "MSIL1C_2020", "contradicts itself: "),
            (">10000<", ">1000<", "reflectance 1 is 1000"),
            (">10000<", ">many<", "states BOA_QUANTIFICATION_VALUE 'many'"),
            ("GRANULE/", "GONE/", "names no band that is in the product"),
        ],
    )
    def test_with_metadata_that_lie(
        self, safe: Path, old: str, new: str, message: str
    ) -> None:
        """In a folder and in a zip."""
        text = (safe / XML).read_text()
        (safe / XML).write_text(text.replace(old, new))
        if message:
            assert message in refused(safe)[0]
            assert message in refused(zip_safe(safe))[0]

    def test_with_a_link_out_of_the_product(self, safe: Path, tmp_path: Path) -> None:
        band = next(safe.rglob("*_B05_20m.jp2"))
        band.rename(tmp_path / "elsewhere.jp2")
        band.symlink_to(tmp_path / "elsewhere.jp2")
        assert "names a file outside the product" in refused(safe)[0]

    @pytest.mark.parametrize(
        ("offset", "message"),
        [
            ('<BOA_ADD_OFFSET band_id="3">-1000', "states an offset of -1000, 0"),
            ('<BOA_ADD_OFFSET band_id="99">0', "states an offset for band '99'"),
            ('<BOA_ADD_OFFSET band_id="3">lots', "an offset of 0, lots"),
        ],
    )
    def test_with_offsets_that_no_product_has(
        self, tmp_path: Path, offset: str, message: str
    ) -> None:
        safe = write_safe(tmp_path, small_bands(), offset=0)
        text = (safe / XML).read_text()
        old = '<BOA_ADD_OFFSET band_id="3">0'
        (safe / XML).write_text(text.replace(old, offset))
        assert message in refused(safe)[0]

    @pytest.mark.parametrize(
        "declaration",
        [
            '<!DOCTYPE r [<!ENTITY x SYSTEM "file:///etc/hostname">]>',
            '<!DOCTYPE r [<!ENTITY a "aaaa"><!ENTITY x "&a;&a;&a;&a;">]>',
        ],
    )
    def test_entities_are_refused(self, safe: Path, declaration: str) -> None:
        """External ones, and those that expand without end."""
        head, _, body = (safe / XML).read_text().partition("\n")
        body = body.replace("T48QUE_20200223T033731_B05", "&x;")
        (safe / XML).write_text(f"{head}\n{declaration}\n{body}")
        assert "DTDForbidden" in refused(safe)[0]

    def test_a_file_that_points_at_others_is_refused(self, safe: Path) -> None:
        """A VRT under the name of a band could name any file of the machine."""
        vrt = '<VRTDataset rasterXSize="1" rasterYSize="1"><VRTRasterBand '
        vrt += 'dataType="UInt16" band="1"/></VRTDataset>'
        next(safe.rglob("*_B05_20m.jp2")).write_text(vrt)
        assert "is a VRT file, which may point at others" in refused(safe)[0]


class TestZip:
    """An archive of a product."""

    def test_that_is_none(self, tmp_path: Path) -> None:
        path = tmp_path / "x.zip"
        path.write_bytes(b"PK\3\4 and nothing more")
        assert "is not an archive that can be read" in refused(path)[0]

    def test_without_a_product(self, tmp_path: Path) -> None:
        path = tmp_path / "x.zip"
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("a.txt", "")
        assert "holds no MTD_MSIL1C.xml" in refused(path)[0]

    def test_that_is_cut_off(self, safe: Path) -> None:
        path = zip_safe(safe)
        path.write_bytes(path.read_bytes()[:-1000])
        assert "is not an archive that can be read" in refused(path)[0]


def test_a_missing_band_is_a_band_error(folder: Path) -> None:
    """So that a caller can tell it from a scene that is broken."""
    (folder / "B05.tif").unlink()
    with (
        pytest.raises(BandError),
        open_source(str(folder), options=AUTO, wanted=["B5"]),
    ):
        pass
