"""Names of bands."""

import pytest

from mmearth_infer.contract.bands import BANDS, MMEARTH_BANDS, find_band


@pytest.mark.parametrize(
    ("text", "band"),
    [
        ("B1", "B1"),
        ("b01", "B1"),
        ("B8A", "B8A"),
        ("B08A", "B8A"),
        ("Band 8", "B8"),
        ("B4, central wavelength 665 nm", "B4"),
        ("B11 - SWIR", "B11"),
        ("nir08", "B8A"),
        (" Red ", "B4"),
        ("swir22", "B12"),
        ("B2_10m", "B2"),
        ("SCL", None),
        ("B13", None),
        ("B8B", None),
        ("nir8", None),
        ("", None),
    ],
)
def test_find_band(text: str, band: str | None) -> None:
    """People's names lead to one name, and other words to none."""
    assert find_band(text) == band


def test_every_band_is_found_by_each_of_its_names() -> None:
    for band in BANDS.values():
        assert find_band(band.name) == band.name
        assert find_band(band.common_name) == band.name


def test_mmearth_puts_b8a_before_b8() -> None:
    """The trap of the published data: B8A comes before B8."""
    assert MMEARTH_BANDS.index("B8A") < MMEARTH_BANDS.index("B8")
    assert "B10" not in MMEARTH_BANDS
