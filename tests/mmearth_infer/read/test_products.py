"""Products with a file a band: one scene, however it is delivered."""

from pathlib import Path

import numpy as np
import pytest
import rasterio
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mmearth_infer.contract.bands import BANDS, L1C_BANDS, L2A_BANDS, MMEARTH_BANDS
from mmearth_infer.grid.window import Window
from mmearth_infer.read.bandfiles import threads_each
from mmearth_infer.read.options import SceneOptions
from mmearth_infer.read.source import open_source
from mmearth_infer.seams import Scene
from tests.helpers.data import DATA, MAJORTOM, needs_data
from tests.helpers.safe import (
    padded,
    read_folder,
    small_bands,
    write_folder,
    write_item,
    write_safe,
    zip_safe,
)

FOLDER = DATA / "majortom_199U_1099R"
AUTO = SceneOptions()


def read_all(
    scene: object, options: SceneOptions = AUTO, *, threads: int = 1
) -> tuple[np.ndarray, Scene]:
    """Return every pixel of the model's bands, and what was decided."""
    with open_source(
        str(scene), options=options, wanted=MMEARTH_BANDS, threads=threads
    ) as source:
        return source.read(everything(source.scene)), source.scene


def everything(scene: Scene) -> Window:
    return Window(row=0, col=0, height=scene.geobox.height, width=scene.geobox.width)


def item_of(folder: Path, path: Path, **changes: object) -> Path:
    """Write an item that points at the bands of a folder."""
    hrefs = {name: f"{folder}/{padded(name)}.tif" for name in L2A_BANDS}
    return write_item(path, hrefs, **changes)


@needs_data
def test_a_real_scene_is_the_same_however_it_is_delivered(tmp_path: Path) -> None:
    """Folder, .SAFE, zip, STAC item, and the .SAFE with +1000: one array."""
    bands = read_folder(FOLDER)
    safe = write_safe(tmp_path, bands)
    late = tmp_path / "late"
    late.mkdir()
    raised = write_safe(
        late, bands, baseline="05.09", offset=-1000, change=lambda dn: dn + 1000
    )
    folder_dn, folder = read_all(FOLDER)
    assert (folder.level, folder.offset_dn) == ("l2a", 0)
    scenes = [safe, zip_safe(safe), item_of(FOLDER, tmp_path / "item.json"), raised]
    for scene in scenes:
        dn, said = read_all(scene, threads=2)
        np.testing.assert_array_equal(dn, folder_dn, strict=True)
        assert said.geobox == folder.geobox
        assert said.level == "l2a"
    assert said.offset_dn == -1000
    assert said.offset_evidence == "BOA_ADD_OFFSET_B1=-1000"


@needs_data
def test_a_stack_that_others_made_of_it_differs_where_pixels_are_repeated() -> None:
    """Equal at 10 m; at 20 and 60 m the stack repeats each pixel 2 or 6 times.

    Our bilinear pixels lie between the native ones around them, and their mean over
    a scene is that of the stack to a per mille.
    """
    dn, _ = read_all(FOLDER)
    stack, _ = read_all(MAJORTOM)
    for band, ours, theirs in zip(MMEARTH_BANDS, dn, stack, strict=True):
        factor = BANDS[band].native_px_m // 10
        if factor == 1:
            np.testing.assert_array_equal(ours, theirs)
            continue
        native = theirs[::factor, ::factor]
        repeated = native.repeat(factor, 0).repeat(factor, 1)
        np.testing.assert_array_equal(theirs, repeated)
        around = np.pad(native, 1, mode="edge")
        views = np.lib.stride_tricks.sliding_window_view(around, (3, 3))
        low = views.min((2, 3)).repeat(factor, 0).repeat(factor, 1)
        high = views.max((2, 3)).repeat(factor, 0).repeat(factor, 1)
        assert ((ours >= low) & (ours <= high)).all()
        assert ours.mean() == pytest.approx(theirs.mean(), rel=1e-3)


