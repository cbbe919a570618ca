"""The packed form gives, bit for bit, what the published file gives."""

import json
import shutil
from collections.abc import Callable
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import pytest
import zarr
from hypothesis import given, settings
from hypothesis import strategies as st

from mmearth_infer.errors import DataError, StoreError
from mmearth_training.data import pack as pack_module
from mmearth_training.data.folder import check_folder, open_folder
from mmearth_training.data.mmearth import H5Tiles
from mmearth_training.data.pack import pack
from mmearth_training.data.packed import PackedTiles
from mmearth_training.modalities import MODALITIES
from tests.conftest import Ran
from tests.helpers.mmearth_data import write_dataset

ALL = tuple(MODALITIES)
TILES = 9


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A data set as published, and packed in shards of four tiles."""
    root = tmp_path_factory.mktemp("data")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pack_module, "SHARD_TILES", 4)
        published = write_dataset(root / "tiny", tiles=TILES, tile_px=64)
        pack(open_folder(published), root / "packed")
    return published / "tiny.h5", root / "packed" / "tiny.zarr"


@given(
    rows=st.lists(st.integers(0, TILES - 1), max_size=7),
    names=st.lists(st.sampled_from(ALL), max_size=5, unique=True),
)
@settings(max_examples=30, deadline=None)
def test_packed_equals_published(
    both: tuple[Path, Path], rows: list[int], names: list[str]
) -> None:
    """`PackedTiles.read == H5Tiles.read`, dtype and NaN included."""
    published, packed = H5Tiles(both[0]), PackedTiles(both[1])
    expected, found = published.read(rows, names), packed.read(rows, names)
    assert list(found) == list(expected) == names
    for name in names:
        assert found[name].dtype == expected[name].dtype
        assert found[name].shape == expected[name].shape
        assert found[name].tobytes() == expected[name].tobytes()
    assert packed.levels(rows) == published.levels(rows)
    assert [packed.tile_id(r) for r in rows] == [published.tile_id(r) for r in rows]
    published.close()
    packed.close()


@pytest.mark.parametrize("tile_px", [64, 128])
def test_a_packed_data_set_is_a_data_set(tmp_path: Path, tile_px: int) -> None:
    provenance = {"synthetic": {"era5": "made up"}}
    published = open_folder(
        write_dataset(
            tmp_path / "tiny", tiles=5, tile_px=tile_px, provenance=provenance
        )
    )
    done = pack(published, tmp_path / "packed")
    packed = open_folder(tmp_path / "packed")
    assert (done.tiles, done.modalities) == (5, ALL)
    assert done.published_bytes == published.tiles_path.stat().st_size
    assert (packed.packed, packed.name) == (True, "tiny")
    assert packed.splits == published.splits
    assert packed.statistics == published.statistics
    assert packed.synthetic == ("era5",)
    assert packed.digest != published.digest
    assert check_folder(packed, ALL) == tile_px


def test_zarr_reads_it_too(both: tuple[Path, Path]) -> None:
    """The format is Zarr's, whoever reads it."""
    tiles = PackedTiles(both[1])
    group = zarr.open_group(both[1], mode="r")
    stored = group["sentinel2"]
    assert isinstance(stored, zarr.Array)
    np.testing.assert_array_equal(
        stored[:], tiles.read(range(TILES), ["sentinel2"])["sentinel2"]
    )
    assert stored.chunks == (1, 13, 64, 64)
    tiles.close()


def test_a_missing_modality(tmp_path: Path) -> None:
    """Is left out of the packed form, and named when it is asked for."""
    for name in ("aster", "era5"):
        path = write_dataset(
            tmp_path / name / "tiny", tiles=3, tile_px=64, leave_out=[name]
        )
        pack(open_folder(path), tmp_path / name / "packed")
        with pytest.raises(DataError, match=f"`tiny.zarr` has no `{name}`"):
            check_folder(open_folder(tmp_path / name / "packed"), ALL)


def copied(both: tuple[Path, Path], folder: Path) -> Path:
    return Path(shutil.copytree(both[1], folder / "tiny.zarr"))


def shard(store: Path, name: str, number: int) -> Path:
    """The file that holds tiles `4 number` to `4 number + 3` of an array."""
    folder = store / name / "c" / str(number)
    return next(path for path in (folder, *folder.rglob("*")) if path.is_file())


def test_a_flipped_bit_is_named(both: tuple[Path, Path], tmp_path: Path) -> None:
    store = copied(both, tmp_path)
    file = shard(store, "sentinel2", 1)
    content = bytearray(file.read_bytes())
    content[len(content) // 8] ^= 1  # in the first of four tiles
    file.write_bytes(content)
    tiles = PackedTiles(store)
    with pytest.raises(DataError, match="`sentinel2` of tile 4 in") as caught:
        tiles.read([0, 6, 4, 5], ["sentinel2"])
    assert "damaged" in (caught.value.hint or "")
    assert tiles.read([5], ["sentinel2"])["sentinel2"].any()
    tiles.close()


def test_a_lost_or_cut_off_file_is_named(
    both: tuple[Path, Path], tmp_path: Path
) -> None:
    """And is never read as zeros."""
    store = copied(both, tmp_path)
    for name, row in (("aster", 8), ("facts", 0)):
        file = shard(store, name, row // 4)
        asked = "aster" if name == "aster" else "lat"
        content = file.read_bytes()
        for spoil in (lambda f=file, c=content: f.write_bytes(c[:-30]), file.unlink):
            spoil()
            tiles = PackedTiles(store)
            with pytest.raises(DataError, match=f"`{name}` of tile {row} in"):
                tiles.read([row], [asked])
            tiles.close()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"version": 2}, "is packed in version 2, not 1"),
        ({"tiles": -1}, "contradicts itself"),
        ({"tile_px": 96}, "contradicts itself"),
        ({"facts": [["lat", "O", [2]]]}, "contradicts itself"),
        ({"facts": [["lat", "<f4", [2]]]}, "contradicts itself"),
        ({"facts": 3}, "contradicts itself"),
        ({"tiles": 5}, r"`sentinel2` in `tiny.zarr` has the shape \(9, 13, 64, 64\)"),
    ],
)
def test_a_store_that_says_what_cannot_be(
    both: tuple[Path, Path], tmp_path: Path, change: dict[str, object], message: str
) -> None:
    store = copied(both, tmp_path)
    about = json.loads((store / "zarr.json").read_text())
    about["attributes"]["mmearth_tiles"] |= change
    (store / "zarr.json").write_text(json.dumps(about))
    with pytest.raises(DataError, match=message):
        PackedTiles(store)


