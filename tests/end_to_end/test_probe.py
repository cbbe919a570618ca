"""From scenes and labels to maps and a segmentation model, by the command line."""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from sklearn.metrics import accuracy_score, jaccard_score

from tests.conftest import Ran
from tests.helpers.data import RSTOOLBOX, SEN1FLOODS, needs_data
from tests.helpers.models import UNTRAINED, echo_manifest, write_echo_model
from tests.mmearth_infer.probe.fields import (
    patches,
    square,
    write_fields,
    write_labels,
)

Mmearth = Callable[..., Ran]


def read(path: Path) -> np.ndarray:
    with rasterio.open(path) as file:
        band: np.ndarray = file.read(1)
    return band


def done(ran: Ran) -> dict[str, Any]:
    assert ran.code == 0, ran.stderr
    return ran.report


@pytest.fixture
def fine_model(tmp_path: Path) -> Path:
    """The mean of 4 x 4 pixels of each band: labels of small fields are enough."""
    return write_echo_model(tmp_path / "fine.onnx", echo_manifest(stride_px=4, stage=2))


@needs_data
def test_polygons_of_rstoolbox(
    fine_model: Path, tmp_path: Path, mmearth: Mmearth
) -> None:
    """Fit, map, fuse, segment: right where polygons are, and the same either way."""
    store, probe, out = (tmp_path / name for name in ("s.zarr", "p.onnx", "m.tif"))
    flags = ("--offset", "-1000", "--allow-resolution", "--model", fine_model)
    assert mmearth("embed", RSTOOLBOX, "-o", store, *flags).code == 0
    labels = RSTOOLBOX.parent / "rstoolbox_trainingPolygons_sen2.geojson"
    asked = ("--labels", labels, "--field", "class", "-o", probe)
    fitted = done(mmearth("probe", "fit", store, *asked, "--json"))
    validation = fitted["manifest"]["validation"]
    score = validation["scores"]["mean_iou"]
    assert 0.6 < score["low"] < score["value"] < score["high"] <= 1
    assert validation["blocks"] >= validation["folds"] == 5
    facts = done(mmearth("info", probe, "--json"))
    assert facts["kind"] == "probe, logistic"
    assert facts["classes"][1].startswith("forest, of ")
    mapped = done(
        mmearth("probe", "apply", store, "--probe", probe, "-o", out, "--json")
    )
    assert set(mapped["cells"]) == {"dryout", "forest", "village", "water"}
    found = read(out).repeat(4, 0).repeat(4, 1)[:237, :247]
    pixels = read(RSTOOLBOX.parent / "rstoolbox_sen2_labels.tif")
    known = pixels > 0
    assert accuracy_score(pixels[known] - 1, found[known]) > 0.85
    seg = tmp_path / "seg.onnx"
    asked = ("--model", fine_model, "--probe", probe, "-o", seg)
    assert done(mmearth("probe", "fuse", *asked, "--json"))["max_relative"] <= 1e-5
    again = tmp_path / "again.tif"
    flags = ("--offset", "-1000", "--allow-resolution", "--model", seg)
    assert mmearth("segment", RSTOOLBOX, "-o", again, *flags).code == 0
    np.testing.assert_array_equal(read(again), read(out))


@needs_data
@pytest.mark.parametrize("kind", ["logistic", "ridge", "knn"])
def test_water_of_sen1floods11(
    kind: str, fine_model: Path, tmp_path: Path, mmearth: Mmearth
) -> None:
    """A raster of labels: better than a threshold of NDWI at 0."""
    store, probe = tmp_path / "s.zarr", tmp_path / "p.onnx"
    flags = ("--allow-resolution", "--model", fine_model)
    assert mmearth("embed", SEN1FLOODS, "-o", store, *flags).code == 0
    labels = SEN1FLOODS.with_name(SEN1FLOODS.name.replace("S2Hand", "LabelHand"))
    asked = ("--labels", labels, "--ignore", -1, "--names", "0=dry,1=water")
    more = ("--max-cells", 2000, "--kind", kind, "--block-m", 640, "-o", probe)
    fitted = done(mmearth("probe", "fit", store, *asked, *more, "--json"))
    iou = fitted["manifest"]["validation"]["scores"]["mean_iou"]["value"]
    truth = read(labels)
    known = truth >= 0
    with rasterio.open(SEN1FLOODS) as file:
        green, nir = file.read([3, 8]).astype(float)
    wet = (green - nir) > 0
    assert iou > jaccard_score(truth[known], wet[known], average="macro")


