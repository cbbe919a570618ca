"""What a probe reads of several stages is what its definition says, in any store."""

from pathlib import Path

import numpy as np
import pytest
import zarr
from affine import Affine
from hypothesis import given, settings
from hypothesis import strategies as st
from zarr.storage import LocalStore

from mmearth_infer.errors import StoreError, WindowError
from mmearth_infer.grid.window import Window
from mmearth_infer.probe import cells
from mmearth_infer.probe.cells import Cells, features_of, open_cells
from mmearth_infer.probe.sample import check_alike
from mmearth_infer.write.encode import DtypeChoice
from mmearth_infer.write.layout import LayoutChoice
from mmearth_infer.write.open_store import Embedding, open_store
from tests.mmearth_infer.view.stores import Made, Map, mark, write_store

STRIDES_PX = {2: 4, 3: 8, 4: 16}
CHANNELS = {2: 2, 3: 3, 4: 4}


def write_stages(
    path: Path,
    *,
    height_px: int = 130,
    width_px: int = 90,
    holes: float = 0.2,
    made: Made | None = None,
    strides_px: dict[int, int] = STRIDES_PX,
) -> Path:
    """Write a store whose cells are noise, with holes of their own in every stage."""
    rng = np.random.default_rng(height_px)
    maps = []
    for stage, stride_px in strides_px.items():
        shape = (-(-height_px // stride_px), -(-width_px // stride_px))
        values = rng.normal(3, 1, (CHANNELS[stage], *shape)).astype(np.float32)
        values[:, rng.random(shape) < holes] = np.nan
        values[:, : 40 // stride_px, : 40 // stride_px] = np.nan
        maps.append(Map(features_Dhw=values, stage=stage, stride_px=stride_px))
    return write_store(path, *maps, made=made or Made())


def whole(one: Embedding | Cells) -> np.ndarray:
    box = one.geobox
    return one.read(Window(row=0, col=0, height=box.height, width=box.width))


def defined(path: Path, stages: tuple[int, ...]) -> np.ndarray:
    """The definition, a cell at a time."""
    *finer, deepest = (open_store(path, stage) for stage in stages)
    own = whole(deepest)
    channels = 2 * sum(one.channels for one in finer) + deepest.channels
    expected = np.full((channels, *own.shape[1:]), np.nan)
    maps = [whole(one).astype(np.float64) for one in finer]
    for row, col in np.ndindex(*own.shape[1:]):
        parts = []
        for one, values in zip(finer, maps, strict=True):
            side = STRIDES_PX[stages[-1]] // STRIDES_PX[one.stage or 0]
            rows = slice(row * side, (row + 1) * side)
            cols = slice(col * side, (col + 1) * side)
            inside = values[:, rows, cols].reshape(one.channels, -1)
            inside = inside[:, np.isfinite(inside).all(axis=0)]
            if inside.size:
                parts += [inside.mean(axis=1), inside.std(axis=1)]
        if len(parts) == 2 * len(finer) and np.isfinite(own[:, row, col]).all():
            expected[:, row, col] = np.concatenate([*parts, own[:, row, col]])
    return expected


@settings(max_examples=12, deadline=None)
@given(
    height_px=st.integers(17, 150),
    width_px=st.integers(17, 150),
    holes=st.sampled_from([0, 0.2, 0.9]),
    stages=st.sampled_from([(2, 4), (3, 4), (2, 3), (2, 3, 4)]),
    dtype=st.sampled_from(["float32", "float16", "int8", "int8-pixel"]),
    layout=st.sampled_from(["plain", "sharded"]),
)
def test_features_are_those_of_the_definition(
    height_px: int,
    width_px: int,
    holes: float,
    stages: tuple[int, ...],
    dtype: DtypeChoice,
    layout: LayoutChoice,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    """Of scenes that end inside a cell, with holes, however values are kept."""
    path = write_stages(
        tmp_path_factory.mktemp("cells") / "s.zarr",
        height_px=height_px,
        width_px=width_px,
        holes=holes,
        made=Made(dtype=dtype, layout=layout),
    )
    opened = open_cells(path, stages)
    found = whole(opened)
    assert found.dtype == np.float32
    assert len(found) == opened.channels
    np.testing.assert_allclose(found, defined(path, stages), rtol=1e-5, atol=1e-6)


def test_deviations_of_large_values() -> None:
    """They come of differences: squares of 4000 would leave nothing of 0.001."""
    fine = np.full((1, 4, 4), 4000, np.float32)
    fine[0, ::2] += np.float32(0.00390625)
    mean, deviation, own = features_of([fine], np.ones((1, 1, 1), np.float32))
    assert deviation.item() == 0.001953125
    assert (mean.item(), own.item()) == (np.float32(4000.001953125), 1)


@pytest.mark.parametrize("chunk_cells", [3, 16])
def test_parts_make_the_whole(
    chunk_cells: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Chunk by chunk, and in as many rows as memory is for."""
    path = write_stages(tmp_path / "s.zarr", made=Made(chunk_cells=chunk_cells))
    opened = open_cells(path, (2, 3, 4))
    expected = whole(opened)
    most = 2 * 4 * 2 * opened.geobox.width * 4**2  # two rows of stage 2
    monkeypatch.setattr(cells, "MOST_BYTES", most)
    seen = []
    real = Embedding.read

    def watched(self: Embedding, window: Window) -> np.ndarray:
        seen.append(self.channels * window.height * window.width * 4)
        return real(self, window)

    monkeypatch.setattr(Embedding, "read", watched)
    for window in opened.chunks():
        part = opened.read(window)
        np.testing.assert_array_equal(part, expected[(slice(None), *window.slices)])
    np.testing.assert_array_equal(whole(opened), expected)
    assert max(seen) <= most
    with pytest.raises(WindowError, match="is not inside"):
        opened.read(Window(row=8, col=0, height=2, width=1))


def test_one_stage_is_the_store(tmp_path: Path) -> None:
    """Or none; a stage that is named twice, or late, is no other."""
    path = write_stages(tmp_path / "s.zarr")
    for asked, stage in (((), None), (None, None), ((3,), 3), ((2, 2), 2)):
        opened, store = open_cells(path, asked), open_store(path, stage)
        assert (opened.stage, opened.finer_stages) == (store.stage, ())
        assert opened.geobox == store.geobox
        np.testing.assert_array_equal(whole(opened), whole(store))
    both = open_cells(path, (4, 2, 4))
    assert (both.stage, both.finer_stages, both.stride_px) == (4, (2,), 16)
    np.testing.assert_array_equal(whole(both), whole(open_cells(path, (2, 4))))


def test_stages_that_are_not_there(tmp_path: Path) -> None:
    two = write_stages(tmp_path / "2.zarr", strides_px={3: 8, 4: 16})
    with pytest.raises(StoreError, match="does not hold stage 1, 2") as caught:
        open_cells(two, (1, 2, 4))
    hint = str(caught.value.hint)
    assert hint.startswith("it holds stage 3, 4; ")
    assert "`mmearth embed --stage 1 --stage 2 --stage 4`" in hint
    one = write_stages(tmp_path / "1.zarr", strides_px={4: 16})
    with pytest.raises(StoreError, match="does not hold stage 3") as caught:
        open_cells(one, (3, 4))
    assert str(caught.value.hint).startswith("it holds stage 4; ")


def test_cells_that_do_not_fill_each_other(tmp_path: Path) -> None:
    path = write_stages(tmp_path / "6.zarr", strides_px={2: 6, 4: 16})
    with pytest.raises(StoreError, match="have 6 and 16 px a side, no whole multiple"):
        open_cells(path, (2, 4))
    path = write_stages(tmp_path / "u.zarr")
    mark(path, model={"name": "made-up", "stages": [2, 3, 4]})
    with pytest.raises(StoreError, match="have no known size in pixels") as caught:
        open_cells(path, (2, 4))
    assert "read one stage" in str(caught.value.hint)
    path = write_stages(tmp_path / "s.zarr")
    group = zarr.open_group(
        LocalStore(path / "stage2"), mode="r+", use_consolidated=False
    )
    moved = Affine(*open_store(path, 2).geobox.transform) @ Affine.translation(1, 0)
    group.update_attributes({"spatial:transform": list(moved)[:6]})
    with pytest.raises(StoreError, match="stage 2 and 4 do not lie in each other"):
        open_cells(path, (2, 4))
    assert open_cells(path, (3, 4)).finer_stages == (3,)


def test_stores_read_alike(tmp_path: Path) -> None:
    path = write_stages(tmp_path / "s.zarr")
    with pytest.raises(StoreError, match=r"of finer stages \(2,\), .* \(2, 3\)"):
        check_alike([open_cells(path, (2, 4)), open_cells(path, (2, 3, 4))])
