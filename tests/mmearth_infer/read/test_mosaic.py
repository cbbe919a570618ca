"""Neighbouring scenes as one: the laws, and what is refused."""

from pathlib import Path

import numpy as np
import pytest
import rasterio
from affine import Affine
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from rasterio.crs import CRS

from mmearth_infer.contract.bands import L2A_BANDS
from mmearth_infer.errors import SceneError
from mmearth_infer.grid.geobox import GeoBox
from mmearth_infer.grid.window import Window
from mmearth_infer.read.masked import MaskedSource
from mmearth_infer.read.mosaic import MosaicSource
from mmearth_infer.read.options import SceneOptions
from mmearth_infer.read.source import open_source, open_sources
from mmearth_infer.seams import Scene, Source
from tests.helpers.data import MAJORTOM, needs_data
from tests.helpers.safe import small_bands, write_folder, write_safe
from tests.helpers.scenes import UTM, random_dn, write_scene

AUTO = SceneOptions()
WANTED = ("B2", "B5", "B1")


class Held(Source):
    """A scene held in memory, at a row and column of a common grid."""

    def __init__(
        self, dn_CHW: NDArray[np.uint16], row: int, col: int, *, scl: bool = True
    ) -> None:
        self.dn_CHW, self.row, self.col, self.scl = dn_CHW, row, col, scl
        height, width = dn_CHW.shape[1:]
        self.scene = Scene(
            name=f"{row},{col}",
            geobox=GeoBox(
                crs=CRS.from_epsg(32633),
                transform=UTM @ Affine.translation(col, row),
                height=height,
                width=width,
            ),
            bands=WANTED[: len(dn_CHW)],
            bands_evidence="e",
            level="l2a",
            level_evidence="e",
            offset_dn=0,
            offset_evidence="e",
        )

    @property
    def fingerprint(self) -> str:
        return f"{self.row},{self.col}"

    def read(self, window: Window) -> NDArray[np.uint16]:
        assert window.clipped(*self.dn_CHW.shape[1:]) == window
        return self.dn_CHW[(slice(None), *window.slices)]

    def classes(self, window: Window) -> NDArray[np.uint8] | None:
        """Return classes that name the scene: its first band modulo 12."""
        return (self.read(window)[0] % 12).astype(np.uint8) if self.scl else None


@st.composite
def parts(draw: st.DrawFn) -> list[Held]:
    """Draw up to four scenes with holes, some of which overlap."""
    place, size = st.integers(-9, 9), st.integers(1, 12)
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    found = []
    for _ in range(draw(st.integers(1, 4))):
        dn = rng.integers(0, 4, (2, draw(size), draw(size)), dtype=np.uint16)
        dn[:, rng.random(dn.shape[1:]) < 0.5] = 0
        found.append(Held(dn, draw(place), draw(place)))
    return found


def dense(held: list[Held]) -> tuple[np.ndarray, np.ndarray]:
    """Return pixels and classes by the law, painted from the last to the first."""
    top, left = min(p.row for p in held), min(p.col for p in held)
    bottom = max(p.row + p.dn_CHW.shape[1] for p in held)
    right = max(p.col + p.dn_CHW.shape[2] for p in held)
    dn = np.zeros((2, bottom - top, right - left), dtype=np.uint16)
    scl = np.zeros(dn.shape[1:], dtype=np.uint8)
    for part in reversed(held):
        _, height, width = part.dn_CHW.shape
        here = np.s_[
            part.row - top : part.row - top + height,
            part.col - left : part.col - left + width,
        ]
        holds = part.dn_CHW.max(0) > 0
        dn[(slice(None), *here)][:, holds] = part.dn_CHW[:, holds]
        scl[here][holds] = (part.dn_CHW[0] % 12)[holds]
    return dn, scl


@settings(deadline=None)
@given(parts(), st.data())
def test_a_pixel_is_that_of_the_first_scene_that_holds_it(
    held: list[Held], data: st.DataObject
) -> None:
    """In any window, in the order given; its class is of the same scene."""
    dn, scl = dense(held)
    mosaic = MosaicSource(held)
    _, height, width = dn.shape
    assert (mosaic.scene.geobox.height, mosaic.scene.geobox.width) == (height, width)
    for _ in range(3):
        row = data.draw(st.integers(0, height - 1))
        col = data.draw(st.integers(0, width - 1))
        window = Window(
            row=row,
            col=col,
            height=data.draw(st.integers(1, height - row)),
            width=data.draw(st.integers(1, width - col)),
        )
        ways = [mosaic.read, mosaic.classes]
        wholes = [dn, scl]
        for n in data.draw(st.permutations([0, 1])):
            expected = wholes[n][(..., *window.slices)]
            np.testing.assert_array_equal(ways[n](window), expected)


@settings(deadline=None)
@given(parts())
def test_order_matters_only_where_scenes_overlap(held: list[Held]) -> None:
    """The corner is the union's; the reverse order shows the other scene."""
    frame = GeoBox(
        crs=CRS.from_epsg(32633),
        transform=UTM
        @ Affine.translation(min(p.col for p in held), min(p.row for p in held)),
        height=dense(held)[0].shape[1],
        width=dense(held)[0].shape[2],
    )
    back = held[::-1]
    assert MosaicSource(held).scene.geobox == frame
    assert MosaicSource(back).scene.geobox == frame
    whole = Window(row=0, col=0, height=frame.height, width=frame.width)
    np.testing.assert_array_equal(MosaicSource(back).read(whole), dense(back)[0])


