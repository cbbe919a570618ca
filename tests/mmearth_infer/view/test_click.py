"""A click in the window becomes a place, and the picture of what resembles it."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import rasterio

pytest.importorskip("matplotlib", reason="the window needs the `view` extra")

from matplotlib import pyplot as plt
from matplotlib.backend_bases import MouseEvent
from matplotlib.figure import Figure

from mmearth_infer.errors import StoreError
from mmearth_infer.view.click import ASKING, check_display
from tests.conftest import Ran
from tests.mmearth_infer.view.stores import Map, features, write_store

Mmearth = Callable[..., Ran]


def press(figure: Figure, panel: int, x: float, y: float) -> None:
    """Press the left button at a place of a panel, as a window system tells it."""
    at = figure.axes[panel].transData.transform((x, y))
    event = MouseEvent("button_press_event", figure.canvas, *at, button=1)
    figure.canvas.callbacks.process(event.name, event)


@pytest.fixture
def store(tmp_path: Path) -> Path:
    """7 x 9 cells of 160 m from 600000,5300000; the upper left ones are empty."""
    return write_store(tmp_path / "s.zarr", Map(features_Dhw=features()))


@pytest.fixture
def clicks(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, float, float]]:
    """What is clicked while the window is open; matplotlib draws without a display."""
    places: list[tuple[int, float, float]] = []

    def show() -> None:
        figure = plt.gcf()
        figure.canvas.draw()
        for place in places:
            press(figure, *place)
            figure.canvas.draw()

    plt.switch_backend("agg")
    monkeypatch.setattr("mmearth_infer.view.draw.check_display", lambda: None)
    monkeypatch.setattr(plt, "show", show)
    return places


def pixels(path: Path) -> np.ndarray:
    with rasterio.open(path) as file:
        read: np.ndarray = file.read()
    return read


def test_the_last_click_is_drawn(
    store: Path,
    clicks: list[tuple[int, float, float]],
    tmp_path: Path,
    mmearth: Mmearth,
) -> None:
    """As --similar-to draws it; either panel takes clicks, at any zoom."""
    clicks += [(0, 600_900, 5_299_500), (1, 601_040, 5_299_120)]
    out, plain = tmp_path / "clicked.png", tmp_path / "typed.png"
    ran = mmearth("view", store, "-o", out, "--click", "--zoom", 3, "--json")
    assert ran.code == 0, ran.stderr
    x, y = map(float, ran.report["similar_to"].split(","))
    assert (x, y) == pytest.approx((601_040, 5_299_120))
    assert ran.report["shown"] == "similarity"
    typed = ("--similar-to", "601040,5299120", "--zoom", 3)
    assert mmearth("view", store, "-o", plain, *typed).code == 0
    np.testing.assert_array_equal(pixels(out), pixels(plain))
    right = plt.gcf().axes[1]
    assert right.get_title().startswith("likeness to 601040,5299120")
    shown = np.asarray(right.images[0].get_array())
    np.testing.assert_array_equal(shown.transpose(2, 0, 1), pixels(plain)[:, ::3, ::3])


def test_an_empty_place_is_said_and_not_taken(
    store: Path,
    clicks: list[tuple[int, float, float]],
    tmp_path: Path,
    mmearth: Mmearth,
) -> None:
    clicks += [(0, 600_010, 5_299_990)]
    ran = mmearth("view", store, "-o", tmp_path / "p.png", "--click")
    assert "holds no data" in plt.gcf().axes[1].get_title()
    assert ran.code == 1
    assert ran.stderr.splitlines()[0] == "error: no place was clicked"
    assert not (tmp_path / "p.png").exists()


def test_a_click_beside_the_picture_is_none(
    store: Path,
    clicks: list[tuple[int, float, float]],
    tmp_path: Path,
    mmearth: Mmearth,
) -> None:
    clicks += [(0, 500_000, 5_299_000)]
    ran = mmearth("view", store, "-o", tmp_path / "p.png", "--click")
    assert ran.code == 1
    assert plt.gcf().axes[1].get_title() == ASKING


def test_without_a_display(
    store: Path, tmp_path: Path, mmearth: Mmearth, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two lines, and nothing is read or written."""
    plt.switch_backend("agg")
    ran = mmearth("view", store, "-o", tmp_path / "p.png", "--click")
    assert ran.code == 1
    first, second = ran.stderr.splitlines()
    assert first.startswith("error: no window can be opened: matplotlib draws with")
    assert second == "hint: --similar-to X,Y draws the same without a window"
    assert not (tmp_path / "p.png").exists()

    def headless() -> None:
        raise ImportError("Cannot load backend 'TkAgg'")

    monkeypatch.setattr(plt, "figure", headless)
    with pytest.raises(StoreError, match="Cannot load backend 'TkAgg'"):
        check_display()


@pytest.mark.parametrize(
    "others", [("--similar-to", "1,2"), ("--save-basis", "b.json")]
)
def test_what_goes_with_it(others: tuple[str, ...], mmearth: Mmearth) -> None:
    assert mmearth("view", "s.zarr", "-o", "p.png", "--click", *others).code == 2