def test_the_built_in_encoder(tmp_path: Path, mmearth: Mmearth) -> None:
    """Fused with the built-in model: its map of the demo is that of `apply`."""
    store, probe, seg = (tmp_path / n for n in ("s.zarr", "p.onnx", "seg.onnx"))
    assert mmearth("embed", "demo", "-o", store, "-q").code == 0
    with rasterio.open(store.with_suffix(".tif"), "w", **_halves(store)) as file:
        file.write(np.indices((64, 64))[1].astype(np.uint8) // 32 + 1, 1)
    asked = ("--labels", tmp_path / "s.tif", "-o", probe, "--max-cells", 300, "-q")
    ran = mmearth("probe", "fit", store, *asked, "--picture", tmp_path / "c.png")
    assert (ran.code, ran.stdout) == (0, "")
    assert (tmp_path / "c.png").stat().st_size > 5000
    fused = ("--model", UNTRAINED, "--probe", probe, "-o", seg)
    ran = mmearth("probe", "fuse", *fused)
    assert ran.code == 0
    assert "`untrained-demo-logistic`, 2 classes, cells of 16 px" in ran.stderr
    for scene_to_map in (
        ("probe", "apply", store, "--probe", probe, "-o", tmp_path / "a.tif"),
        ("segment", "demo", "--model", seg, "-o", tmp_path / "b.tif"),
    ):
        assert mmearth(*scene_to_map, "-q").code == 0
    np.testing.assert_array_equal(read(tmp_path / "a.tif"), read(tmp_path / "b.tif"))


def _halves(store: Path) -> dict[str, Any]:
    """Return the profile of a raster on the grid of a store."""
    from mmearth_infer.write.open_store import open_store  # noqa: PLC0415

    box = open_store(store).geobox
    return {
        "driver": "GTiff",
        "count": 1,
        "dtype": "uint8",
        "height": box.height,
        "width": box.width,
        "crs": box.crs,
        "transform": box.transform,
        "nodata": 0,
    }


def test_what_a_person_reads(tmp_path: Path, mmearth: Mmearth) -> None:
    """A table, figures with intervals, blocks in metres; two stores make one probe."""
    for name, seed in (("a", 0), ("b", 1)):
        write_fields(tmp_path / f"{name}.zarr", seed=seed)
    labels = write_labels(tmp_path / "l.json", patches(), crs="EPSG:4326")
    stores = (tmp_path / "a.zarr", tmp_path / "b.zarr")
    asked = ("--labels", labels, "--max-cells", 300, "-o", tmp_path / "p.onnx")
    ran = mmearth("probe", "fit", *stores, *asked)
    assert ran.code == 0, ran.stderr
    lines = ran.stderr.splitlines()
    assert lines[0].split() == ["true", "field", "forest", "water", "IoU"]
    assert lines[1].split()[-1] == "1.000"
    assert "mean iou 1.000 (1.000 to 1.000)" in lines[4]
    assert "5 folds of" in lines[5]
    assert "of 16 cells (2560 m)" in lines[5]
    ran = mmearth(
        "probe", "apply", stores[0], "--probe", tmp_path / "p.onnx",
        "-o", tmp_path / "m.tif",
    )  # fmt: skip
    assert ran.code == 0
    assert "40 x 40 cells" in ran.stderr
    assert "field " in ran.stderr


@pytest.mark.parametrize(
    ("shapes", "message", "hint"),
    [
        ([(square(900, 0, 3), "a")], "no label lies in a store", "CRS of the labels"),
        ([(square(0, 0, 9), "a")], "are of one class, `a`", "second class"),
        (
            [(square(0, 0, 9), "a"), (square(9, 9, 1), "b")],
            "fewer cells than there are folds (5): `b` 1",
            "label more",
        ),
        ([(square(0, 0, 2), "a")], "labelled cells holds data", "nodata or masked"),
    ],
)
def test_labels_that_cannot_be_used(
    shapes: list[tuple[dict[str, Any], object]],
    message: str,
    hint: str,
    tmp_path: Path,
    mmearth: Mmearth,
) -> None:
    """Two lines, nothing half-written."""
    write_fields(tmp_path / "s.zarr", hole=3)
    labels = write_labels(tmp_path / "l.json", shapes, crs="EPSG:4326")
    ran = mmearth(
        "probe", "fit", tmp_path / "s.zarr", "--labels", labels,
        "-o", tmp_path / "p.onnx",
    )  # fmt: skip
    assert ran.code == 1
    error, said = ran.stderr.splitlines()[-2:]
    assert error.startswith("error: ")
    assert message in error
    assert said.startswith("hint: ")
    assert hint in said
    assert {path.name for path in tmp_path.iterdir()} == {"s.zarr", "l.json"}


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (("--block-cells", 2, "--block-m", 9), "exclude each other"),
        (("--balanced", "--kind", "knn"), "does not go with --kind knn"),
        (("--names", "one=1"), "`one=1` is not VALUE=NAME"),
        (("--names", "1="), "`1=` is not VALUE=NAME"),
        (("--folds", 1), "--folds"),
        (("--min-share", 0), "--min-share"),
    ],
)
def test_flags_that_cannot_be(
    flags: tuple[object, ...], message: str, mmearth: Mmearth
) -> None:
    ran = mmearth("probe", "fit", "s.zarr", "--labels", "l", "-o", "p.onnx", *flags)
    assert ran.code == 2
    assert message in ran.stderr


def test_a_missing_extra_is_named(
    tmp_path: Path, mmearth: Mmearth, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`apply` needs none of what `fit` and `fuse` need."""
    for name in list(sys.modules):
        heavy = name.partition(".")[0] in {"sklearn", "onnx"}
        if heavy or name.startswith("mmearth_infer.probe."):
            monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "sklearn", None)
    monkeypatch.setitem(sys.modules, "onnx", None)
    for command in (
        ("fit", "s.zarr", "--labels", "l.json", "-o", "p.onnx"),
        ("fuse", "--model", "m.onnx", "--probe", "p.onnx", "-o", "s.onnx"),
    ):
        ran = mmearth("probe", *command)
        assert ran.code == 1
        assert f"`mmearth probe {command[0]}` needs the `probe` extra" in ran.stderr
    apply = ("apply", "s.zarr", "--probe", "p.onnx", "-o", tmp_path / "m.tif")
    assert "there is no probe `p.onnx`" in mmearth("probe", *apply).stderr
