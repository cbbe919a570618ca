"""Where real scenes and golden outputs are looked for."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

_BESIDE = Path(__file__).resolve().parents[3] / "shared"
DATA = Path(os.environ.get("MMEARTH_TEST_DATA", _BESIDE / "data"))
GOLDEN = DATA.parent / "golden"

needs_data = pytest.mark.skipif(
    not DATA.is_dir(), reason=f"no real scenes at {DATA} (MMEARTH_TEST_DATA)"
)
needs_golden = pytest.mark.skipif(
    not GOLDEN.is_dir(), reason=f"no golden outputs at {GOLDEN} (MMEARTH_TEST_DATA)"
)

MAJORTOM = DATA / "majortom_199U_1099R.tif"
SEN1FLOODS = DATA / "sen1floods11" / "Spain_7370579_S2Hand.tif"
RSTOOLBOX = DATA / "rstoolbox" / "rstoolbox_sen2_L2A_12band.tif"
EUROSAT_CHIP = DATA / "eurosat" / "SeaLake" / "SeaLake_1.tif"