def test_what_is_masked_in_one_scene_is_filled_from_the_next() -> None:
    """A mask around each part makes a mosaic without clouds, where one is clear."""
    cloudy = np.full((2, 4, 4), 9, dtype=np.uint16)  # class 9, but for a corner
    cloudy[:, :2, :2] = 4
    clear = np.full((2, 4, 4), 5, dtype=np.uint16)
    parts = [MaskedSource(Held(dn, 0, 0), ["cloud"]) for dn in (cloudy, clear)]
    whole = Window(row=0, col=0, height=4, width=4)
    expected = np.full((4, 4), 5)
    expected[:2, :2] = 4
    mosaic = MosaicSource(parts)
    np.testing.assert_array_equal(mosaic.read(whole)[0], expected)
    np.testing.assert_array_equal(mosaic.classes(whole), expected)


def test_it_has_classes_only_if_all_scenes_have() -> None:
    dn = np.ones((2, 4, 4), dtype=np.uint16)
    mosaic = MosaicSource([Held(dn, 0, 0), Held(dn, 0, 9, scl=False)])
    assert mosaic.classes(Window(row=0, col=0, height=1, width=1)) is None


def test_products_with_and_without_the_offset_side_by_side(tmp_path: Path) -> None:
    """Each part removes its own; the mosaic is the same as without any offset."""
    west, east = small_bands(seed=1), small_bands(seed=2, east_px=48)
    plain = [
        write_folder(tmp_path / "w", west),
        write_folder(tmp_path / "e", east),
    ]
    late = write_safe(
        tmp_path,
        east,
        baseline="05.09",
        offset=-1000,
        change=lambda dn: np.where(dn == 0, 0, dn + 1000).astype(np.uint16),
    )
    found = []
    for second in (plain[1], late):
        with open_sources(
            [str(plain[0]), str(second)], options=AUTO, wanted=WANTED
        ) as mosaic:
            box = mosaic.scene.geobox
            assert (box.height, box.width) == (72, 120)
            window = Window(row=0, col=0, height=72, width=120)
            found.append(mosaic.read(window))
            said, fingerprint = mosaic.scene, mosaic.fingerprint
    np.testing.assert_array_equal(*found)
    assert said.name == f"w + {late.name}"
    assert said.offset_dn == -1000
    assert "w: 0: " in said.offset_evidence
    assert "-1000: BOA_ADD_OFFSET_B1=-1000" in said.offset_evidence
    with open_source(str(late), options=AUTO, wanted=WANTED) as part:
        assert part.fingerprint in fingerprint
        alone = part.read(Window(row=0, col=24, height=72, width=48))
    np.testing.assert_array_equal(found[0][:, :, 72:], alone)


@needs_data
def test_a_real_scene_cut_in_two_is_the_scene(tmp_path: Path) -> None:
    """Two overlapping parts, one of which has the offset, make the whole again."""
    with rasterio.open(MAJORTOM) as file:
        pixels, place = file.read(), {"crs": file.crs, "bands": file.descriptions}
        transform = file.transform
    options = SceneOptions(product="l2a")
    paths = []
    for name, col, more in (("west", 0, 0), ("east", 500, 1000)):
        part = pixels[:, :, col : col + 600] + np.uint16(more)
        paths.append(
            write_scene(
                tmp_path / f"{name}.tif",
                part,
                transform=transform @ Affine.translation(col, 0),
                tags={"BOA_ADD_OFFSET": str(-more)},
                **place,
            )
        )
    whole = Window(row=0, col=0, height=pixels.shape[1], width=pixels.shape[2])
    for order in (paths, paths[::-1]):
        with open_sources([str(p) for p in order], options=options, wanted=None) as m:
            assert m.scene.geobox.bounds == pytest.approx(
                (transform.c, transform.f - 10_680, transform.c + 10_680, transform.f)
            )
            np.testing.assert_array_equal(m.read(whole), pixels)


def test_one_scene_is_itself(tmp_path: Path) -> None:
    path = write_scene(tmp_path / "a.tif")
    with open_sources([str(path)], options=AUTO, wanted=None) as source:
        assert source.scene.name == "a.tif"
    with (
        pytest.raises(SceneError, match="no scene"),
        open_sources([], options=AUTO, wanted=None),
    ):
        pass


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"crs": "EPSG:32634"}, "different CRS: EPSG:32633 and EPSG:32634"),
        (
            {"transform": UTM @ Affine.translation(0.5, 0)},
            "not on one grid: their pixels lie 0.5 of a pixel apart",
        ),
        (
            {"transform": UTM @ Affine.scale(1.01)},
            "not on one grid",
        ),
        ({"tags": {"PRODUCT_TYPE": "S2MSI1C"}}, "different levels: l2a and l1c"),
        ({"bands": L2A_BANDS}, "have different bands"),
    ],
)
def test_scenes_that_make_no_mosaic(
    tmp_path: Path, changed: dict, message: str
) -> None:
    first = write_scene(tmp_path / "a.tif")
    second = write_scene(tmp_path / "b.tif", random_dn(seed=1), **changed)
    with (
        pytest.raises(SceneError, match=message) as error,
        open_sources([str(first), str(second)], options=AUTO, wanted=None),
    ):
        pass
    assert "`a.tif` and `b.tif`" in str(error.value)
    assert error.value.hint
