"""`mmearth info` explains models, scenes and stores."""

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.conftest import Ran
from tests.helpers.data import MAJORTOM, SEN1FLOODS, needs_data
from tests.helpers.models import UNTRAINED
from tests.helpers.scenes import random_dn, write_scene

Mmearth = Callable[..., Ran]


def test_a_model(mmearth: Mmearth) -> None:
    facts = mmearth("info", UNTRAINED, "--json").report
    assert facts["kind"] == "model"
    assert facts["trained"] is False
    assert facts["bands"][7:9] == ["B8A", "B8"]
    assert facts["outputs"][0]["stride_px"] == 16
    assert "eager PyTorch" in facts["verified"]
    text = mmearth("info", UNTRAINED).stdout
    assert "UNTRAINED" in text


def test_the_model_in_the_box(builtin_model: Path, mmearth: Mmearth) -> None:
    """By its name: what it was trained on, for how long, what it is good for."""
    facts = mmearth("info", "builtin", "--json").report
    assert facts == mmearth("info", builtin_model, "--json").report
    assert facts["trained"] is True
    assert facts["GRN"].startswith("frozen")
    assert facts["weights kept in"] == "fp16"
    assert "142 tiles" in facts["trained on"]
    assert "44 s on one H100" in facts["trained for"]
    assert facts["not good for"].startswith("Results")
    assert "Copernicus" in facts["attribution"]
    (warning,) = facts["warnings"]
    assert facts["about"] in warning


def test_a_scene(tmp_path: Path, mmearth: Mmearth) -> None:
    """Bands, level, offset with evidence, windows; and what the model misses."""
    name = "S2A_MSIL2A_20220223T033731_N0400_R061_T48QUE_20220223T073913.tif"
    scene = write_scene(tmp_path / name, random_dn(3, 90, 40), bands=["B2", "B3", "B4"])
    facts = mmearth("info", scene, "--window", 64, "--halo", 16, "--json").report
    assert facts["kind"] == "scene"
    assert facts["bands"] == ["B2", "B3", "B4"]
    assert facts["bands recognised"] == "named by the descriptions in the file"
    assert facts["product level"].startswith("l2a: S2A_MSIL2A")
    assert facts["offset"].startswith("-1000: S2A_MSIL2A")
    assert "N0400" in facts["offset"]
    assert facts["bands missing"] == [
        "B1",
        "B5",
        "B6",
        "B7",
        "B8A",
        "B8",
        "B9",
        "B11",
        "B12",
    ]
    assert facts["windows"] == "2 of 64 px, halo 16 px"
    assert facts["cells"] == "6 x 3 of 16 px"
    assert facts["CRS"] == "EPSG:32633"


def test_a_store(tmp_path: Path, mmearth: Mmearth) -> None:
    out = tmp_path / "s.zarr"
    assert mmearth("embed", "demo", "-o", out).code == 0
    facts = mmearth("info", out, "--json").report
    assert facts["kind"] == "store"
    assert facts["complete"] is True
    assert facts["shape"] == [64, 64, 64]
    assert facts["CRS"] == "EPSG:32632"
    assert facts["scene"] == "demo"
    assert facts["trained"] is False


def test_other_files(tmp_path: Path, mmearth: Mmearth) -> None:
    (tmp_path / "foreign.zarr").mkdir()
    (tmp_path / "foreign.zarr" / "zarr.json").write_text("{}")
    for path, message in [
        (tmp_path / "absent.tif", "there is no file"),
        (tmp_path / "absent.onnx", "there is no model file"),
        (tmp_path / "foreign.zarr", "not a store made by mmearth"),
    ]:
        ran = mmearth("info", path)
        assert ran.code == 1
        assert message in ran.stderr
        assert "hint: " in ran.stderr


@needs_data
@pytest.mark.parametrize(
    ("scene", "level", "cells"),
    [(MAJORTOM, "l2a", "67 x 67"), (SEN1FLOODS, "l1c", "32 x 32")],
)
def test_real_scenes(scene: Path, level: str, cells: str, mmearth: Mmearth) -> None:
    facts = mmearth("info", scene, "--json").report
    assert facts["product level"].startswith(level)
    assert facts["cells"].startswith(cells)
    assert facts["bands missing"] == []
