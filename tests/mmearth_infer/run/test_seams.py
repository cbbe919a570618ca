"""Laws of the seam index, against arrays held whole; and stores as they are made."""

import json
from dataclasses import dataclass
from dataclasses import field as dataclass_field
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from affine import Affine
from hypothesis import given, settings
from hypothesis import strategies as st
from rasterio.crs import CRS

from mmearth_infer import EmbedConfig, embed
from mmearth_infer.engine.open import open_model
from mmearth_infer.errors import StoreError
from mmearth_infer.grid.geobox import GeoBox
from mmearth_infer.grid.plan import TilePlan, plan_tiles
from mmearth_infer.grid.window import Window
from mmearth_infer.read.options import SceneOptions
from mmearth_infer.read.source import open_source
from mmearth_infer.run.seams import SeamReport, plan_of, report_seams
from mmearth_infer.run.steps import Steps, measure_steps
from mmearth_infer.write.encode import DtypeChoice
from mmearth_infer.write.open_store import open_store
from tests.helpers.models import echo_manifest, two_stage_manifest, write_echo_model
from tests.helpers.scenes import random_dn, write_scene


def plan_for(height: int, width: int, *, window: int = 16, halo: int = 4) -> TilePlan:
    """A plan of cells that are pixels."""
    return plan_tiles(
        height_px=height,
        width_px=width,
        stride_px=1,
        multiple_px=1,
        window_px=window,
        halo_px=halo,
    )


def blocks(features: np.ndarray, side: int) -> list[tuple[Window, np.ndarray]]:
    """Cut a map into blocks."""
    _, height, width = features.shape
    windows = [
        Window(row=row, col=col, height=side, width=side).clipped(height, width)
        for row in range(0, height, side)
        for col in range(0, width, side)
    ]
    return [(window, features[:, *window.slices]) for window in windows]


def report(features: np.ndarray, plan: TilePlan, side: int = 999) -> SeamReport:
    """The report of a map that is held whole."""
    rows, cols = measure_steps(blocks(features, side), plan)
    return SeamReport(rows=rows, cols=cols)


def random_map(height: int, width: int, holes: float = 0, seed: int = 0) -> np.ndarray:
    """A map of three channels, with cells that hold no data."""
    rng = np.random.default_rng(seed)
    features = rng.standard_normal((3, height, width)).astype(np.float32)
    features[:, rng.random((height, width)) < holes] = np.nan
    return features


def by_hand(features: np.ndarray, plan: TilePlan, axis: int) -> dict[str, Any]:
    """Steps along an axis, all of them at once."""
    steps = np.abs(np.diff(features, axis=axis + 1)).mean(axis=0)
    spans = (plan.rows, plan.cols)[axis]
    is_border = np.isin(
        np.arange(steps.shape[axis]) + 1, [span.core_start for span in spans[1:]]
    )
    across = np.compress(is_border, steps, axis=axis)
    inside = np.compress(~is_border, steps, axis=axis)
    return {
        "across": int(np.isfinite(across).sum()),
        "means": [np.nanmean(across), np.nanmean(inside)],
        "medians": [np.nanmedian(across), np.nanmedian(inside)],
    }


@settings(deadline=None)
@given(
    height=st.integers(20, 60),
    width=st.integers(20, 60),
    side=st.integers(3, 70),
    holes=st.sampled_from([0, 0.3]),
    seed=st.integers(0, 99),
)
def test_steps(height: int, width: int, side: int, holes: float, seed: int) -> None:
    """However the map is cut into blocks, the steps are the same; medians are right to
    1 part in 64; pairs with a cell that holds no data do not count.
    """
    plan = plan_for(height, width)
    features = random_map(height, width, holes, seed)
    found = report(features, plan, side)
    for axis, steps in enumerate((found.rows, found.cols)):
        expected = by_hand(features, plan, axis)
        assert steps.across == expected["across"]
        means = [steps.across_mean, steps.inside_mean]
        np.testing.assert_allclose(means, expected["means"], rtol=1e-5)
        medians = [steps.across_median, steps.inside_median]
        if expected["across"] > 20:
            # between the two middle values any is a median
            np.testing.assert_allclose(medians, expected["medians"], rtol=0.2)
        assert steps.index == pytest.approx(means[0] / means[1])


