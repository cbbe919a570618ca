"""The pictures of the docs are what the commands beside them make."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from matplotlib.image import imread

from tests.helpers.data import MAJORTOM, needs_data
from tests.helpers.markdown import blocks, typed

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.conftest import Ran

PICTURES = Path(__file__).resolve().parents[2] / "docs" / "pictures"
LINES = [line for block in blocks(PICTURES / "README.md") for line in typed(block)]


@pytest.mark.usefixtures("builtin_model")
@pytest.mark.parametrize(
    "scene",
    [
        pytest.param("demo", id="demo"),
        pytest.param("thailand", id="thailand", marks=needs_data),
    ],
)
def test_a_picture_is_made_again(
    scene: str,
    tmp_path: Path,
    mmearth: Callable[..., Ran],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Equal to one grey value or so: libraries differ in the last digits."""
    monkeypatch.chdir(tmp_path)
    if MAJORTOM.exists():
        Path(MAJORTOM.name).symlink_to(MAJORTOM)
    for line in LINES:
        if f"{scene}.zarr" in line.words:
            ran = mmearth(*line.words[1:])
            assert ran.code == 0, ran.stderr
    made = list(tmp_path.glob("*.png"))
    assert made
    for picture in made:
        kept, again = imread(PICTURES / picture.name), imread(picture)
        assert kept.shape == again.shape
        assert np.abs(kept - again).mean() < 1 / 255, picture.name


def test_every_picture_has_its_command_and_is_shown() -> None:
    page = (PICTURES / "README.md").read_text()
    made = {word for line in LINES for word in line.words if word.endswith(".png")}
    assert made == {path.name for path in PICTURES.glob("*.png")}
    assert all(f"]({name})" in page for name in made)
