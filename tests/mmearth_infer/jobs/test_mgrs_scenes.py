"""Which scenes of tiles lie below a folder."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING

import pytest

from mmearth_infer.errors import JobError
from mmearth_infer.jobs.mgrs_scenes import scenes_of_tiles

if TYPE_CHECKING:
    from pathlib import Path

PRODUCT = "S2A_MSIL1C_2024010{day}T103421_N0510_R065_T{tile}_20240101T123456.SAFE"


def product(tile: str, day: int = 1) -> str:
    return PRODUCT.format(tile=tile, day=day)


def touch(path: Path, content: str = "") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content)
    return path


def item(path: Path) -> Path:
    return touch(path, json.dumps({"type": "Feature", "stac_version": "1.0.0"}))


def found(root: Path, *tiles: str) -> dict[str, str]:
    pairs = list(scenes_of_tiles(root, tiles))
    names = {name: path.relative_to(root).as_posix() for name, path in pairs}
    assert len(names) == len(pairs)
    return names


def test_products_at_any_depth(tmp_path: Path) -> None:
    """By their names; what is inside one is not looked at."""
    inside = touch(
        tmp_path / "b" / product("32TLS") / "GRANULE" / f"{product('33UUP')}"
    )
    touch(tmp_path / "a" / "b" / product("32TLT").replace(".SAFE", ".zip"))
    touch(tmp_path / product("32TLS", day=2))  # a file, and so no .SAFE
    touch(tmp_path / "S2A_32TLS_notes.txt")
    assert inside.exists()
    stem = product("32TLS").removesuffix(".SAFE")
    assert found(tmp_path, "32TLS") == {stem: f"b/{stem}.SAFE"}
    assert len(found(tmp_path)) == 2
    assert list(found(tmp_path)) == [product("32TLT")[:-5], stem]


@pytest.mark.parametrize("folder", ["32TLS", "T32TLS", "32/T/LS", "tiles/32/T/LS"])
def test_folders_of_tiles(folder: str, tmp_path: Path) -> None:
    """Scenes in them that do not name the tile are called after tile and folders."""
    below = tmp_path / folder
    touch(below / "2024" / "stack.tif")
    item(below / "2023" / "7" / "0" / "item.json")
    touch(below / "2023" / "7" / "0" / "stack.tif")  # what the item points to
    touch(below / "2022" / "B02.tif")
    touch(below / "2022" / "B03.tif")
    touch(below / "2021" / "tileInfo.json", "{}")
    touch(below / ".hidden" / "stack.tif")
    touch(below / "emb.zarr" / "stack.tif")
    touch(tmp_path / "elsewhere" / "stack.tif")
    assert found(tmp_path, "32TLS") == {
        "32TLS_2022": f"{folder}/2022",
        "32TLS_2023_7_0_item": f"{folder}/2023/7/0/item.json",
        "32TLS_2024_stack": f"{folder}/2024/stack.tif",
    }


def test_zones_of_one_digit_in_buckets(tmp_path: Path) -> None:
    touch(tmp_path / "5" / "Q" / "KB" / "stack.tif")
    assert list(found(tmp_path, "05QKB")) == ["05QKB_stack"]


@pytest.mark.parametrize("root", ["32TLS", "32/T/LS"])
def test_the_root_may_be_the_folder_of_a_tile(root: str, tmp_path: Path) -> None:
    touch(tmp_path / root / "stack.tif")
    assert found(tmp_path / root, "32TLS") == {"32TLS_stack": "stack.tif"}


def test_a_name_comes_before_a_folder(tmp_path: Path) -> None:
    (tmp_path / "32TLS" / product("33UUP")).mkdir(parents=True)
    assert list(found(tmp_path, "33UUP"))
    with pytest.raises(JobError, match="no scene of 32TLS below"):
        found(tmp_path, "32TLS")


def test_what_was_unpacked_comes_before_its_zip(tmp_path: Path) -> None:
    (tmp_path / product("32TLS")).mkdir()
    touch(tmp_path / product("32TLS").replace(".SAFE", ".zip"))
    touch(tmp_path / f"{product('32TLS', day=2)}.zip")
    assert list(found(tmp_path).values()) == [
        product("32TLS"),
        f"{product('32TLS', day=2)}.zip",
    ]


def test_links_are_followed_once(tmp_path: Path) -> None:
    root = tmp_path / "root"
    (tmp_path / "disk" / product("32TLS")).mkdir(parents=True)
    root.mkdir()
    (root / "a").symlink_to(tmp_path / "disk")
    (root / "b").symlink_to(tmp_path / "disk")
    (tmp_path / "disk" / "loop").symlink_to(root)
    (root / "broken").symlink_to(tmp_path / "gone")
    assert list(found(root).values()) == [f"a/{product('32TLS')}"]


def test_outputs_below_the_root_are_no_scenes(tmp_path: Path) -> None:
    """Though their items are called like scenes."""
    (tmp_path / product("32TLS")).mkdir()
    item(tmp_path / "stores" / product("32TLS").replace(".SAFE", ".json"))
    left = list(scenes_of_tiles(tmp_path, [], leave_out=tmp_path / "stores"))
    assert [path for _, path in left] == [tmp_path / product("32TLS")]
    assert len(list(scenes_of_tiles(tmp_path, [], leave_out=tmp_path / "none"))) == 2


def test_a_tree_of_thousands_is_searched_without_looking_into_products(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for n in range(2000):
        tile = f"32T{'ABCDEFGHJK'[n % 10]}{'LMNPQRST'[n % 8]}"
        (
            tmp_path / f"{n % 20}" / product(tile, day=n % 9).replace("R065", f"{n}")
        ).mkdir(parents=True)
    looked: list[object] = []
    look = os.scandir

    def counting(path: Path) -> object:
        looked.append(path)
        return look(path)

    monkeypatch.setattr(os, "scandir", counting)
    assert len(found(tmp_path)) == 2000
    assert len(looked) == 21


@pytest.mark.parametrize(
    ("tile", "message", "hint"),
    [
        ("T32TLS", "`T32TLS` is no tile", "did you mean `32TLS`"),
        ("32tls", "`32tls` is no tile", "did you mean `32TLS`"),
        ("32ILS", "`32ILS` is no tile", "called like 32TLS"),
        ("../32", "`../32` is no tile", "called like 32TLS"),
    ],
)
def test_names_of_no_tile(tile: str, message: str, hint: str, tmp_path: Path) -> None:
    with pytest.raises(JobError, match=message) as raised:
        found(tmp_path, tile)
    assert hint in str(raised.value.hint)


def test_nothing_there(tmp_path: Path) -> None:
    with pytest.raises(JobError, match="no scene of any tile below"):
        found(tmp_path)
    with pytest.raises(JobError, match="is no folder"):
        found(tmp_path / "none")