def test_medians_are_right_to_1_part_in_64() -> None:
    plan = plan_for(200, 200)
    features = np.exp(random_map(200, 200))
    found = report(features, plan).rows
    expected = by_hand(features, plan, 0)["medians"]
    medians = [found.across_median, found.inside_median]
    np.testing.assert_allclose(medians, expected, rtol=1 / 64)


@settings(deadline=None)
@given(
    shift=st.floats(-9, 9),
    factor=st.sampled_from([1e-3, 1.0, 300.0]),
    seed=st.integers(0, 9),
)
def test_shift_and_scale_do_not_matter(shift: float, factor: float, seed: int) -> None:
    """Shifting or scaling all values leaves the seam index as it is."""
    plan = plan_for(40, 50)
    features = random_map(40, 50, 0.1, seed)
    changed = ((features.astype(float) + shift) * factor).astype(np.float32)
    expected, found = report(features, plan), report(changed, plan)
    assert found.index == pytest.approx(expected.index, rel=1e-4)
    assert found.index_of_medians == pytest.approx(expected.index_of_medians, rel=0.05)


def test_a_step_that_was_put_there() -> None:
    """A slope of 1 a column, and 3 more at each border of the columns of tiles."""
    plan = plan_for(30, 40)
    borders = np.array([span.core_start for span in plan.cols[1:]])
    slope = np.arange(40) + 3.0 * np.searchsorted(borders, np.arange(40), side="right")
    features = np.tile(slope, (2, 30, 1)).astype(np.float32)
    found = report(features, plan, 7)
    assert found.cols.index == 4
    assert found.cols.by_distance[:2] == (4, 1)
    assert found.rows.index == 1  # no step anywhere
    assert found.rows.across_mean == 0
    assert (found.cols.by_tile == 4).all()
    assert found.cols.by_tile.shape == (len(borders), len(plan.rows))
    weights = np.array([found.rows.across, found.cols.across])
    assert found.index == pytest.approx((weights * [1, 4]).sum() / weights.sum())


def test_without_borders_there_is_no_index() -> None:
    found = report(random_map(12, 9), plan_for(12, 9))
    assert found.index is None
    assert found.index_of_medians is None
    assert found.rows.borders == 0
    assert json.loads(json.dumps(found.to_json()))["seam_index"] is None


