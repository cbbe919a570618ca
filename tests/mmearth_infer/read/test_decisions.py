"""Band names, product level, offset: the decisions about a scene."""

import numpy as np
import pytest

from mmearth_infer.contract.bands import L1C_BANDS, L2A_BANDS
from mmearth_infer.errors import BandError, SceneError
from mmearth_infer.read.naming import name_bands, pick_bands
from mmearth_infer.read.offset import darkest_dn, decide_offset
from mmearth_infer.read.options import OffsetChoice, parse_bands
from mmearth_infer.read.product import decide_level, product_facts

OLD = "S2A_MSIL2A_20200223T033731_N0214_R061_T48QUE_20200223T073913"
NEW = "S2B_MSIL1C_20220223T033731_N0400_R061_T48QUE_20220223T073913"


class TestNaming:
    """Which band is which."""

    def test_descriptions_in_any_order(self) -> None:
        naming = name_bands(["B04", "SCL", "nir", "B2, blue"], (), source="f")
        assert naming.index == {"B4": 1, "B8": 3, "B2": 4}
        assert pick_bands(naming, ["B2", "B4"], source="f") == [4, 1]

    def test_the_users_word_comes_first(self) -> None:
        naming = name_bands(["B04", "B03"], ("B8", "-"), source="f")
        assert naming.index == {"B8": 1}

    @pytest.mark.parametrize("order", [L1C_BANDS, L2A_BANDS])
    def test_unnamed_full_sets_are_taken_in_product_order(
        self, order: tuple[str, ...]
    ) -> None:
        """And a warning says so: B8A after B8, unlike MMEarth's own files."""
        naming = name_bands([None] * len(order), (), source="f")
        assert tuple(naming.index) == order
        assert naming.warning is not None

    def test_other_unnamed_sets_are_refused(self) -> None:
        with pytest.raises(BandError, match="the 4 bands of `f` have no names"):
            name_bands([None] * 4, (), source="f")

    def test_a_name_that_comes_twice_is_refused(self) -> None:
        with pytest.raises(BandError, match="bands 1 and 2 of `f`"):
            name_bands(["B02", "blue"], (), source="f")

    def test_bands_that_are_merely_counted_have_no_names(self) -> None:
        """`Band 1`, `Band 2`, ... is what some tools call the bands of any file."""
        with pytest.raises(BandError, match="the 4 bands of `f` have no names"):
            name_bands([f"Band {n}" for n in range(1, 5)], (), source="f")
        assert name_bands(["Band 4", "Band 3"], (), source="f").index["B4"] == 1

    def test_the_number_of_names_must_fit(self) -> None:
        with pytest.raises(BandError, match="names 1 bands, `f` has 2"):
            name_bands([None, None], ("B2",), source="f")

    def test_missing_bands_are_all_named(self) -> None:
        naming = name_bands(["B04"], (), source="f")
        with pytest.raises(BandError, match="lacks B2, B3") as error:
            pick_bands(naming, ["B2", "B3", "B4"], source="f")
        assert "it has B4" in str(error.value.hint)

    def test_parse_bands(self) -> None:
        assert parse_bands("B02, -,nir08,-") == ("B2", "-", "B8A", "-")
        with pytest.raises(BandError, match="`B99`"):
            parse_bands("B99")
        with pytest.raises(BandError, match="B2 twice"):
            parse_bands("B2,blue")


