"""Products of several granules: one is chosen, and is what it would be alone."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from mmearth_infer.contract.bands import L1C_BANDS
from mmearth_infer.errors import SceneError
from mmearth_infer.grid.window import Window
from mmearth_infer.read.options import SceneOptions
from mmearth_infer.read.source import open_source
from mmearth_infer.seams import Scene
from tests.conftest import Ran
from tests.helpers.safe import small_bands, write_old_safe, write_safe, zip_safe
from tests.helpers.scenes import write_scene


def read_all(scene: Path, tile: str | None = None) -> tuple[np.ndarray, Scene]:
    with open_source(
        str(scene), options=SceneOptions(granule=tile), wanted=L1C_BANDS
    ) as source:
        box = source.scene.geobox
        whole = Window(row=0, col=0, height=box.height, width=box.width)
        return source.read(whole), source.scene


@pytest.fixture
def safe(tmp_path: Path) -> Path:
    """Two tiles, side by side, of other pixels."""
    west = small_bands(level="1C")
    east = small_bands(level="1C", seed=1, east_px=72)
    return write_old_safe(tmp_path, {"32TQM": west, "33TUG": east})


@pytest.mark.parametrize(
    ("tile", "seed", "east_px"), [("T32TQM", 0, 0), ("33tug", 1, 72)]
)
def test_a_tile_is_what_it_is_in_a_product_of_its_own(
    tile: str, seed: int, east_px: int, safe: Path, tmp_path: Path
) -> None:
    """From the folder, the archive, and the metadata file."""
    bands = small_bands(level="1C", seed=seed, east_px=east_px)
    expected, alone = read_all(write_safe(tmp_path / "alone", bands, level="1C"))
    metadata = next(safe.glob("*.xml"))
    for scene in (safe, zip_safe(safe), metadata):
        dn, said = read_all(scene, tile)
        np.testing.assert_array_equal(dn, expected)
        assert said.geobox == alone.geobox
        assert said.level == "l1c"
        assert said.name.endswith(f".SAFE T{tile.upper().removeprefix('T')}")
        assert str(said.acquired) == "2020-02-23T03:37:31.024Z"


def test_without_a_choice_the_tiles_are_listed(safe: Path) -> None:
    for tile, message, hint in (
        (None, "holds 2 granules: T32TQM, T33TUG", "--granule"),
        ("T32TQN", "holds no granule `T32TQN`", "it holds T32TQM, T33TUG"),
    ):
        with pytest.raises(SceneError, match=message) as caught:
            read_all(safe, tile)
        assert hint in str(caught.value.hint)


def test_a_product_of_one_tile_needs_no_choice(tmp_path: Path) -> None:
    bands = small_bands(level="1C")
    old = write_old_safe(tmp_path, {"32TQM": bands})
    new = write_safe(tmp_path, bands, level="1C")
    plain, said = read_all(old)
    np.testing.assert_array_equal(plain, read_all(new)[0])
    np.testing.assert_array_equal(plain, read_all(new, "T48QUE")[0])
    assert " " not in said.name


def test_what_is_no_product_has_no_tiles(tmp_path: Path) -> None:
    item = tmp_path / "item.json"
    for scene in (write_scene(tmp_path / "s.tif"), tmp_path, item, Path("demo")):
        with pytest.raises(SceneError, match="--granule T32TQM chooses one of"):
            read_all(scene, "T32TQM")


def test_a_granule_that_leads_out_of_the_product(safe: Path) -> None:
    metadata = next(safe.glob("*.xml"))
    text = metadata.read_text()
    metadata.write_text(text.replace('Identifier="S2A', 'Identifier="../../S2A'))
    with pytest.raises(SceneError, match="names a file outside the product"):
        read_all(safe, "T32TQM")


def test_from_the_command_line(safe: Path, mmearth: Callable[..., Ran]) -> None:
    refused = mmearth("info", safe)
    assert refused.code == 1
    assert "hint: choose one with --granule" in refused.stderr
    told = mmearth("info", safe, "--granule", "T33TUG", "--json")
    assert told.code == 0, told.stderr
    assert told.report["name"].endswith(" T33TUG")