@needs_data
@pytest.mark.parametrize(
    ("folder", "level", "bands"), [("s2a", "l2a", L2A_BANDS), ("s2c", "l1c", L1C_BANDS)]
)
def test_levels_of_one_real_place_are_told_apart(
    folder: str, level: str, bands: tuple[str, ...]
) -> None:
    """Their 20 and 60 m grids begin half a pixel of 10 m, or 2.5, further west."""
    scenes = sorted((DATA / "ssl4eo" / folder / "0000200").iterdir())
    assert len(scenes) == 2
    for scene in scenes:
        with open_source(str(scene), options=AUTO, wanted=None) as source:
            assert source.scene.level == level
            assert source.scene.bands == bands
            assert source.scene.offset_dn == 0
            dn = source.read(everything(source.scene))
        assert (dn[:, :-3, :-3] > 0).all()


@pytest.mark.parametrize("level", ["2A", "1C"])
def test_levels_and_offsets_of_products(level: str, tmp_path: Path) -> None:
    """Both levels name their offsets, in lists of their own."""
    bands = small_bands(level=level)
    expected, _ = read_all(
        write_folder(tmp_path / "f", bands), SceneOptions(offset="none")
    )
    safe = write_safe(
        tmp_path,
        bands,
        level=level,
        baseline="05.09",
        offset=-1000,
        change=lambda dn: np.where(dn == 0, 0, dn + 1000).astype(np.uint16),
    )
    for scene in (safe, zip_safe(safe), safe / f"MTD_MSIL{level}.xml", safe.parent):
        if scene == safe.parent and level == "2A":
            (tmp_path / "f").rename(tmp_path / "elsewhere")  # other files do not matter
        dn, said = read_all(scene)
        np.testing.assert_array_equal(dn, expected)
        assert said.level == f"l{level.lower()}"
        assert said.offset_dn == -1000
        assert said.name == safe.name


def test_the_baseline_tells_where_no_offset_is_listed(tmp_path: Path) -> None:
    safe = write_safe(tmp_path, small_bands(), baseline="04.00")
    _, said = read_all(safe)
    assert said.offset_dn == -1000
    assert "N0400" in said.offset_evidence