class TestLevel:
    """L1C or L2A."""

    @pytest.mark.parametrize(
        ("name", "tags", "bands", "level"),
        [
            (f"{OLD}.tif", {}, ["B2"], "l2a"),
            (f"{NEW}.tif", {}, ["B2"], "l1c"),
            ("x.tif", {"PRODUCT_URI": f"{NEW}.SAFE"}, ["B2"], "l1c"),
            ("x.tif", {"product_type": "S2MSI2A"}, ["B2"], "l2a"),
            ("x.tif", {"PROCESSING_LEVEL": "Level-1C"}, ["B2"], "l1c"),
            ("x.tif", {}, L1C_BANDS, "l1c"),
            ("x.tif", {}, L2A_BANDS, "l2a"),
        ],
    )
    def test_by_evidence(
        self, name: str, tags: dict[str, str], bands: list[str], level: str
    ) -> None:
        facts = product_facts(name, tags)
        assert decide_level("auto", facts, bands, source="f")[0] == level

    def test_the_users_word_comes_first(self) -> None:
        facts = product_facts(f"{OLD}.tif", {})
        assert decide_level("l1c", facts, L2A_BANDS, source="f")[0] == "l1c"

    def test_without_evidence_it_is_refused(self) -> None:
        with pytest.raises(SceneError, match="L1C or L2A") as error:
            decide_level("auto", product_facts("x", {}), ["B2", "B3"], source="f")
        assert "--product" in str(error.value.hint)


def offset_of(
    asked: OffsetChoice = "auto",
    *,
    name: str = "x.tif",
    tags: dict[str, str] | None = None,
    band_offsets: tuple[float, ...] = (0.0,),
    darkest: float | None = 200.0,
) -> int:
    return decide_offset(
        asked,
        tags=tags or {},
        facts=product_facts(name, tags or {}),
        band_offsets=band_offsets,
        darkest_dn=darkest,
        source="f",
    ).dn


class TestOffset:
    """The +1000 of baseline 04.00."""

    def test_order_of_evidence(self) -> None:
        """User, XML tags, baseline, band offsets; the first that speaks decides."""
        boa = {"BOA_ADD_OFFSET": "-1000"}
        assert offset_of(tags=boa) == -1000
        assert offset_of("none", tags=boa) == 0
        assert offset_of("-1000", tags={"BOA_ADD_OFFSET": "0"}) == -1000
        assert offset_of(name=f"{OLD}.tif", tags=boa) == -1000
        assert offset_of(tags={"RADIO_ADD_OFFSET_B1": "-1000"}) == -1000
        assert offset_of(name=f"{NEW}.tif") == -1000
        assert offset_of(name=f"{OLD}.tif", band_offsets=(-1000.0,)) == 0
        assert offset_of(tags={"s2:processing_baseline": "05.09"}) == -1000
        assert offset_of(tags={"processing:version": "02.14"}) == 0
        assert offset_of(band_offsets=(-1000.0, -1000.0)) == -1000
        assert offset_of() == 0

    def test_bright_pixels_alone_are_refused(self) -> None:
        """Never in silence: the user decides, and any metadata would have."""
        with pytest.raises(SceneError, match="darker than 1044") as error:
            offset_of(darkest=1044)
        assert "--offset -1000" in str(error.value.hint)
        assert offset_of("none", darkest=1044) == 0
        assert offset_of(name=f"{OLD}.tif", darkest=1044) == 0
        assert offset_of(darkest=None) == 0

    def test_a_band_offset_that_is_no_number_says_nothing(self) -> None:
        assert offset_of(band_offsets=(float("nan"),)) == 0

    @pytest.mark.parametrize("text", ["-200", "many"])
    def test_an_offset_no_product_has_is_refused(self, text: str) -> None:
        with pytest.raises(SceneError, match="products have 0 or -1000"):
            offset_of(tags={"BOA_ADD_OFFSET": text})

    def test_mixed_band_offsets_are_refused(self) -> None:
        with pytest.raises(SceneError, match="-1000, 0"):
            offset_of(band_offsets=(0.0, -1000.0))

    def test_darkest(self) -> None:
        """The lowest of the bands' first percentiles, nodata left out."""
        pixels = np.tile(np.arange(2000, dtype=np.uint16), (2, 1))
        pixels[1] += 500
        assert darkest_dn(pixels) == pytest.approx(np.percentile(range(1, 2000), 1))
        assert darkest_dn(pixels[:, :0]) is None
        assert darkest_dn(np.zeros_like(pixels)) is None
