"""From a file's values to digital numbers."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from mmearth_infer.errors import SceneError
from mmearth_infer.grid.validity import present, valid_share
from mmearth_infer.read.digital import check_values, to_dn

raw_dn = arrays(np.uint16, (3, 4, 5))


@given(raw_dn)
def test_offset_subtracts_and_floors_at_1(raw: np.ndarray) -> None:
    """0 stays nodata, and nothing else becomes 0."""
    dn = to_dn(raw, nodata=None, scale=None, offset_dn=-1000)
    expected = np.where(raw == 0, 0, np.maximum(raw.astype(int) - 1000, 1))
    np.testing.assert_array_equal(dn, expected)
    assert dn.dtype == np.uint16


@given(raw_dn)
def test_plain_numbers_stay_as_they_are(raw: np.ndarray) -> None:
    assert to_dn(raw, nodata=0, scale=None, offset_dn=0) is raw


@given(raw_dn, st.integers(1, 65535))
def test_any_nodata_becomes_0(raw: np.ndarray, nodata: int) -> None:
    dn = to_dn(raw, nodata=nodata, scale=None, offset_dn=0)
    np.testing.assert_array_equal(dn == 0, (raw == 0) | (raw == nodata))


def test_the_parts_it_works_in_do_not_show(monkeypatch: pytest.MonkeyPatch) -> None:
    """Large arrays are converted part by part, of any shape and memory order."""
    raw = np.random.default_rng(0).integers(0, 9000, (3, 17, 11), dtype=np.uint16)
    turned = raw.transpose(2, 0, 1)
    whole = to_dn(turned, nodata=8, scale=None, offset_dn=-1000)
    monkeypatch.setattr("mmearth_infer.read.digital._PART", 7)
    parts = to_dn(turned, nodata=8, scale=None, offset_dn=-1000)
    np.testing.assert_array_equal(parts, whole)
    missing = (turned == 0) | (turned == 8)
    expected = np.where(missing, 0, np.maximum(turned.astype(int) - 1000, 1))
    np.testing.assert_array_equal(whole, expected)


def test_other_types() -> None:
    """Signed numbers floor at 1, large ones clip, NaN and infinity are nodata."""
    signed = np.array([-9999, -5, 0, 7, 32000], dtype=np.int16)
    dn = to_dn(signed, nodata=-9999, scale=None, offset_dn=0)
    assert dn.tolist() == [0, 1, 0, 7, 32000]
    wide = np.array([70_000, 1], dtype=np.int32)
    assert to_dn(wide, nodata=None, scale=None, offset_dn=0).tolist() == [65535, 1]
    real = np.array([np.nan, np.inf, 0.0, -0.01, 0.00001, 0.1234, 9.0], dtype="f4")
    dn = to_dn(real, nodata=float("nan"), scale=10_000, offset_dn=0)
    assert dn.tolist() == [0, 0, 0, 1, 1, 1234, 65535]


@given(arrays(np.uint16, (2, 3), elements=st.integers(0, 10_000)))
def test_reflectance_comes_back_as_digital_numbers(dn: np.ndarray) -> None:
    reflectance = (dn / 10_000).astype(np.float32)
    back = to_dn(reflectance, nodata=None, scale=10_000, offset_dn=0)
    np.testing.assert_array_equal(back, dn)


@pytest.mark.parametrize(
    ("values", "message", "scale"),
    [
        (np.array([0.01, 0.4], dtype="f4"), "float32 values from 0.01 to 0.4", 10_000),
        (np.array([100.5, 4000.25], dtype="f8"), "not digital numbers", 1),
        (np.array([3, 250], dtype="u1"), "uint8 pixels", 40),
    ],
)
def test_values_that_are_no_digital_numbers(
    values: np.ndarray, message: str, scale: float
) -> None:
    """Refused with a hint at the scale that helps."""
    with pytest.raises(SceneError, match=message) as error:
        check_values(values, scale=None, source="f")
    assert "--scale" in str(error.value.hint)
    check_values(values, scale=scale, source="f")


def test_a_scale_that_saturates_is_refused() -> None:
    with pytest.raises(SceneError, match="past 65535"):
        check_values(np.array([300, 2000], dtype="u2"), scale=10_000, source="f")


@pytest.mark.parametrize("scale", [None, 10_000])
def test_fill_values_that_are_not_called_nodata(scale: float | None) -> None:
    with pytest.raises(SceneError, match="down to -9999") as error:
        check_values(np.array([-9999, 5], dtype="i2"), scale=scale, source="f")
    assert "--nodata -9999" in str(error.value.hint)


def test_digital_numbers_in_floats_pass() -> None:
    check_values(np.array([1.0, 4000.0], dtype="f4"), scale=None, source="f")
    check_values(np.array([], dtype="f4"), scale=None, source="f")


@pytest.mark.parametrize("scale", [0.0, -1.0, float("nan"), float("inf")])
def test_a_scale_that_cannot_be(scale: float) -> None:
    with pytest.raises(SceneError, match="--scale"):
        check_values(np.array([1]), scale=scale, source="f")


def test_valid_share_counts_pixels_with_any_band() -> None:
    dn = np.zeros((2, 4, 6), dtype=np.uint16)
    dn[0, 0, 0] = dn[1, 0, 0] = dn[1, 1, 1] = 5
    dn[0, 2:, 4:] = 1
    expected = [[0.5, 0, 0], [0, 0, 1]]
    np.testing.assert_array_equal(valid_share(present(dn), 2), np.float32(expected))
