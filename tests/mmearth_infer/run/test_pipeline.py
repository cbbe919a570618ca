"""Laws of the pipeline, with engines that can be computed by hand."""

from collections.abc import Callable, Sequence

import numpy as np
import pytest
from affine import Affine
from hypothesis import given, settings
from hypothesis import strategies as st
from rasterio.crs import CRS

from mmearth_infer.errors import ModelError, SceneError
from mmearth_infer.grid.geobox import GeoBox
from mmearth_infer.grid.plan import Blend, plan_tiles
from mmearth_infer.grid.window import Window
from mmearth_infer.run.pipeline import MapShape, NoProgress, refuse_empty, run
from mmearth_infer.run.report import Stopwatch
from mmearth_infer.seams import Scene, Source, Strip

STRIDE = 4


class ArraySource(Source):
    """A scene in memory that counts how often each row is read."""

    def __init__(self, dn_CHW: np.ndarray) -> None:
        self.dn = dn_CHW
        self.rows_read = np.zeros(dn_CHW.shape[1], dtype=int)
        self.scene = Scene(
            name="array",
            geobox=GeoBox(
                crs=CRS.from_epsg(32633),
                transform=Affine(10, 0, 0, 0, -10, 0),
                height=dn_CHW.shape[1],
                width=dn_CHW.shape[2],
            ),
            bands=("B2", "B3")[: len(dn_CHW)],
            bands_evidence="",
            level="l2a",
            level_evidence="",
            offset_dn=0,
            offset_evidence="",
        )

    @property
    def fingerprint(self) -> str:
        return "f"

    def read(self, window: Window) -> np.ndarray:
        rows, cols = window.slices
        self.rows_read[rows] += 1
        found = self.dn[:, rows, cols]
        assert found.shape[1:] == (window.height, window.width)
        return found


class ArraySink:
    """Strips in memory; every chunk must come whole, and once."""

    def __init__(self, chunk_cells: int, cells: tuple[int, int]) -> None:
        self.chunk_cells = chunk_cells
        self.rows: dict[int, list[range]] = {}
        self.valid = np.full(cells, -1, dtype=np.float32)
        self.features = np.empty((0, *cells), dtype=np.float32)

    def missing(self, col: int) -> list[range]:
        return self.rows.get(col, [range(len(self.valid))])

    def write(self, strips: Sequence[Strip]) -> None:
        (strip,) = strips
        height, width = strip.valid_hW.shape
        for start, length, end in (
            (strip.row, height, self.valid.shape[0]),
            (strip.col, width, self.valid.shape[1]),
        ):
            assert start % self.chunk_cells == 0
            assert length % self.chunk_cells == 0 or start + length == end
        place = np.s_[strip.row : strip.row + height, strip.col : strip.col + width]
        assert (self.valid[place] == -1).all()
        self.valid[place] = strip.valid_hW
        if not len(self.features):
            shape = (len(strip.features_DhW), *self.valid.shape)
            self.features = np.zeros(shape, dtype=np.float32)
        self.features[:, place[0], place[1]] = strip.features_DhW


