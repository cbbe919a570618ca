"""Figures of a run: the panels and lines that are asked for, and valid PNG."""

import math
import struct
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from mmearth_infer.errors import TrainingError
from mmearth_training.curves import _LABEL_GAP, _spread
from mmearth_training.history import Record
from mmearth_training.modalities import MODALITIES
from mmearth_training.plots import (
    Reconstruction,
    draw_losses,
    draw_reconstructions,
    draw_uncertainties,
    save_figure,
)

TASKS = tuple(MODALITIES)
GROUPS = list(dict.fromkeys(m.group for m in MODALITIES.values()))


def history(*tasks: str, steps: int = 3, weigh: bool = True) -> list[Record]:
    """Train and val records a step; losses are 1 / (1 + step), s_t is -step."""
    return [
        Record(
            step=step,
            epoch=step / 2,
            split=split,
            loss=-float(step),
            losses=dict.fromkeys(tasks, 1 / (1 + step)),
            log_vars=dict.fromkeys(tasks, -float(step)) if weigh else {},
            trivial=dict.fromkeys(tasks, 2.0) if split == "val" else {},
        )
        for step in range(steps)
        for split in ("train", "val")
    ]


def panels(figure: Figure) -> dict[str, Axes]:
    return {a.get_title(loc="left"): a for a in figure.axes if a.get_visible()}


def ys(axes: Axes, line: int) -> list[float]:
    return [float(y) for y in np.asarray(axes.lines[line].get_ydata())]


def check_png(figure: Figure, path: Path) -> None:
    """It is a PNG 1200 px wide, and nothing else is left beside it."""
    save_figure(figure, path)
    content = path.read_bytes()
    assert content.startswith(b"\x89PNG\r\n\x1a\n")
    assert content.endswith(b"IEND\xaeB`\x82")
    assert struct.unpack(">I", content[16:20]) == (1200,)
    assert list(path.parent.iterdir()) == [path]


def test_losses_have_a_panel_a_task(tmp_path: Path) -> None:
    figure = draw_losses(history(*reversed(TASKS)))
    assert list(panels(figure)) == ["all tasks", *TASKS]
    axes = panels(figure)["biome"]
    assert axes.get_ylabel() == "cross-entropy (nats)"
    assert ys(axes, 0) == ys(axes, 1) == [1, 1 / 2, 1 / 3]
    assert ys(axes, 2) == [2, 2]
    assert axes.lines[2].get_linestyle() == "--"
    assert axes.get_ylim()[0] == 0
    assert axes.get_xlim() == (0, 1)
    total = panels(figure)["all tasks"]
    assert ys(total, 0) == [0, -1, -2]
    assert len(total.lines) == 2
    (legend,) = figure.legends
    assert [text.get_text() for text in legend.get_texts()] == [
        *("train", "val", "trivial predictor")
    ]
    check_png(figure, tmp_path / "losses.png")


def test_uncertainties_have_a_panel_a_group(tmp_path: Path) -> None:
    figure = draw_uncertainties(history(*TASKS))
    assert list(panels(figure)) == GROUPS
    axes = panels(figure)["land cover"]
    assert [text.get_text() for text in axes.texts] == [
        *("dynamic_world", "esa_worldcover")
    ]
    for line in (1, 2):
        assert ys(axes, line) == pytest.approx([1, math.exp(-1), math.exp(-2)])
    check_png(figure, tmp_path / "uncertainties.png")


def test_values_that_are_missing_are_gaps(tmp_path: Path) -> None:
    nan = dict.fromkeys(("sentinel2", "aster"), math.nan)
    empty = Record(
        step=9,
        epoch=4.5,
        split="train",
        loss=math.nan,
        losses=nan,
        log_vars={"sentinel2": math.nan, "aster": math.nan},
        trivial=nan,
    )
    records = [*history("sentinel2"), empty]
    losses = panels(draw_losses(records))
    np.testing.assert_equal(ys(losses["sentinel2"], 0), [1, 1 / 2, 1 / 3, math.nan])
    assert ys(losses["sentinel2"], 2) == [2, 2]
    assert [text.get_text() for text in losses["aster"].texts] == ["no targets"]
    terrain = panels(draw_uncertainties(records))["terrain"]
    assert not terrain.texts
    check_png(draw_losses(records), tmp_path / "losses.png")
    check_png(draw_uncertainties(records), tmp_path / "losses.png")