@settings(
    max_examples=25,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(data=st.data())
def test_read_is_the_same_through_any_window(
    small_product: Path, data: st.DataObject
) -> None:
    """`read(window) == read(whole)[window]`, and so for `classes`."""
    with open_source(
        str(small_product), options=AUTO, wanted=MMEARTH_BANDS, threads=2
    ) as source:
        frame = everything(source.scene)
        dn, scl = source.read(frame), source.classes(frame)
        assert scl is not None
        row, col = data.draw(st.integers(0, 71)), data.draw(st.integers(0, 71))
        window = Window(
            row=row,
            col=col,
            height=data.draw(st.integers(1, 72 - row)),
            width=data.draw(st.integers(1, 72 - col)),
        )
        part, classes = source.read(window), source.classes(window)
    np.testing.assert_array_equal(part, dn[(slice(None), *window.slices)])
    np.testing.assert_array_equal(classes, scl[window.slices])


@pytest.fixture(scope="module")
def small_product(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a product with scene classes."""
    scl = np.random.default_rng(1).integers(0, 12, (36, 36), dtype=np.uint8)
    return write_safe(tmp_path_factory.mktemp("safe"), small_bands(), scl=scl)


def test_nodata_of_a_band_stays_with_its_pixels(small_product: Path) -> None:
    """The corner is nodata in all bands, and nothing else is."""
    dn, _ = read_all(small_product)
    blank = np.zeros((72, 72), dtype=bool)
    blank[:12, :24] = True
    for band_HW in dn:
        np.testing.assert_array_equal(band_HW == 0, blank)


def test_classes_are_repeated(small_product: Path, tmp_path: Path) -> None:
    """SCL of 20 m gives each of its pixels four times; a scene without has None."""
    scl = np.random.default_rng(1).integers(0, 12, (36, 36), dtype=np.uint8)
    window = Window(row=0, col=0, height=72, width=72)
    with open_source(str(small_product), options=AUTO, wanted=["B2"]) as source:
        classes = source.classes(window)
    np.testing.assert_array_equal(classes, scl.repeat(2, 0).repeat(2, 1), strict=True)
    folder = write_folder(tmp_path / "f", small_bands())
    with open_source(str(folder), options=AUTO, wanted=["B2"]) as source:
        assert source.classes(window) is None
    with rasterio.open(
        folder / "SCL.tif",
        "w",
        driver="GTiff",
        dtype="uint8",
        height=36,
        width=36,
        count=1,
        crs="EPSG:32633",
        transform=small_bands()["B5"][1]["transform"],
    ) as file:
        file.write(scl, 1)
    with open_source(str(folder), options=AUTO, wanted=["B2"]) as source:
        np.testing.assert_array_equal(source.classes(window), classes)


def test_a_folder_of_jpeg_2000_under_product_names(tmp_path: Path) -> None:
    """File names tell level and baseline; of several resolutions the native counts."""
    bands = small_bands()
    expected, _ = read_all(write_folder(tmp_path / "f", bands))
    folder = write_folder(tmp_path / "jp2", bands, suffix="_10m.jp2")
    stem = "S2A_MSIL2A_20200223T033731_N0214_R061_T48QUE_20200223T073913"
    for file in list(folder.iterdir()):
        band = file.name.split("_")[0].removeprefix("B0").removeprefix("B")
        side = BANDS[f"B{band}"].native_px_m
        file.rename(folder / f"{stem}_{file.name.split('_')[0]}_{side}m.jp2")
    (folder / f"{stem}_B02_20m.jp2").write_bytes(b"not read")
    (folder / f"{stem}_TCI_10m.jp2").write_bytes(b"not read")
    dn, said = read_all(folder)
    np.testing.assert_array_equal(dn, expected)
    assert said.level_evidence.startswith("S2A_MSIL2A_20200223T033731_N0214_R061 in")
    assert said.offset_evidence == said.level_evidence


def test_the_place_does_not_depend_on_the_bands_that_are_wanted(
    tmp_path: Path,
) -> None:
    """A model of 20 m bands alone still sees the 10 m grid."""
    folder = write_folder(tmp_path / "f", small_bands())
    with open_source(str(folder), options=AUTO, wanted=["B5", "B1"]) as source:
        assert source.scene.geobox.width == 72
        assert source.scene.bands == ("B5", "B1")
        dn = source.read(everything(source.scene))
    expected, _ = read_all(folder)
    picked = [MMEARTH_BANDS.index(name) for name in ("B5", "B1")]
    np.testing.assert_array_equal(dn, expected[picked])


def test_the_fingerprint_tells_a_changed_product(tmp_path: Path) -> None:
    """Of metadata or pixels; moving a product as a whole does not change it."""
    safe = write_safe(tmp_path, small_bands())

    def fingerprint(scene: Path) -> str:
        with open_source(str(scene), options=AUTO, wanted=["B2", "B5"]) as source:
            return source.fingerprint

    before = fingerprint(safe)
    moved = safe.rename(tmp_path / "moved.SAFE")
    assert fingerprint(moved) == before
    xml = moved / "MTD_MSIL2A.xml"
    xml.write_text(xml.read_text() + "\n")
    after = fingerprint(moved)
    assert after != before
    packed = zip_safe(moved)
    first = fingerprint(packed)
    packed.write_bytes(packed.read_bytes() + b"\0" * 8)
    assert fingerprint(packed) != first


def test_reflectance_in_a_folder_needs_a_scale(tmp_path: Path) -> None:
    bands = {
        name: (np.float32(pixels / 10_000), place)
        for name, (pixels, place) in small_bands().items()
    }
    folder = write_folder(tmp_path / "f", bands)
    dn, _ = read_all(folder, SceneOptions(scale=10_000))
    expected, _ = read_all(write_folder(tmp_path / "dn", small_bands()))
    np.testing.assert_array_equal(dn, expected)


@given(
    pixels=st.lists(st.integers(1, 10**8), min_size=1, max_size=13),
    threads=st.integers(1, 64),
)
def test_threads_are_shared_out_by_pixels(pixels: list[int], threads: int) -> None:
    """Every band has one, none has more than all; all together have enough."""
    each = threads_each(pixels, threads)
    assert min(each) >= 1
    assert max(each) <= threads
    assert threads <= sum(each) < threads + len(pixels)
    assert sorted(each) == [n for _, n in sorted(zip(pixels, each, strict=True))]


def test_threads_of_a_product() -> None:
    """10 m bands get more, where there are more threads than bands."""
    pixels = [(60 // band.native_px_m) ** 2 for band in BANDS.values()]
    assert set(threads_each(pixels, 2)) == {1}
    sixteen = dict(zip(BANDS, threads_each(pixels, 16), strict=True))
    assert (sixteen["B2"], sixteen["B5"], sixteen["B1"]) == (3, 1, 1)
