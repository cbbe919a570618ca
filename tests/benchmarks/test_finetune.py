"""The benchmark of fine-tuning runs, so that it does not rot."""

from __future__ import annotations

import pytest

pytest.importorskip("torchmetrics", reason="fine-tuning needs the train extra")

from tests.benchmarks import finetune_floods
from tests.helpers.data import SEN1FLOODS, needs_data


@needs_data
def test_water_by_a_threshold(capsys: pytest.CaptureFixture[str]) -> None:
    """An index that water is known by is better than nothing."""
    finetune_floods.main(SEN1FLOODS.parent, [])
    rows = [line.split() for line in capsys.readouterr().out.splitlines()[2:]]
    means = {row[0]: float(row[-2]) for row in rows}
    assert means["NDWI"] > 0.7 > means["all"]
