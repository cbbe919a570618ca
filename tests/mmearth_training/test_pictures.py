"""Reconstructions as colours: what is shown where, and on which scale."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.colors import to_rgb
from numpy.typing import NDArray

from mmearth_infer.errors import TrainingError
from mmearth_training.modalities import MODALITIES
from mmearth_training.pictures import (
    HIDDEN,
    MISSING,
    PALETTES,
    Pictures,
    Reconstruction,
    make_pictures,
)

SIDE_PX = 8
TASKS = [m.name for m in MODALITIES.values() if m.level == "pixel"]
STRIPES = [to_rgb(colour) for colour in MISSING]


def reconstruct(
    task: str, seed: int = 0, *, missing: float = 0.0, channels: int | None = None
) -> Reconstruction:
    """Random values of a task, some missing, every second row hidden."""
    rng = np.random.default_rng(seed)
    shape: tuple[int, ...] = (SIDE_PX, SIDE_PX)
    modality = MODALITIES[task]
    if modality.kind == "continuous":
        shape = (channels or modality.width, *shape)
        target, prediction = rng.normal(size=(2, *shape))
    else:
        target, prediction = rng.integers(modality.width, size=(2, *shape)) * 1.0
    target[rng.random(shape) < missing] = np.nan
    return Reconstruction(
        task=task,
        target=target.astype(np.float32),
        prediction=prediction.astype(np.float32),
        hidden_HW=rng.random((SIDE_PX, SIDE_PX)) < 0.5,
    )


def is_striped(colours_HW3: NDArray[np.float32]) -> NDArray[np.bool_]:
    first, second = (np.isclose(colours_HW3, stripe).all(-1) for stripe in STRIPES)
    return np.asarray(first | second, np.bool_)


@given(st.sampled_from(TASKS), st.integers(0, 2**32), st.sampled_from([0.0, 0.3, 1.0]))
def test_each_panel_shows_its_part(task: str, seed: int, missing: float) -> None:
    """Where visible, `visible` and `pasted` are `target`; where hidden, `visible` is
    `HIDDEN` and `pasted` the prediction on the scale of the target.
    """
    given_ = reconstruct(task, seed, missing=missing)
    pictures = make_pictures(given_)
    hidden_HW = given_.hidden_HW
    for part in (pictures.visible, pictures.pasted):
        np.testing.assert_array_equal(part[~hidden_HW], pictures.target[~hidden_HW])
    assert np.allclose(pictures.visible[hidden_HW], to_rgb(HIDDEN))
    for part in (pictures.target, pictures.visible, pictures.pasted):
        assert part.shape == (SIDE_PX, SIDE_PX, 3)
        assert part.min() >= 0
        assert part.max() <= 1

    exact = Reconstruction(
        task=task,
        target=given_.target,
        prediction=given_.target,
        hidden_HW=hidden_HW,
    )
    np.testing.assert_array_equal(make_pictures(exact).pasted, pictures.target)


@pytest.mark.parametrize("task", TASKS)
def test_what_is_missing_is_striped(task: str) -> None:
    whole = make_pictures(reconstruct(task, missing=1.0))
    assert is_striped(whole.target).all()
    assert not is_striped(whole.pasted).all()


@pytest.mark.parametrize("task", PALETTES)
def test_classes_have_their_published_colour(task: str) -> None:
    names = MODALITIES[task].channels
    assert len(PALETTES[task]) == len(names)
    numbers_HW = np.arange(len(names), dtype=np.float32)[None]
    pictures = make_pictures(
        Reconstruction(
            task=task,
            target=numbers_HW,
            prediction=numbers_HW,
            hidden_HW=np.zeros(numbers_HW.shape, np.bool_),
        )
    )
    assert pictures.classes == tuple(range(len(names)))
    water = next(n for n, name in enumerate(names) if "water" in name)
    assert np.allclose(pictures.target[0, water], to_rgb(PALETTES[task][water]))


def test_classes_are_those_that_are_seen() -> None:
    """The prediction counts where it is shown, in hidden patches only."""
    pictures = make_pictures(
        Reconstruction(
            task="dynamic_world",
            target=np.asarray([[1, np.nan, 4]], np.float32),
            prediction=np.asarray([[0, 8, 7]], np.float32),
            hidden_HW=np.asarray([[False, True, False]]),
        )
    )
    assert pictures.classes == (1, 4, 8)


@pytest.mark.parametrize(
    ("count", "rows"), [(13, (3, 2, 1)), (12, (3, 2, 1)), (3, (2, 1, 0))]
)
def test_bands_are_found_by_name(count: int, rows: tuple[int, ...]) -> None:
    """Red is B4 in the stored 13 bands, the 12 of the models and the 3 of `rgb`."""
    given_ = reconstruct("sentinel2", channels=count)
    pictures = make_pictures(given_)
    assert pictures.caption == "B4 red, B3 green, B2 blue"
    for colour, row in enumerate(rows):
        low, high = np.percentile(given_.target[row], (2, 98))
        np.testing.assert_allclose(
            pictures.target[..., colour],
            ((given_.target[row] - low) / (high - low)).clip(0, 1),
            atol=1e-5,
        )


def radar(*, orbit: str) -> Pictures:
    given_ = reconstruct("sentinel1")
    names = MODALITIES["sentinel1"].channels
    rows = [row for row, name in enumerate(names) if not name.endswith(orbit)]
    given_.target[rows] = np.nan
    return make_pictures(given_)


def test_the_orbit_that_was_measured_is_shown() -> None:
    ascending, descending = (radar(orbit=o) for o in ("ascending", "descending"))
    assert ascending.caption == "VV ascending magenta, VH ascending green"
    assert descending.caption == "VV descending magenta, VH descending green"
    assert not is_striped(descending.target).any()


def test_a_flat_target_is_not_stretched_to_noise() -> None:
    flat = np.full((2, SIDE_PX, SIDE_PX), 0.5, np.float32)
    pictures = make_pictures(
        Reconstruction(
            task="aster",
            target=flat,
            prediction=flat + 1e-6,
            hidden_HW=np.ones((SIDE_PX, SIDE_PX), np.bool_),
        )
    )
    assert np.abs(pictures.pasted - pictures.target).max() < 0.01


def test_a_task_without_pixels_is_refused() -> None:
    zeros = np.zeros((2, 2), np.float32)
    with pytest.raises(TrainingError, match="`era5` has no pixels to draw") as caught:
        Reconstruction(task="era5", target=zeros, prediction=zeros, hidden_HW=zeros > 0)
    pixels = ", ".join([*TASKS, "indices"])
    assert caught.value.hint == f"pixel-level tasks are {pixels}"


def test_shapes_that_do_not_match_are_refused() -> None:
    zeros = np.zeros((2, 4, 4), np.float32)
    with pytest.raises(TrainingError, match=r"of `aster` are not `\(2, 4, 8\)`") as got:
        Reconstruction(
            task="aster",
            target=zeros,
            prediction=zeros,
            hidden_HW=np.zeros((4, 8), np.bool_),
        )
    assert got.value.hint == "give (C, H, W) of the channels, or (H, W) class numbers"


@pytest.mark.parametrize("number", [-1, 9])
def test_a_class_that_is_none_is_refused(number: int) -> None:
    numbers = np.full((1, 1), number, np.float32)
    with pytest.raises(TrainingError, match=f"no class number `{number}`") as caught:
        make_pictures(
            Reconstruction(
                task="dynamic_world",
                target=numbers,
                prediction=numbers,
                hidden_HW=numbers > 0,
            )
        )
    assert caught.value.hint == "classes are numbered 0 to 8, missing ones NaN"


def test_channels_without_the_shown_ones_are_refused() -> None:
    zeros = np.zeros((1, 2, 2), np.float32)
    with pytest.raises(TrainingError, match="but has no `B4`") as caught:
        make_pictures(
            Reconstruction(
                task="sentinel2",
                target=zeros,
                prediction=zeros,
                hidden_HW=zeros[0] > 0,
                channels=("B8",),
            )
        )
    assert (
        caught.value.hint == "name the channels of the reconstruction, or leave it out"
    )