def test_one_record_is_enough(tmp_path: Path) -> None:
    records = history("biome", steps=1)
    check_png(draw_losses(records), tmp_path / "run.png")
    check_png(draw_uncertainties(records), tmp_path / "run.png")


@given(st.dictionaries(st.sampled_from(TASKS), st.floats(0, 1), max_size=6))
def test_labels_do_not_meet(heights: dict[str, float]) -> None:
    """Moved apart, they keep their order and, where they were apart, their place."""
    placed = _spread(heights)
    assert placed.keys() == heights.keys()
    names = sorted(heights, key=lambda name: heights[name])
    gaps = np.diff([placed[name] for name in names])
    assert (gaps > _LABEL_GAP - 1e-9).all()
    if (np.diff([heights[name] for name in names]) > _LABEL_GAP).all():
        assert placed == pytest.approx(heights)


@pytest.mark.parametrize("draw", [draw_losses, draw_uncertainties])
def test_an_empty_history_is_refused(draw: object) -> None:
    assert callable(draw)
    with pytest.raises(TrainingError, match="the history holds no record") as caught:
        draw([])
    assert caught.value.hint == "train for a logged step or more"


def test_tasks_that_weigh_equally_have_no_uncertainties() -> None:
    with pytest.raises(TrainingError, match="holds no task uncertainties") as caught:
        draw_uncertainties(history("biome", weigh=False))
    assert caught.value.hint == "train with uncertainty weighting to learn them"


@pytest.mark.parametrize("draw", [draw_losses, draw_uncertainties])
def test_a_task_that_is_no_modality_is_refused(draw: object) -> None:
    assert callable(draw)
    with pytest.raises(TrainingError, match="names the task `weather`") as caught:
        draw(history("biome", "weather"))
    assert caught.value.hint == "draw it with the version that wrote it"


def sample(*tasks: str) -> list[Reconstruction]:
    """Noise, with a missing corner and a hidden one."""
    side_px = 16
    rng = np.random.default_rng(0)
    hidden_HW = np.zeros((side_px, side_px), np.bool_)
    hidden_HW[8:] = True
    drawn = []
    for task in tasks:
        values = rng.integers(3, size=(2, side_px, side_px)) * 1.0
        if MODALITIES[task].kind == "continuous":
            channels = MODALITIES[task].width
            values = rng.normal(size=(2, channels, side_px, side_px))
        values[0, ..., :4, :4] = np.nan
        drawn.append(
            Reconstruction(
                task=task,
                target=values[0].astype(np.float32),
                prediction=values[1].astype(np.float32),
                hidden_HW=hidden_HW,
            )
        )
    return drawn


def test_reconstructions_have_three_panels_a_task(tmp_path: Path) -> None:
    tasks = ("sentinel2", "dynamic_world", "esa_worldcover")
    figure = draw_reconstructions([sample(*tasks), sample("sentinel1")])
    shown = [axes for axes in figure.axes if axes.images]
    assert len(shown) == 3 * 4
    assert [a.get_title(loc="left") for a in shown[:6]] == [
        *("sentinel2: target", "visible patches", "with prediction"),
        *("dynamic_world: target", "visible patches", "with prediction"),
    ]
    labels = [a.get_ylabel() for a in figure.axes if a.get_ylabel()]
    assert labels == ["sample 1", "sample 2"]
    (legend,) = figure.legends
    assert [text.get_text().strip() for text in legend.get_texts()] == [
        *("hidden from the encoder", "missing"),
        *("dynamic_world", "water", "trees", "grass"),
        *("esa_worldcover", "tree cover", "shrubland", "grassland"),
    ]
    check_png(figure, tmp_path / "reconstructions.png")


@pytest.mark.parametrize("samples", [[], [[]]])
def test_no_reconstruction_is_refused(samples: list[list[Reconstruction]]) -> None:
    with pytest.raises(TrainingError, match="no reconstruction to draw") as caught:
        draw_reconstructions(samples)
    assert caught.value.hint == "give a sample or more, each with a pixel-level task"


def test_a_picture_that_cannot_be_written_is_refused(tmp_path: Path) -> None:
    figure = draw_losses(history("biome", steps=1))
    with pytest.raises(TrainingError, match="cannot write the picture `") as caught:
        save_figure(figure, tmp_path / "nowhere" / "losses.png")
    assert caught.value.hint == "check the free space and the rights of the folder"
