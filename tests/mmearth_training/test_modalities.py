"""The table against the figures of the paper and the files, typed from there."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from mmearth_training.data.statistics import is_valid
from mmearth_training.modalities import MODALITIES, MODEL_BANDS, RGB_BANDS, SETS

BANDS = "B1 B2 B3 B4 B5 B6 B7 B8A B8 B9 B10 B11 B12"
"""As stored: B8A in front of B8."""

TABLE = {
    "sentinel2": ("pixel", "continuous", 13),
    "sentinel1": ("pixel", "continuous", 8),
    "aster": ("pixel", "continuous", 2),
    "era5": ("image", "continuous", 12),
    "dynamic_world": ("pixel", "categorical", 9),
    "canopy_height_eth": ("pixel", "continuous", 2),
    "lat": ("image", "continuous", 2),
    "lon": ("image", "continuous", 2),
    "biome": ("image", "categorical", 14),
    "eco_region": ("image", "categorical", 846),
    "month": ("image", "continuous", 2),
    "esa_worldcover": ("pixel", "categorical", 11),
}


def test_names_levels_kinds_and_widths() -> None:
    found = {m.name: (m.level, m.kind, m.width) for m in MODALITIES.values()}
    assert found == TABLE


def test_bands_in_the_order_of_the_file() -> None:
    assert " ".join(MODALITIES["sentinel2"].channels) == BANDS
    assert " ".join(MODEL_BANDS) == BANDS.replace(" B10", "")
    assert RGB_BANDS == ("B2", "B3", "B4")


def test_channels_in_the_order_of_the_file() -> None:
    assert MODALITIES["sentinel1"].channels == (
        *("VV ascending", "VH ascending", "HH ascending", "HV ascending"),
        *("VV descending", "VH descending", "HH descending", "HV descending"),
    )
    assert MODALITIES["aster"].channels == ("elevation", "slope")
    assert MODALITIES["canopy_height_eth"].channels == ("height", "standard deviation")
    assert MODALITIES["era5"].channels[:5] == (
        *("previous month mean temperature", "previous month minimum temperature"),
        "previous month maximum temperature",
        "previous month total precipitation",
        "month mean temperature",
    )


def test_codes_of_classes() -> None:
    assert MODALITIES["dynamic_world"].codes == (1, 2, 3, 4, 5, 6, 7, 8, 9)
    cover = (10, 20, 30, 40, 50, 60, 70, 80, 90, 95, 100)
    assert MODALITIES["esa_worldcover"].codes == cover


@pytest.mark.parametrize(
    ("name", "dtype", "missing", "there"),
    [
        ("sentinel2", "uint16", [0], [1, 10_000]),
        ("sentinel1", "float32", [-np.inf, np.nan], [0.0, -32768.0]),
        ("aster", "int16", [-32768], [0, -1]),
        ("canopy_height_eth", "int8", [127, -1], [0, 60]),
        ("era5", "float32", [np.nan, -np.inf], [0.0, 280.0]),
        ("month", "float32", [np.nan, -np.inf], [0.0, -1.0]),
    ],
)
def test_what_is_missing(
    name: str, dtype: str, missing: list[float], there: list[float]
) -> None:
    modality = MODALITIES[name]
    assert not is_valid(np.array(missing, dtype), modality).any()
    assert is_valid(np.array(there, dtype), modality).all()


def test_sets_of_the_paper() -> None:
    every = list(TABLE)
    assert list(SETS["all"]) == every
    assert set(SETS["pixel"]) == {n for n in every if TABLE[n][0] == "pixel"}
    images = {n for n in every if TABLE[n][0] == "image"}
    assert set(SETS["image"]) == images | {"sentinel2"}
    assert SETS["s2"] == SETS["rgb"] == ("sentinel2",)


def test_torch_can_hold_what_is_stored() -> None:
    for modality in MODALITIES.values():
        assert torch.from_numpy(np.zeros(1, modality.dtype)).numel() == 1
