"""`make-dataset --aoi`: tiles of the area alone."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("h5py", reason="data sets need the `train` extra")

import h5py

from tests.conftest import Ran
from tests.helpers.areas import without_a_quarter
from tests.helpers.scenes import random_dn, write_scene


def test_what_lies_outside_is_nodata(
    tmp_path: Path, mmearth: Callable[..., Ran]
) -> None:
    """The tile beyond the area is left out, and two more lose a row or a column."""
    scene = write_scene(tmp_path / "s.tif", random_dn(height=128, width=128))
    area = without_a_quarter(tmp_path / "a.geojson", 128)
    notched = without_a_quarter(tmp_path / "b.geojson", 126)
    missing = []
    for name, options in (
        ("whole", ()),
        ("part", ("--aoi", area)),
        ("less", ("--aoi", notched)),
    ):
        ran = mmearth(
            *("make-dataset", scene, "-o", tmp_path / name, "--tile", 64),
            *("--json", *options),
        )
        assert ran.code == 0, ran.stderr
        missing.append(ran.report["missing"])
        with h5py.File(tmp_path / name / f"{name}.h5") as file:
            last = np.asarray(file["sentinel2"])
    assert missing == [0, 1, 1]
    assert (last == 0).all(axis=1).any()
