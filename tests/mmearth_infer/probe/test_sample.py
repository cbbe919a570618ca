"""Cells get the class that labels give them, and the embeddings of their place."""

from pathlib import Path

import numpy as np
import pytest
from affine import Affine

from mmearth_infer.errors import SceneError, StoreError
from mmearth_infer.probe.cells import open_cells
from mmearth_infer.probe.labels import LabelOptions, open_labels
from mmearth_infer.probe.sample import (
    Places,
    check_alike,
    draw_places,
    find_places,
    read_features,
)
from tests.mmearth_infer.probe.fields import (
    CELLS,
    classes_hw,
    point,
    square,
    write_fields,
    write_labels,
    write_raster,
)
from tests.mmearth_infer.view.stores import CORNER, Made


def untold(_done: int, _of: int) -> None:
    """Tell nobody."""


def found(
    stores: list[Path], files: list[Path], min_share: float = 0.5, **options: object
) -> Places:
    return find_places(
        [open_cells(path) for path in stores],
        [open_labels(path, LabelOptions(**options)) for path in files],  # type: ignore[arg-type]
        min_share=min_share,
        tell=untold,
    )


def as_grid(places: Places, store: int = 0, side: int = 40) -> np.ndarray:
    grid = np.full((side, side), -1)
    own = places.store_S == store
    grid[places.row_S[own], places.col_S[own]] = places.class_S[own]
    return grid


def test_a_raster_of_pixels(tmp_path: Path) -> None:
    """A cell has the class of most of its pixels, if they are enough."""
    pixels = np.zeros((640, 640), np.uint8)
    pixels[:16, :16] = 3
    pixels[:16, 16:26] = 2  # 10 of 16 columns of the second cell
    pixels[16:32, :16].flat[:100] = 1  # 100 of 256 pixels
    path = write_raster(tmp_path / "l.tif", pixels, nodata=0, transform=CORNER)
    store = write_fields(tmp_path / "s.zarr")
    places = found([store], [path], min_share=0.6)
    assert places.counts == {"2": 1, "3": 1}
    assert as_grid(places)[:2, :2].tolist() == [[1, 0], [-1, -1]]
    assert found([store], [path], min_share=0.3).counts == {"1": 1, "2": 1, "3": 1}


def test_labels_and_embeddings_of_every_cell(tmp_path: Path) -> None:
    """Of two stores with chunks of their own, in their order."""
    class_hw = classes_hw()
    raster = write_raster(tmp_path / "l.tif", class_hw.astype(np.int32))
    stores = [
        write_fields(tmp_path / f"{n}.zarr", made=Made(chunk_cells=n), seed=n)
        for n in (7, 16)
    ]
    places = found(stores, [raster])
    embeddings = [open_cells(path) for path in stores]
    kept, features = read_features(embeddings, places, untold)
    assert len(kept.class_S) == 2 * 40 * 40
    for number, embedding in enumerate(embeddings):
        np.testing.assert_array_equal(as_grid(places, number), class_hw)
        whole = np.concatenate(
            [embedding.read(w).reshape(6, -1) for w in embedding.chunks()], axis=1
        )
        np.testing.assert_array_equal(features[kept.store_S == number], whole.T)


def test_files_that_contradict_each_other(tmp_path: Path) -> None:
    """Give a cell no class; a third file does not bring it back."""
    files = [
        write_labels(tmp_path / f"{n}.json", shapes)
        for n, shapes in enumerate(
            [
                [(square(0, 0, 2), "a"), (square(9, 9, 1), "b")],
                [(point(0.5, 0.5), "b"), (point(1.5, 1.5), "a")],
                [(point(0.5, 0.5), "a")],
            ]
        )
    ]
    places = found([write_fields(tmp_path / "s.zarr")], files)
    grid = as_grid(places)
    assert grid[:2, :2].tolist() == [[-1, 0], [0, 0]]
    assert places.names == ("a", "b")


def test_classes_in_order_of_numbers(tmp_path: Path) -> None:
    values = np.array([[10, 2, -1, 9]], np.int16)
    path = write_raster(tmp_path / "l.tif", values, transform=CELLS)
    places = found([write_fields(tmp_path / "s.zarr")], [path], names={9: "nine"})
    assert places.names == ("-1", "2", "10", "nine")
    assert as_grid(places)[0, :4].tolist() == [2, 1, 0, 3]


def test_cells_without_data(tmp_path: Path) -> None:
    raster = write_raster(tmp_path / "l.tif", classes_hw().astype(np.int32))
    store = write_fields(tmp_path / "s.zarr", hole=10)
    embeddings = [open_cells(store)]
    places, features = read_features(embeddings, found([store], [raster]), untold)
    assert len(features) == len(places.class_S) == 40 * 40 - 100
    assert np.isfinite(features).all()
    empty = write_labels(tmp_path / "e.json", [(square(0, 0, 9), "a")])
    with pytest.raises(StoreError, match="none of 81 labelled cells holds data"):
        read_features(embeddings, found([store], [empty]), untold)


def test_labels_elsewhere(tmp_path: Path) -> None:
    """Both places are named, each in its CRS."""
    store = write_fields(tmp_path / "s.zarr")
    away = write_labels(
        tmp_path / "l.json", [(square(900, 900, 1), "a")], crs="EPSG:4326"
    )
    with pytest.raises(SceneError, match="no label lies in a store") as caught:
        found([store], [away])
    assert "in EPSG:4326; stores `s.zarr` 600000" in str(caught.value)
    raster = write_raster(
        tmp_path / "l.tif",
        np.ones((2, 2), np.uint8),
        transform=CELLS @ Affine.translation(-100, 0),
    )
    with pytest.raises(SceneError, match="no label lies in a store"):
        found([store], [raster])


def test_labels_smaller_than_cells(tmp_path: Path) -> None:
    store = write_fields(tmp_path / "s.zarr")
    small = write_labels(tmp_path / "l.json", [(square(3.25, 3.25, 0.5), "a")])
    with pytest.raises(SceneError, match="the most is 25%") as caught:
        found([store], [small])
    assert "--min-share 0.12" in str(caught.value.hint)
    assert found([store], [small], min_share=0.12).counts == {"a": 1}


def test_draws_keep_shares_and_rare_classes() -> None:
    class_S = np.repeat([0, 1, 2], [8000, 1900, 60])
    cells = np.arange(len(class_S), dtype=np.int32)
    places = Places(
        names=("a", "b", "c"),
        class_S=class_S,
        store_S=cells * 0,
        row_S=cells,
        col_S=cells,
    )
    drawn = draw_places(places, 996, seed=0)
    assert drawn.counts == {"a": 800, "b": 190, "c": 60}
    assert (np.diff(drawn.row_S) > 0).all()
    again = draw_places(places, 996, seed=0)
    np.testing.assert_array_equal(again.row_S, drawn.row_S)
    assert (draw_places(places, 996, seed=1).row_S != drawn.row_S).any()
    assert draw_places(places, 10_000, seed=0) is places


def test_stores_of_several_models(tmp_path: Path) -> None:
    one = write_fields(tmp_path / "1.zarr")
    other = write_fields(tmp_path / "2.zarr", made=Made(digest="sha256:" + "b" * 64))
    finer = write_fields(tmp_path / "3.zarr", stage=2)
    for second, what in ((other, "made by model"), (finer, "of stage")):
        with pytest.raises(StoreError, match=what):
            check_alike([open_cells(one), open_cells(second)])