def test_not_a_packed_data_set(tmp_path: Path) -> None:
    zarr.create_group(tmp_path / "x.zarr")
    with pytest.raises(DataError, match="is not a packed data set") as caught:
        PackedTiles(tmp_path / "x.zarr")
    assert "mmearth pack" in (caught.value.hint or "")


@pytest.mark.parametrize("row", [-1, TILES])
def test_a_row_that_is_not_there(both: tuple[Path, Path], row: int) -> None:
    tiles = PackedTiles(both[1])
    for use in (lambda: tiles.read([row], ["lat"]), lambda: tiles.levels([row])):
        with pytest.raises(DataError, match=f"there is no tile {row} in `tiny.zarr`"):
            use()
    tiles.close()


def _use(path: Path) -> None:
    tiles = PackedTiles(path)
    tiles._process += 1
    try:
        tiles.read([0], ["lat"])
    except AssertionError:
        raise SystemExit(7) from None


def test_another_process_may_not_use_it(both: tuple[Path, Path]) -> None:
    child = get_context("spawn").Process(target=_use, args=(both[1],))
    child.start()
    child.join()
    assert child.exitcode == 7


def test_what_is_there_is_not_overwritten(tmp_path: Path) -> None:
    published = open_folder(write_dataset(tmp_path / "tiny", tiles=3, tile_px=64))
    with pytest.raises(StoreError, match="holds the data set itself"):
        pack(published, tmp_path / "tiny", overwrite=True)
    pack(published, tmp_path / "packed")
    with pytest.raises(StoreError, match="exists already"):
        pack(published, tmp_path / "packed")
    pack(published, tmp_path / "packed", overwrite=True)
    other = write_dataset(tmp_path / "other", tiles=3, tile_px=64)
    with pytest.raises(StoreError, match="is not a data set made by mmearth"):
        pack(published, other, overwrite=True)
    with pytest.raises(DataError, match="is packed already"):
        pack(open_folder(tmp_path / "packed"), tmp_path / "twice")


def test_a_damaged_source_leaves_nothing_and_keeps_the_old(tmp_path: Path) -> None:
    published = open_folder(write_dataset(tmp_path / "tiny", tiles=3, tile_px=64))
    pack(published, tmp_path / "packed")
    before = open_folder(tmp_path / "packed").digest
    content = bytearray(published.tiles_path.read_bytes())
    content[len(content) // 2 : len(content) // 2 + 200] = bytes(200)
    published.tiles_path.write_bytes(content)
    with pytest.raises(DataError, match="cannot be read"):
        pack(published, tmp_path / "packed", overwrite=True)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["packed", "tiny"]
    assert open_folder(tmp_path / "packed").digest == before


def test_the_command_line(tmp_path: Path, mmearth: Callable[..., Ran]) -> None:
    path = write_dataset(tmp_path / "tiny", tiles=3, tile_px=64)
    args = ("pack", path, "-o", tmp_path / "packed")
    ran = mmearth(*args, "--json")
    assert ran.code == 0, ran.stderr
    assert ran.report["tiles"] == 3
    assert mmearth(*args).code == 1
    loud = mmearth(*args, "--overwrite")
    assert f"{tmp_path / 'packed'}: 3 tiles, " in loud.stderr
    quiet = mmearth(*args, "--overwrite", "-q")
    assert (quiet.code, quiet.stdout, quiet.stderr) == (0, "", "")


def test_a_folder_that_holds_the_source_is_not_replaced(tmp_path: Path) -> None:
    outer = write_dataset(tmp_path / "outer", tiles=4, tile_px=64, provenance={})
    (outer / "outer_provenance.json").write_text('{"made_by": "us"}')
    inner = write_dataset(outer / "in", tiles=4, tile_px=64)
    with pytest.raises(StoreError, match="holds the data set itself"):
        pack(open_folder(inner), outer, overwrite=True)
    assert (inner / "in.h5").exists()


def test_an_array_of_another_type_is_refused(
    both: tuple[Path, Path], tmp_path: Path
) -> None:
    """As classes it would be told apart from none."""
    store = copied(both, tmp_path)
    shape = zarr.open_array(store / "dynamic_world", mode="r").shape
    shutil.rmtree(store / "dynamic_world")
    zarr.create_array(store / "dynamic_world", shape=shape, dtype="float32")
    tiles = PackedTiles(store)
    with pytest.raises(DataError, match=r"`dynamic_world` in .* is float32"):
        tiles.read([0], ["dynamic_world"])


def test_a_product_that_is_none(both: tuple[Path, Path], tmp_path: Path) -> None:
    store = copied(both, tmp_path)
    facts = zarr.open_array(store / "facts", mode="r+")
    values = np.asarray(facts[:])
    values[:, 100] = 7  # behind the name's hundred bytes
    facts[:] = values
    tiles = PackedTiles(store)
    with pytest.raises(DataError, match="a tile of product 7"):
        tiles.levels([0])
