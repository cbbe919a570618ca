"""A scene in parts is the scene as a whole, whoever computes which, and when."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from mmearth_infer.run.config import EmbedConfig, RunConfig, SegmentConfig
from mmearth_infer.run.embed import embed
from mmearth_infer.run.parts import begin, compute_part
from mmearth_infer.run.segment import segment
from mmearth_infer.write import layout
from tests.helpers.digest import digest
from tests.helpers.models import UNTRAINED, classes_manifest, write_echo_model
from tests.helpers.scenes import random_dn, write_scene

if TYPE_CHECKING:
    from pathlib import Path
    from typing import Any

CHUNK = 16
SIZE = {"height": 1500, "width": 64}
TILES = {"window_px": 64, "halo_px": 16, "resume": True}


@pytest.fixture(autouse=True)
def _small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    """A small scene has several rows of chunks then."""
    monkeypatch.setattr(layout, "MOST_CHUNK_CELLS", CHUNK)


@pytest.fixture(scope="module")
def map_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("model") / "map.onnx"
    return write_echo_model(path, classes_manifest(stride_px=16))


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tall scene, of several rows of chunks, with a hole."""
    path = tmp_path_factory.mktemp("scene") / "tall.tif"
    dn = random_dn(**SIZE, seed=1)
    dn[:, 700:900, 10:40] = 0
    write_scene(path, dn)
    return path


def embedding(scene: Path, model: Path, out: Path, **more: Any) -> EmbedConfig:  # noqa: ANN401
    return EmbedConfig(scene=str(scene), model=model, out=out, **TILES, **more)


@pytest.mark.parametrize(
    "more",
    [
        {"blend": "none"},
        {"blend": "linear"},
        {"blend": "cosine", "dtype": "int8-pixel"},
        {"layout": "sharded"},
    ],
    ids=str,
)
@pytest.mark.parametrize("order", [(1, 0, 2), (2,)])
def test_parts_are_the_whole(
    scene: Path,
    tmp_path: Path,
    order: tuple[int, ...],
    more: dict[str, Any],
) -> None:
    whole = embedding(scene, UNTRAINED, tmp_path / "whole.zarr", **more)
    embed(whole)
    config = embedding(scene, UNTRAINED, tmp_path / "parts.zarr", **more)
    rows = begin(config, parts=3)
    assert len(rows) == 3
    pixels = [compute_part(config, rows[number]).pixels for number in order]
    again = [compute_part(config, rows[number]).pixels for number in order]
    assert again == [0] * len(order)
    report = embed(config)
    cells = [len(rows[number]) * SIZE["width"] // 16 for number in order]
    assert report.resumed_cells == sum(cells)
    shares = [count / report.cells for count in cells]
    assert pixels == [round(share * SIZE["height"] * SIZE["width"]) for share in shares]
    assert digest(tmp_path / "parts.zarr") == digest(tmp_path / "whole.zarr")
    assert begin(config, parts=3) == ()
    assert compute_part(config, rows[0]).pixels == 0


def test_a_store_that_is_one_row_of_chunks(
    scene: Path, echo_model: Path, tmp_path: Path
) -> None:
    """Nothing is begun where there is nothing to share."""
    config = embedding(scene, echo_model, tmp_path / "s.zarr")
    assert begin(config, parts=1) == ()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("suffix", [".zarr", ".tif"])
def test_parts_of_a_map(
    scene: Path, map_model: Path, tmp_path: Path, suffix: str
) -> None:
    """A GeoTIFF is made of a store, and that is in parts."""
    made: list[Path] = []
    for name in ("whole", "parts"):
        out = tmp_path / f"{name}{suffix}"
        config: RunConfig = SegmentConfig(
            scene=str(scene), model=map_model, out=out, **TILES
        )
        if name == "parts":
            for rows in begin(config, parts=4):
                compute_part(config, rows)
        segment(config)  # type: ignore[arg-type]
        assert begin(config, parts=4) == ()
        made.append(out)
    if suffix == ".zarr":
        assert digest(made[0]) == digest(made[1])
    else:
        assert made[0].read_bytes() == made[1].read_bytes()
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(
        path.name for path in made
    )