def test_no_data_at_all() -> None:
    found = report(np.full((2, 30, 30), np.nan, dtype=np.float32), plan_for(30, 30))
    assert found.index is None
    assert isinstance(found.rows, Steps)
    assert found.rows.across == 0
    assert np.isnan(found.rows.by_tile).all()


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Pixels that echo as a map with a corner that holds no data."""
    dn = random_dn(height=400, width=330)
    dn[:, :70, :90] = 0
    return write_scene(tmp_path_factory.mktemp("scene") / "L2A.tif", dn)


def embedded(scene: Path, folder: Path, **settings: Any) -> Path:  # noqa: ANN401
    """A store of the built-in model, whose GRN sees each window alone."""
    out = folder / "e.zarr"
    embed(EmbedConfig(**{"scene": str(scene), "out": out, "window_px": 128} | settings))
    return out


@pytest.mark.parametrize("dtype", ["float32", "float16", "int8-pixel"])
def test_a_store_of_any_type(dtype: DtypeChoice, scene: Path, tmp_path: Path) -> None:
    """The index is that of the map, but for what the type rounds."""
    path = embedded(scene, tmp_path, halo_px=16, dtype=dtype)
    found = report_seams(open_store(path))
    store = open_store(embedded(scene, tmp_path, halo_px=16, overwrite=True))
    whole = Window(row=0, col=0, height=25, width=21)
    expected = report(store.read(whole), plan_of(store))
    assert found.index == pytest.approx(expected.index, rel=0.02)
    assert found.rows.across == expected.rows.across


def test_blending_lowers_the_index(scene: Path, tmp_path: Path) -> None:
    """Of a model whose GRN sees each window alone."""
    found = {}
    for blend in ("none", "linear", "cosine"):
        path = embedded(scene, tmp_path, halo_px=32, blend=blend, overwrite=True)
        found[blend] = report_seams(open_store(path)).index
    assert found["linear"] < found["none"]
    assert found["cosine"] < found["none"]


def test_the_plan_of_each_stage(scene: Path, tmp_path: Path) -> None:
    """Of a store of several stages, it is the same tiling on grids of their own."""
    model = write_echo_model(tmp_path / "two.onnx", two_stage_manifest())
    path = embedded(scene, tmp_path, model=model, halo_px=16, stages=(2, 4))
    fine, coarse = (plan_of(open_store(path, stage)) for stage in (2, 4))
    assert (fine.stride_px, coarse.stride_px) == (4, 16)
    assert fine == coarse.scaled(4)
    assert [span.core_start for span in coarse.rows] == [0, 7, 13, 19]
    report_seams(open_store(path, 2))


def test_larger_windows(scene: Path, tmp_path: Path) -> None:
    """They agree with cells that see no further than themselves, not with those of
    windows that stand alone; places are the same every time, and hold data.
    """
    echo = write_echo_model(tmp_path / "echo.onnx", echo_manifest())
    apart = {}
    for name, model in (("echo", echo), ("built in", None)):
        chosen = {} if model is None else {"model": model}
        path = embedded(scene, tmp_path, halo_px=16, overwrite=True, **chosen)
        config = EmbedConfig(scene=str(scene), out=path, **chosen)
        opened = open_model(config.model)
        manifest = opened.file.manifest
        one_map = opened.engine(level="l2a", output=manifest.output(None))
        with open_source(
            str(scene), options=SceneOptions(), wanted=manifest.bands, threads=1
        ) as source:
            found, again = (
                report_seams(open_store(path), source=source, one_map=one_map, places=4)
                for _ in range(2)
            )
        assert found.places == again.places
        assert len(set(found.places)) == 4
        assert all(place.cells > 0 for place in found.places)
        apart[name] = found.apart
    assert apart["echo"] < 1e-6
    assert apart["built in"] > 0.01


@dataclass(frozen=True, slots=True, kw_only=True)
class HeldStore:
    """What is asked of a store, in memory."""

    features: np.ndarray
    provenance: dict[str, Any] = dataclass_field(default_factory=dict)
    path: Path = Path("held")
    stage: int = 4

    @property
    def geobox(self) -> GeoBox:
        _, height, width = self.features.shape
        return GeoBox(
            crs=CRS.from_epsg(32633),
            transform=Affine(160, 0, 0, 0, -160, 0),
            height=height,
            width=width,
        )

    def chunks(self) -> list[Window]:
        return [window for window, _ in blocks(self.features, 8)]

    def read(self, window: Window) -> np.ndarray:
        return self.features[:, *window.slices]


def said(**tiling: int) -> dict[str, Any]:
    """What a store of the echo model says."""
    return {
        "model": {"manifest": msgspec.to_builtins(echo_manifest())},
        "scene": {"shape_px": [640, 480]},
        "tiling": {"stride_px": 16, "window_px": 160, "halo_px": 16} | tiling,
    }


def test_a_store_is_read_chunk_by_chunk() -> None:
    features = random_map(40, 30)
    held = HeldStore(features=features, provenance=said())
    plan = plan_of(held)  # type: ignore[arg-type]
    assert (plan.height, plan.width) == (40, 30)
    assert report_seams(held) == report(features, plan, 8)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "provenance",
    [{}, {**said(), "tiling": {}}, {**said(), "scene": None}, said(window_px=33)],
)
def test_a_store_that_does_not_say(provenance: dict[str, Any]) -> None:
    held = HeldStore(features=random_map(40, 30), provenance=provenance)
    with pytest.raises(StoreError, match="does not say how it was tiled") as error:
        plan_of(held)  # type: ignore[arg-type]
    assert error.value.hint == "embed the scene again"


def test_a_picture(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    from mmearth_infer.run.seam_picture import save_picture  # noqa: PLC0415 -- extra

    plan = plan_for(60, 70)
    out = tmp_path / "seams.png"
    save_picture(report(random_map(60, 70, 0.2), plan), plan, out)
    assert out.read_bytes().startswith(b"\x89PNG")
    with pytest.raises(StoreError):
        save_picture(report(random_map(60, 70), plan), plan, tmp_path / "no" / "s.png")