def neighbourhood_engine(dn_NCHW: np.ndarray) -> tuple[np.ndarray]:
    """Sum each cell's pixels, then each cell's eight neighbours: it reaches 1 cell."""
    n, c, height, width = dn_NCHW.shape
    cells = dn_NCHW.reshape(n, c, height // STRIDE, STRIDE, -1, STRIDE)
    sums = np.pad(cells.sum((3, 5), dtype=np.float64), ((0, 0), (0, 0), (1, 1), (1, 1)))
    windows = np.lib.stride_tricks.sliding_window_view(sums, (3, 3), axis=(2, 3))
    assert width // STRIDE == windows.shape[3]
    return (windows.sum((4, 5)).astype(np.float32),)


def mosaic(
    dn: np.ndarray,
    *,
    window: int,
    halo: int,
    batch: int = 3,
    chunk: int = 4,
    panel: int = 999,
    engine: Callable[[np.ndarray], tuple[np.ndarray]] = neighbourhood_engine,
    blend: Blend = "none",
    rows: dict[int, list[range]] | None = None,
    lanes: int = 1,
) -> tuple[ArraySource, ArraySink, int]:
    source = ArraySource(dn)
    sink = ArraySink(chunk, (-(-dn.shape[1] // STRIDE), -(-dn.shape[2] // STRIDE)))
    sink.rows = rows or {}
    plan = plan_tiles(
        height_px=dn.shape[1],
        width_px=dn.shape[2],
        stride_px=STRIDE,
        multiple_px=STRIDE,
        window_px=window,
        halo_px=halo,
    )
    valid = run(
        source,
        engine,
        sink,
        plan=plan,
        maps=[MapShape(channels=dn.shape[0])],
        batch_size=batch,
        panel_cells=panel,
        watch=Stopwatch(),
        progress=NoProgress(),
        blend=blend,
        lanes=lanes,
    )
    return source, sink, valid


@settings(deadline=None)
@given(
    height=st.integers(1, 60),
    width=st.integers(1, 60),
    window=st.sampled_from([12, 16, 28]),
    batch=st.integers(1, 7),
    chunk=st.sampled_from([1, 2, 4, 8, 16]),
    panel=st.sampled_from([1, 4, 9, 999]),
    lanes=st.sampled_from([1, 3]),
    seed=st.integers(0, 99),
    blank=st.floats(0, 1),
)
def test_tiled_equals_untiled(
    height: int,
    width: int,
    window: int,
    batch: int,
    chunk: int,
    panel: int,
    lanes: int,
    seed: int,
    blank: float,
) -> None:
    """With a halo as large as the engine's reach, any window, batch size, chunk, panel
    and number of lanes give the map of the whole scene, NaN where a cell holds no
    data; every row of the scene is read once a panel.
    """
    rng = np.random.default_rng(seed)
    dn = rng.integers(0, 99, (2, height, width), dtype=np.uint16)
    dn[:, : round(height * blank), : width // 2] = 0
    dn[0, -1, -1] = 7
    source, sink, valid_cells = mosaic(
        dn,
        window=window,
        halo=STRIDE,
        batch=batch,
        chunk=chunk,
        panel=panel,
        lanes=lanes,
    )
    padded = np.pad(dn, ((0, 0), (0, -height % STRIDE), (0, -width % STRIDE)))
    expected = neighbourhood_engine(padded[None])[0][0]
    cells = padded.reshape(2, padded.shape[1] // STRIDE, STRIDE, -1, STRIDE)
    valid = (cells > 0).any(axis=0).mean((1, 3))
    expected[:, valid == 0] = np.nan
    np.testing.assert_array_equal(sink.features, expected)
    np.testing.assert_array_equal(sink.valid, np.float32(valid))
    assert valid_cells == (valid > 0).sum()
    panels = -(-valid.shape[1] // (max(panel // chunk, 1) * chunk))
    assert (source.rows_read == panels).all()


@settings(deadline=None)
@given(
    height=st.integers(1, 60),
    width=st.integers(1, 60),
    window=st.sampled_from([12, 16, 28]),
    chunk=st.sampled_from([1, 2, 4]),
    panel=st.sampled_from([4, 9, 999]),
    blend=st.sampled_from(["none", "linear", "cosine"]),
    seed=st.integers(0, 99),
    data=st.data(),
)
def test_what_is_gone_on_with_is_the_same_to_the_bit(
    height: int,
    width: int,
    window: int,
    chunk: int,
    panel: int,
    blend: Blend,
    seed: int,
    data: st.DataObject,
) -> None:
    """Whichever strips of whichever panel were written before, or are others' to write,
    and no row of the scene is read that only finished cells need.
    """
    rng = np.random.default_rng(seed)
    dn = rng.integers(1, 99, (2, height, width), dtype=np.uint16)
    how = {"window": window, "halo": STRIDE, "chunk": chunk, "panel": panel}
    _, whole, _ = mosaic(dn, blend=blend, **how)  # type: ignore[arg-type]
    rows, cols = whole.valid.shape
    step = max(panel // chunk, 1) * chunk
    missing = np.zeros((rows, cols), dtype=bool)
    ranges: dict[int, list[range]] = {}
    for col in range(0, cols, step):
        starts = data.draw(st.sets(st.sampled_from(range(0, rows, chunk))))
        ranges[col] = joined(starts, chunk, rows)
        for found in ranges[col]:
            missing[found.start : found.stop, col : col + step] = True
    source, sink, more = mosaic(dn, blend=blend, rows=ranges, **how)  # type: ignore[arg-type]
    assert more == missing.sum()
    assert ((sink.valid >= 0) == missing).all()
    if missing.any():
        np.testing.assert_array_equal(
            sink.features[:, missing], whole.features[:, missing]
        )
    else:
        assert not source.rows_read.any()


def joined(starts: set[int], chunk: int, rows: int) -> list[range]:
    """Return strips as ranges, those that touch as one."""
    found: list[range] = []
    for start in sorted(starts):
        stop = min(start + chunk, rows)
        if found and found[-1].stop == start:
            start = found.pop().start  # noqa: PLW2901 -- the range before grows
        found.append(range(start, stop))
    return found


def test_several_maps_at_once() -> None:
    """Each is what it would be alone, on the grid of its own stride."""
    fine_stride = STRIDE // 2

    def engine(dn_NCHW: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        n, c, height, width = dn_NCHW.shape
        shape = (n, c, height // fine_stride, fine_stride, -1, fine_stride)
        fine = dn_NCHW.reshape(shape).sum((3, 5), dtype=np.float32)
        coarse = fine.reshape(n, c, height // STRIDE, 2, width // STRIDE, 2).sum((3, 5))
        return fine, coarse

    class Both(ArraySink):
        fine: list[Strip]

        def write(self, strips: Sequence[Strip]) -> None:
            fine, coarse = strips
            assert (fine.row, fine.col) == (2 * coarse.row, 2 * coarse.col)
            self.fine.append(fine)
            super().write([coarse])

    rng = np.random.default_rng(0)
    dn = rng.integers(1, 99, (2, 45, 37), dtype=np.uint16)
    sink = Both(4, (12, 10))
    sink.fine = []
    run(
        ArraySource(dn),
        engine,
        sink,
        plan=plan_tiles(
            height_px=45,
            width_px=37,
            stride_px=STRIDE,
            multiple_px=STRIDE,
            window_px=16,
            halo_px=STRIDE,
        ),
        maps=[MapShape(channels=2, factor=2), MapShape(channels=2)],
        batch_size=2,
        panel_cells=999,
        watch=Stopwatch(),
        progress=NoProgress(),
    )
    padded = np.pad(dn, ((0, 0), (0, 3), (0, 3)))
    fine, coarse = engine(padded[None])
    np.testing.assert_array_equal(sink.features, coarse[0])
    found = np.concatenate([strip.features_DhW for strip in sink.fine], axis=1)
    valid = padded.any(axis=0).reshape(24, 2, 20, 2).any(axis=(1, 3))
    np.testing.assert_array_equal(np.nan_to_num(found), fine[0])
    assert (np.isnan(found[0]) == ~valid).all()


def test_where_the_engine_failed_is_said() -> None:
    def engine(_: np.ndarray) -> tuple[np.ndarray]:
        raise ModelError("told to", hint="so")

    with pytest.raises(ModelError, match=r"told to \(the tile at row 0, column 0\)"):
        mosaic(np.ones((2, 20, 20), dtype=np.uint16), window=16, halo=0, engine=engine)


def test_without_halo_the_engine_sees_each_window_alone() -> None:
    """The control of the law above: a halo that is too small shows."""
    dn = np.ones((1, 32, 32), dtype=np.uint16)
    _, cut, _ = mosaic(dn, window=16, halo=0)
    _, whole, _ = mosaic(dn, window=32, halo=0)
    assert not np.array_equal(cut.features, whole.features)


def test_windows_without_data_are_not_computed() -> None:
    seen = []

    def engine(dn_NCHW: np.ndarray) -> tuple[np.ndarray]:
        seen.append(len(dn_NCHW))
        return neighbourhood_engine(dn_NCHW)

    dn = np.zeros((1, 64, 64), dtype=np.uint16)
    dn[0, 40, 40] = 1
    mosaic(dn, window=16, halo=0, engine=engine)
    assert sum(seen) == 1


def test_a_scene_without_data_is_an_error() -> None:
    _, _, valid = mosaic(np.zeros((2, 20, 20), dtype=np.uint16), window=16, halo=0)
    with pytest.raises(SceneError, match="every pixel is nodata"):
        refuse_empty(valid, "s")
    refuse_empty(1, "s")


@pytest.mark.parametrize("where", ["read", "compute", "write"])
def test_an_error_of_any_stage_ends_the_run(
    where: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is raised where the run was called, and no thread is left behind."""

    def fail(*_: object) -> None:
        raise SceneError("told to")

    target = {"read": (ArraySource, "read"), "write": (ArraySink, "write")}
    if where in target:
        monkeypatch.setattr(*target[where], fail)
    dn = np.ones((1, 64, 64), dtype=np.uint16)
    engine = fail if where == "compute" else neighbourhood_engine
    with pytest.raises(SceneError, match="told to"):
        mosaic(dn, window=16, halo=0, engine=engine)
