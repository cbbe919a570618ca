"""Draws without state, standardised values, batches in order."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from mmearth_infer.errors import DataError
from mmearth_training.config import changed
from mmearth_training.data.draws import Key, draw_look, epoch_order
from mmearth_training.data.folder import open_folder
from mmearth_training.data.loader import Samples, Schedule, held_out, iterate
from mmearth_training.loop import open_samples
from mmearth_training.modalities import INPUT, MODALITIES, STORED_BANDS

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from mmearth_training.config import Recipe
    from mmearth_training.run import RunConfig


@given(
    row=st.integers(0, 10**7),
    epoch=st.none() | st.integers(0, 500),
    slack=st.integers(0, 20),
)
def test_a_look_is_decided_by_its_key(row: int, epoch: int | None, slack: int) -> None:
    def draw(seed: int) -> tuple[int, int, list[int]]:
        look = draw_look(
            Key(row=row, epoch=epoch),
            seed=seed,
            slack_px=slack,
            patches=49,
            visible=19,
        )
        return look.top_px, look.left_px, look.visible_V.tolist()

    top, left, visible = draw(3)
    assert (top, left, visible) == draw(3)
    assert visible != draw(4)[2]
    assert 0 <= top <= slack
    assert 0 <= left <= slack
    assert visible == sorted(set(visible))
    assert len(visible) == 19


def test_masks_and_crops_are_even() -> None:
    """Every patch is as often visible, every corner of the crop as likely."""
    looks = [
        draw_look(Key(row=r, epoch=0), seed=0, slack_px=3, patches=49, visible=19)
        for r in range(2000)
    ]
    seen = np.bincount(np.concatenate([look.visible_V for look in looks]), minlength=49)
    assert abs(seen / 2000 - 19 / 49).max() < 0.05
    tops = np.bincount([look.top_px for look in looks], minlength=4)
    assert (tops > 400).all()


@given(
    rows=st.lists(st.integers(0, 99), min_size=12, max_size=40, unique=True),
    processes=st.sampled_from([1, 2, 3]),
    start=st.integers(0, 3),
)
def test_samples_do_not_depend_on_the_processes(
    rows: list[int], processes: int, start: int
) -> None:
    """Laid side by side, the micro batches of all processes are those of one."""

    def plan(micro: int) -> Schedule:
        return Schedule(rows=tuple(rows), seed=1, batch=6, micro_batch=micro, epochs=3)

    one = [k for keys in plan(6).micro_batches(start) for k in keys]
    shared = plan(6 // processes)
    parts = [
        list(shared.micro_batches(start, rank=rank, processes=processes))
        for rank in range(processes)
    ]
    joint = [k for keys in zip(*parts, strict=True) for part in keys for k in part]
    assert joint == one
    epoch = [k.row for k in one if k.epoch == 2]
    assert len(set(epoch)) == len(epoch) == len(rows) // 6 * 6


def test_an_epoch_of_several_looks_holds_every_one_once() -> None:
    """Each row as often as it is looked at, no look twice in the whole run."""
    schedule = Schedule(
        rows=(3, 5, 8), seed=1, batch=4, micro_batch=4, epochs=2, looks=4
    )
    assert schedule.steps == 6
    keys = [key for keys in schedule.micro_batches(0) for key in keys]
    assert {(key.row, key.epoch) for key in keys} == {
        (row, look) for row in (3, 5, 8) for look in range(8)
    }
    assert {key.epoch for key in keys[:12]} == {0, 1, 2, 3}
    assert len(keys) == 24


def test_an_epoch_holds_every_row_once() -> None:
    assert sorted(epoch_order(range(50), seed=0, epoch=1)) == [*range(50)]
    first, second = (list(epoch_order(range(50), seed=0, epoch=e)) for e in (0, 1))
    assert first != second


def test_a_batch_by_hand(
    small_data: Path, run_config: Callable[..., RunConfig]
) -> None:
    """Crop, band order, statistics of the level, nodata, classes: from the file."""
    folder = open_folder(small_data)
    samples = open_samples(run_config(), folder)
    (batch,) = iterate(samples, held_out(tuple(range(14)), 14), workers=0)
    tiles = folder.open()
    stored = tiles.read(range(14), tuple(MODALITIES))
    levels = tiles.levels(range(14))
    for number, (row, level) in enumerate(zip(range(14), levels, strict=True)):
        look = draw_look(
            Key(row=row, epoch=None), seed=0, slack_px=8, patches=49, visible=19
        )
        window = np.s_[look.top_px : look.top_px + 56, look.left_px : look.left_px + 56]
        statistics = folder.statistics[f"{INPUT}_{level}"]
        band = STORED_BANDS.index("B8")
        plane = stored[INPUT][number, band][window].astype(float)
        mean, std = statistics.mean[band], statistics.std[band]
        assert mean is not None
        assert std is not None
        expected = np.where(plane == 0, np.nan, (plane - mean) / std)
        place = [b for b in STORED_BANDS if b != "B10"].index("B8")
        found = batch.targets[INPUT][number, place].numpy()
        np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)
        seen = batch.x_NBhw[number, place].numpy()
        np.testing.assert_array_equal(seen, np.nan_to_num(found, nan=0.0))
        classes = stored["esa_worldcover"][number][window]
        codes = np.array((-1, *MODALITIES["esa_worldcover"].codes))
        names = batch.targets["esa_worldcover"][number].numpy()
        known = names >= 0
        np.testing.assert_array_equal(codes[names[known] + 1], classes[known])
        assert not np.isin(classes[~known], codes).any()
        assert np.array_equal(batch.visible_NV[number], look.visible_V)
    tiles.close()
    corner = samples.standardise(INPUT, stored[INPUT][:1], levels[:1])[0, :, :6, :8]
    assert np.isnan(corner[:, :5, :7]).all()
    assert not np.isnan(corner[:, 5]).any()
    assert torch.isnan(batch.targets["canopy_height_eth"]).any()
    both = torch.cat((batch.visible_NV, batch.hidden_NU), 1).sort(1).values
    assert torch.equal(both, torch.arange(49).expand(14, -1))


def test_workers_change_nothing(
    small_data: Path, run_config: Callable[..., RunConfig]
) -> None:
    """And the file is opened in the worker, not here."""
    samples = open_samples(run_config(), open_folder(small_data))
    (there,) = iterate(samples, held_out((3, 1), 2), workers=1)
    assert samples.tiles is None
    (here,) = iterate(samples, held_out((3, 1), 2), workers=0)
    assert torch.equal(there.x_NBhw, here.x_NBhw)
    for name, target in there.targets.items():
        assert torch.equal(target.nan_to_num(-9), here.targets[name].nan_to_num(-9))


def test_fewer_tiles_than_a_batch(small_recipe: Recipe) -> None:
    optim = changed(small_recipe, optim={"batch": 8, "micro_batch": 8}).optim
    with pytest.raises(DataError, match="5 training tiles do not fill a batch of 8"):
        Schedule(
            rows=tuple(range(5)),
            seed=0,
            batch=optim.batch,
            micro_batch=optim.micro_batch,
            epochs=1,
        )


def test_a_reader_that_dies_is_named(
    small_data: Path,
    run_config: Callable[..., RunConfig],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    samples = open_samples(run_config(), open_folder(small_data))
    monkeypatch.setattr(Samples, "make", lambda *_: os._exit(9))
    with pytest.raises(DataError, match="process that reads died") as caught:
        list(iterate(samples, held_out((0, 1), 1), workers=1))
    assert "--batch-size" in (caught.value.hint or "")
