"""A probe's file computes what scikit-learn fitted, and its figures are honest."""

from dataclasses import replace
from pathlib import Path
from typing import get_args

import matplotlib.image
import numpy as np
import pytest
import rasterio
from scipy.special import softmax
from sklearn.linear_model import LogisticRegression, RidgeClassifier
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from mmearth_infer.contract.probe import ProbeKind
from mmearth_infer.errors import MMEarthError, SceneError, StoreError, VerificationError
from mmearth_infer.probe import export, validate
from mmearth_infer.probe.fit import FitConfig, Fitted, fit_probe
from mmearth_infer.probe.labels import LabelOptions
from mmearth_infer.probe.probe_file import open_probe
from mmearth_infer.write.open_store import open_store
from tests.mmearth_infer.probe.fields import (
    NAMES,
    classes_hw,
    patches,
    point,
    square,
    write_fields,
    write_labels,
    write_raster,
)
from tests.mmearth_infer.view.stores import Map, write_store

KINDS: tuple[ProbeKind, ...] = get_args(ProbeKind)


def untold(_step: str, _done: int, _of: int) -> None:
    """Tell nobody."""


def config(folder: Path, **changes: object) -> FitConfig:
    """A store of three classes, and polygons in all of its patches."""
    if not (folder / "s.zarr").exists():
        write_fields(folder / "s.zarr", noise=1)
    plain = FitConfig(
        stores=(folder / "s.zarr",),
        labels=(write_labels(folder / "l.json", patches(), crs="EPSG:4326"),),
        out=folder / "p.onnx",
        folds=3,
        max_cells=300,
        overwrite=True,
    )
    return replace(plain, **changes)  # type: ignore[arg-type]


def labelled(folder: Path) -> tuple[np.ndarray, np.ndarray]:
    """Features and classes of the labelled cells, by row and column."""
    embedding = open_store(folder / "s.zarr")
    whole = np.zeros((6, 40, 40), np.float32)
    for window in embedding.chunks():
        whole[(slice(None), *window.slices)] = embedding.read(window)
    inside = np.zeros((40, 40), bool)
    for row, col in np.ndindex(40, 40):
        inside[row, col] = {row % 5, col % 5} <= {1, 2, 3}
    return whole[:, inside].T, classes_hw()[inside]


@pytest.mark.parametrize("kind", KINDS)
def test_the_file_computes_what_scikit_learn_does(
    kind: ProbeKind, tmp_path: Path
) -> None:
    """With the setting that was chosen, on all labelled cells."""
    fitted = fit_probe(config(tmp_path, kind=kind, max_cells=1000), untold)
    probe = open_probe(tmp_path / "p.onnx")
    assert probe.manifest == fitted.manifest
    assert probe.manifest.names == NAMES
    features, classes = labelled(tmp_path)
    assert sum(probe.manifest.cells) == len(features)
    setting = probe.manifest.settings
    estimator = {
        "logistic": lambda: LogisticRegression(C=setting["C"], max_iter=1000),
        "ridge": lambda: RidgeClassifier(alpha=setting["alpha"]),
        "knn": lambda: KNeighborsClassifier(int(setting["n_neighbors"])),
    }[kind]()
    pipeline = make_pipeline(StandardScaler(), estimator).fit(features, classes)
    logits = probe.logits(features)
    assert (logits.argmax(axis=1) == pipeline.predict(features)).mean() > 0.995
    if kind == "logistic":
        expected = pipeline.predict_proba(features)
        np.testing.assert_allclose(softmax(logits, axis=1), expected, atol=1e-4)
    if kind == "ridge":
        expected = pipeline.decision_function(features)
        np.testing.assert_allclose(logits, expected, atol=1e-4)


@pytest.mark.parametrize("kind", KINDS)
def test_two_classes(kind: ProbeKind, tmp_path: Path) -> None:
    """Have a logit each; softmax of a logistic probe's is its probability."""
    shapes = [(s, n) for s, n in patches() if n != "water"]
    two = config(
        tmp_path, kind=kind, labels=(write_labels(tmp_path / "2.json", shapes),)
    )
    fitted = fit_probe(two, untold)
    assert fitted.manifest.names == ("field", "forest")
    features, classes = labelled(tmp_path)
    kept = classes < 2
    logits = open_probe(two.out).logits(features[kept])
    assert logits.shape[1] == 2
    assert (logits.argmax(axis=1) == classes[kept]).mean() > 0.9
    assert fitted.file_difference < 1e-5


