"""Laws of masks: classes that are left out are nodata, everything else is as it was."""

from dataclasses import replace

import numpy as np
import pytest
from affine import Affine
from hypothesis import given
from hypothesis import strategies as st
from rasterio.crs import CRS

from mmearth_infer.errors import SceneError
from mmearth_infer.grid.geobox import GeoBox
from mmearth_infer.grid.window import Window
from mmearth_infer.read.demo import DemoSource
from mmearth_infer.read.masked import MASKS, MaskedSource, parse_masks
from mmearth_infer.read.options import SceneOptions
from mmearth_infer.read.wrap import wrapped
from mmearth_infer.seams import Scene, Source

WHOLE = Window(row=0, col=0, height=30, width=20)


class ClassedSource(Source):
    """A scene in memory with scene classes."""

    def __init__(self, seed: int = 0) -> None:
        rng = np.random.default_rng(seed)
        self.dn = rng.integers(0, 9, (2, 30, 20), dtype=np.uint16)
        self.scl = rng.integers(0, 12, (30, 20), dtype=np.uint8)
        self.scene = Scene(
            name="classed",
            geobox=GeoBox(
                crs=CRS.from_epsg(32633),
                transform=Affine(10, 0, 500_000, 0, -10, 5_300_000),
                height=30,
                width=20,
            ),
            bands=("B2", "B3"),
            bands_evidence="",
            level="l2a",
            level_evidence="",
            offset_dn=0,
            offset_evidence="",
        )

    @property
    def fingerprint(self) -> str:
        return "classed"

    def read(self, window: Window) -> np.ndarray:
        return self.dn[(slice(None), *window.slices)]

    def classes(self, window: Window) -> np.ndarray:
        return self.scl[window.slices]


@given(
    names=st.lists(st.sampled_from(sorted(MASKS)), min_size=1),
    seed=st.integers(0, 99),
    row=st.integers(0, 29),
    col=st.integers(0, 19),
)
def test_masked_pixels_are_zero_and_no_others_change(
    names: list[str], seed: int, row: int, col: int
) -> None:
    """`MaskedSource(s, names).read(w)` is 0 where the class is named or 0, else
    `s.read(w)`; the scene's own pixels stay as they are.
    """
    source = ClassedSource(seed)
    before = source.dn.copy()
    masked = MaskedSource(source, names)
    window = Window(row=row, col=col, height=30 - row, width=20 - col)
    numbers = {0} | {n for name in names for n in MASKS[name]}
    out = np.isin(source.scl, list(numbers))
    expected = np.where(out, 0, before)[:, row:, col:]
    np.testing.assert_array_equal(masked.read(window), expected)
    np.testing.assert_array_equal(source.dn, before)
    np.testing.assert_array_equal(masked.classes(window), source.classes(window))
    assert masked.wanted(window) is None


@pytest.mark.parametrize(
    ("text", "numbers"),
    [
        ("cloud", {0, 8, 9, 10}),
        ("cloud,shadow,snow", {0, 3, 8, 9, 10, 11}),
        (" Cirrus, defective ", {0, 1, 10}),
        ("nodata", {0}),
        ("water,dark", {0, 2, 6}),
    ],
)
def test_names_stand_for_classes(text: str, numbers: set[int]) -> None:
    source = ClassedSource()
    masked = MaskedSource(source, parse_masks(text))
    kept = masked.read(WHOLE).any(axis=0)
    assert not set(source.scl[kept].tolist()) & numbers
    assert set(source.scl[kept].tolist()) == set(range(12)) - numbers


def test_the_fingerprint_tells_masks_apart() -> None:
    """By the classes, whatever the order and the names."""

    def fingerprint(*names: str) -> str:
        return MaskedSource(ClassedSource(), names).fingerprint

    assert fingerprint("cloud") != fingerprint("shadow")
    assert fingerprint("cloud", "shadow") == fingerprint("shadow", "cloud", "cloud")
    assert fingerprint("cloud", "cirrus") == fingerprint("cloud")
    assert fingerprint("cloud") != ClassedSource().fingerprint


def test_the_scene_says_what_is_left_out() -> None:
    scene = MaskedSource(ClassedSource(), ["cloud", "shadow"]).scene
    assert scene.notes == (
        "pixels of SCL classes 0, 3, 8, 9, 10 count as nodata, for --mask cloud,shadow",
    )
    assert replace(scene, notes=()) == ClassedSource().scene


def test_what_cannot_be_masked_is_refused_at_once() -> None:
    with pytest.raises(SceneError, match="--mask does not know `fog`") as caught:
        parse_masks("cloud,fog")
    assert caught.value.hint is not None
    assert "cloud, cirrus, snow" in caught.value.hint
    with pytest.raises(SceneError, match="does not know `fog`"):
        SceneOptions(mask=("fog",))
    with pytest.raises(SceneError, match="does not know ``"):
        parse_masks("")
    with pytest.raises(SceneError, match=r"`demo` has no scene classes \(SCL\)") as no:
        wrapped(DemoSource(), SceneOptions(mask=("cloud", "shadow")))
    assert "--mask cloud,shadow" in str(no.value)
    assert "SAFE" in str(no.value.hint)
