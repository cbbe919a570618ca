"""Damaged products end in one of our errors or in pixels, whatever is damaged."""

import shutil
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mmearth_infer.errors import MMEarthError
from mmearth_infer.grid.window import Window
from mmearth_infer.read.options import SceneOptions
from mmearth_infer.read.source import open_source
from tests.helpers.safe import (
    small_bands,
    write_band,
    write_folder,
    write_item,
    write_safe,
    zip_safe,
)
from tests.helpers.scenes import random_dn, write_scene

AUTO = SceneOptions()
XML = "MTD_MSIL2A.xml"

fuzz = settings(
    max_examples=60,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)


@fuzz
@given(data=st.data())
def test_fuzzed_metadata_end_in_an_error_or_in_bands(
    fuzz_safe: Path, data: st.DataObject
) -> None:
    """Cut off, with bytes changed, or with its lines in another order."""
    original = (fuzz_safe.parent / "original.xml").read_bytes()
    (fuzz_safe / XML).write_bytes(mangled(original, data))
    try_to_read(fuzz_safe)


@pytest.mark.filterwarnings(  # rasterio cannot log what is no UTF-8
    "ignore::pytest.PytestUnraisableExceptionWarning"
)
@fuzz
@given(data=st.data())
def test_fuzzed_images_end_in_an_error_or_in_pixels(
    fuzz_folder: Path, data: st.DataObject
) -> None:
    suffix = data.draw(st.sampled_from(["jp2", "tif"]))
    for other in fuzz_folder.glob("B02.*"):
        other.unlink()
    original = (fuzz_folder.parent / f"B02.{suffix}").read_bytes()
    (fuzz_folder / f"B02.{suffix}").write_bytes(mangled(original, data))
    try_to_read(fuzz_folder)


@pytest.mark.filterwarnings(  # likewise
    "ignore::pytest.PytestUnraisableExceptionWarning"
)
@fuzz
@given(data=st.data())
def test_fuzzed_stacks_end_in_an_error_or_in_pixels(
    fuzz_stack: Path, data: st.DataObject
) -> None:
    scene = fuzz_stack.parent / "scene.tif"
    scene.write_bytes(mangled(fuzz_stack.read_bytes(), data))
    try_to_read(scene)


@fuzz
@given(data=st.data())
def test_fuzzed_archives_end_in_an_error_or_in_bands(
    fuzz_zip: Path, data: st.DataObject
) -> None:
    scene = fuzz_zip.parent / "scene.zip"
    scene.write_bytes(mangled(fuzz_zip.read_bytes(), data))
    try_to_read(scene)


@fuzz
@given(data=st.data())
def test_fuzzed_items_end_in_an_error_or_in_bands(
    fuzz_folder: Path, data: st.DataObject
) -> None:
    hrefs = {name: f"{fuzz_folder}/{name}.tif" for name in ("B05", "B01")}
    item = write_item(
        fuzz_folder.parent / "item.json",
        {"B5": hrefs["B05"], "B1": hrefs["B01"]},
        raster={"scale": 0.0001, "offset": 0},
    )
    item.write_bytes(mangled(item.read_bytes(), data))
    try_to_read(item)


def mangled(original: bytes, data: st.DataObject) -> bytes:
    """Return bytes cut off, with a few of them changed, or both."""
    damaged = bytearray(original)
    place = st.integers(0, len(original) - 1)
    for at, value in data.draw(st.lists(st.tuples(place, st.integers(0, 255)))):
        damaged[at] = value
    keep = data.draw(st.one_of(st.just(len(damaged)), place))
    return bytes(damaged[:keep])


def try_to_read(scene: Path) -> None:
    """Open and read; only our own errors may come out."""
    with (
        suppress(MMEarthError),
        open_source(str(scene), options=AUTO, wanted=None, threads=2) as source,
    ):
        box = source.scene.geobox
        height, width = min(box.height, 99), min(box.width, 99)
        source.read(Window(row=0, col=0, height=height, width=width))


@pytest.fixture(scope="module")
def fuzz_safe(tmp_path_factory: pytest.TempPathFactory) -> Path:
    safe = write_safe(tmp_path_factory.mktemp("fuzz"), small_bands(24), offset=0)
    shutil.copy(safe / XML, safe.parent / "original.xml")
    return safe


@pytest.fixture(scope="module")
def fuzz_zip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return zip_safe(write_safe(tmp_path_factory.mktemp("fuzz"), small_bands(24)))


@pytest.fixture(scope="module")
def fuzz_stack(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("fuzz") / "original.tif"
    profile = {"compress": "deflate", "tiled": True, "blockxsize": 16, "blockysize": 16}
    return write_scene(path, random_dn(height=24, width=24), **profile)


@pytest.fixture(scope="module")
def fuzz_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    parent = tmp_path_factory.mktemp("fuzz")
    bands = small_bands(24)
    pixels, place = bands.pop("B2")
    write_band(parent / "B02.tif", pixels, **place)
    write_band(parent / "B02.jp2", pixels, **place)
    return write_folder(parent / "bands", bands)