def test_held_out_blocks_are_never_learnt_from(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[tuple[set[int], int]] = []
    real = validate.fit

    def watched(kind: ProbeKind, features, classes, blocks, **more: object):  # noqa: ANN001, ANN202
        seen.append((set(blocks.tolist()), len(classes)))
        return real(kind, features, classes, blocks, **more)

    monkeypatch.setattr(validate, "fit", watched)
    fitted = fit_probe(config(tmp_path, block_cells=5), untold)
    validation = fitted.manifest.validation
    assert validation is not None
    every = set.union(*(blocks for blocks, _ in seen))
    assert len(every) == validation.blocks
    left_out = [every - blocks for blocks, _ in seen]
    assert sum(len(blocks) for blocks in left_out) == len(every)
    assert set.union(*left_out) == every


def test_memory_of_neighbours_is_not_taken_for_skill(tmp_path: Path) -> None:
    """Where embeddings tell the place, not the class, single cells flatter."""
    rng = np.random.default_rng(0)
    values = np.kron(rng.normal(size=(6, 8, 8)), np.ones((5, 5)))
    values += rng.normal(size=values.shape) / 20
    write_store(tmp_path / "s.zarr", Map(features_Dhw=values.astype(np.float32)))

    def accuracy(side: int) -> float:
        asked = config(tmp_path, kind="knn", block_cells=side)
        validation = fit_probe(asked, untold).manifest.validation
        assert validation is not None
        return validation.scores["accuracy"].value

    assert accuracy(1) > 0.95
    assert accuracy(10) < 0.6


def test_figures_of_what_is_plain(tmp_path: Path) -> None:
    write_fields(tmp_path / "s.zarr", noise=0.01)
    fitted = fit_probe(
        config(tmp_path, picture=tmp_path / "c.png", table=tmp_path / "c.csv"), untold
    )
    validation = fitted.manifest.validation
    assert validation is not None
    for score in validation.scores.values():
        assert score.value == score.low == score.high == 1
        assert score.folds == (1, 1, 1)
    cells = sum(fitted.manifest.cells)
    assert np.trace(validation.confusion) == np.sum(validation.confusion) == cells
    assert [c.name for c in fitted.manifest.classes] == list(NAMES)
    header, *rows = (tmp_path / "c.csv").read_text().splitlines()
    assert header == "true,field,forest,water,iou"
    assert rows[0] == f"field,{fitted.manifest.cells[0]},0,0,1.0000"
    assert matplotlib.image.imread(tmp_path / "c.png").shape[1] > 300


def test_equal_seeds_give_equal_files(tmp_path: Path) -> None:
    few = config(tmp_path, kind="ridge")
    files = []
    for seed in (3, 3, 4):
        fit_probe(replace(few, seed=seed), untold)
        files.append(few.out.read_bytes())
    assert files[0] == files[1] != files[2]


def test_blocks_in_metres_and_by_themselves(tmp_path: Path) -> None:
    """The largest at which each class is in as many blocks as there are folds."""

    def side(fitted: Fitted) -> tuple[int, float]:
        validation = fitted.manifest.validation
        assert validation is not None
        return validation.block_cells, validation.block_m

    assert side(fit_probe(config(tmp_path, block_m=790), untold)) == (5, 800)
    assert side(fit_probe(config(tmp_path), untold)) == (32, 5120)
    assert side(fit_probe(config(tmp_path, folds=9), untold)) == (8, 1280)


def few(**counts: int) -> list[tuple[dict[str, object], object]]:
    """So many points of each class, in a row each."""
    return [
        (point(2 * row + 0.5, col + 0.5), name)
        for row, (name, count) in enumerate(counts.items())
        for col in range(count)
    ]


@pytest.mark.parametrize(
    ("shapes", "changes", "message", "hint"),
    [
        (few(a=9), {}, "all 9 labelled cells are of one class, `a`", "second class"),
        (
            few(a=9, b=2),
            {},
            r"fewer cells than there are folds \(3\): `b` 2",
            "--folds 2",
        ),
        (
            few(a=9, b=9),
            {"block_cells": 64},
            "make 1 blocks with labels",
            "smaller blocks",
        ),
    ],
)
def test_labels_that_cannot_be_validated(
    shapes: list[tuple[dict[str, object], object]],
    changes: dict[str, object],
    message: str,
    hint: str,
    tmp_path: Path,
) -> None:
    path = write_labels(tmp_path / "few.json", shapes)
    with pytest.raises(SceneError, match=message) as caught:
        fit_probe(config(tmp_path, labels=(path,), **changes), untold)
    assert hint in str(caught.value.hint)
    assert not (tmp_path / "p.onnx").exists()


def test_what_is_warned_of(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Cells without data, labels outside, classes in too few blocks, single cells."""
    write_fields(tmp_path / "s.zarr", hole=7)
    shapes = [*patches(), (square(90, 90, 3), "field"), (square(39, 34, 1), "rare")]
    shapes += [(square(39, 35 + n, 1), "rare") for n in range(3)]
    path = write_labels(tmp_path / "more.json", shapes)
    asked = config(tmp_path, labels=(path,), block_cells=8, max_cells=1000)
    fitted = fit_probe(asked, untold)
    said = " ".join(fitted.warnings)
    assert "16 of 580 labelled cells hold no data (NaN)" in said
    assert "1 of 69 labels of `more.json` lie outside the stores" in said
    assert "`rare`: in one block of 8 cells only" in said
    assert list(fitted.warnings) == [r.getMessage() for r in caplog.records]
    single = fit_probe(config(tmp_path, block_cells=1), untold)
    assert any("single cells" in warning for warning in single.warnings)


def test_a_class_without_data_is_no_class(tmp_path: Path) -> None:
    write_fields(tmp_path / "s.zarr", hole=10)
    lost = [(square(1, 1, 3), "lost"), *patches()[1:]]
    path = write_labels(tmp_path / "lost.json", lost)
    fitted = fit_probe(config(tmp_path, labels=(path,)), untold)
    assert fitted.manifest.names == NAMES
    assert any("no cell with data is left of `lost`" in w for w in fitted.warnings)


def test_colours_of_a_palette_are_kept(tmp_path: Path) -> None:
    raster = write_raster(tmp_path / "l.tif", classes_hw().astype(np.uint8))
    with rasterio.open(raster, "r+") as file:
        file.write_colormap(
            1, {0: (1, 2, 3, 255), 1: (4, 5, 6, 255), 2: (7, 8, 9, 255)}
        )
    options = LabelOptions(names={1: "wood"})
    fitted = fit_probe(config(tmp_path, labels=(raster,), options=options), untold)
    said = {one.name: one.rgb for one in fitted.manifest.classes}
    assert said == {"0": (1, 2, 3), "wood": (4, 5, 6), "2": (7, 8, 9)}


def test_nothing_is_left_of_a_file_that_differs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = export.linear_graph

    def wrong(mean, scale, weight, bias):  # noqa: ANN001, ANN202
        return real(mean, scale, weight, bias + 0.01)

    monkeypatch.setattr(export, "linear_graph", wrong)
    asked = config(tmp_path, table=tmp_path / "c.csv")
    with pytest.raises(VerificationError, match="differs from scikit-learn's by"):
        fit_probe(asked, untold)
    assert {path.name for path in tmp_path.iterdir()} == {"s.zarr", "l.json"}


def test_outputs(tmp_path: Path) -> None:
    asked = config(tmp_path, overwrite=False)
    with pytest.raises(StoreError, match=r"does not end in \.onnx"):
        fit_probe(replace(asked, out=tmp_path / "p.pkl"), untold)
    with pytest.raises(StoreError, match=r"does not end in \.png") as caught:
        fit_probe(replace(asked, picture=tmp_path / "p.jpg"), untold)
    assert str(caught.value.hint).startswith("--picture")
    asked.out.write_text("mine")
    with pytest.raises(StoreError, match="exists already"):
        fit_probe(asked, untold)
    assert asked.out.read_text() == "mine"
    with pytest.raises(MMEarthError, match="is not a store"):
        fit_probe(replace(asked, stores=(tmp_path,), overwrite=True), untold)
