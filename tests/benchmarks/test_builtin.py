"""The benchmarks of the built-in encoder run, so that they do not rot."""

from __future__ import annotations

import json
import tarfile
from typing import TYPE_CHECKING

import numpy as np
import pytest

pytest.importorskip("torch", reason="the encoder is trained with PyTorch")

import torch

from mmearth_infer.errors import TrainingError
from mmearth_training.config import changed, load_recipe
from mmearth_training.load import load_encoder
from mmearth_training.loop import pretrain
from mmearth_training.model.encoder import Encoder, EncoderConfig, Size
from mmearth_training.run import RunConfig
from tests.benchmarks import (
    builtin_continue,
    builtin_proof,
    builtin_stages,
    builtin_sweep,
)
from tests.benchmarks.builtin_labels import Samples, bands_of_cells
from tests.helpers.data import needs_data
from tests.helpers.mmearth_data import write_dataset

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from mmearth_training.encoder_checkpoint import EncoderCheckpoint
    from mmearth_training.loop import Pretrained
    from tests.benchmarks.builtin_labels import Floats

SMALL = """
name = "small"

[data]
tile_px = 64
crop_px = 56
loader = "resident"

[model]
patch_px = 8
decoder_width = 16
tasks = ["sentinel2", "indices"]

[optim]
epochs = 20
warmup_epochs = 1
batch = 4
micro_batch = 4
"""


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    """Arrays are small: threads that wait for each other cost more than they bring."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    splits = {"train": [*range(8)], "val": [8], "test": []}
    return write_dataset(tmp_path / "data", tiles=9, tile_px=64, splits=splits)


def test_a_sweep_keeps_what_a_failing_run_had(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run that dies leaves its last checkpoint, and the next one goes on."""
    monkeypatch.setattr(builtin_sweep, "_WARM_UP", 1)
    monkeypatch.setattr(builtin_sweep, "_TIMED", 1)

    def dies(config: RunConfig) -> Pretrained:
        result = pretrain(config)
        if config.recipe.tasks == ("sentinel2",):
            raise TrainingError("a gain is infinite", hint="none")
        return result

    monkeypatch.setattr(builtin_sweep, "pretrain", dies)
    recipe = tmp_path / "small.toml"
    recipe.write_text(SMALL)
    out = tmp_path / "out"
    words = ["--data", str(data), "--out", str(out), "--recipe", str(recipe)]
    words += ["--minutes", "0.5", "--no-check", "--only", "s2", "--only", "short"]
    builtin_sweep.main(words)
    report = json.loads((out / "report.json").read_text())
    assert report["s2"]["failed"] == "a gain is infinite"
    assert report["short"]["steps"] > 0
    with tarfile.open(out / "short-0.tar") as packed:
        packed.extractall(tmp_path, filter="data")
    for name in ("s2", "short"):
        assert load_encoder(tmp_path / name).config.patch_px == 8


@needs_data
def test_an_encoder_is_judged_beside_bands_and_untrained_ones(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = tmp_path / "small.toml"
    recipe.write_text(SMALL)
    small = changed(
        load_recipe(str(recipe)),
        data={"crop_px": 48},
        model={"patch_px": 16},
        optim={"epochs": 1, "warmup_epochs": 0.5},
    )
    pretrain(
        RunConfig(recipe=small, data=data, out=tmp_path / "run", workers=0), quiet=True
    )
    for name, value in (
        ("SEEDS", range(1)),
        ("UNTRAINED", range(1)),
        ("DRAWS", 50),
        ("STRENGTHS", (1.0,)),
        ("STAGES", {"stage 4": (4,)}),
    ):
        monkeypatch.setattr(builtin_proof, name, value)
    kept: dict[int | None, builtin_proof.Judged] = {}
    make = builtin_proof.judge

    def once(
        checkpoint: EncoderCheckpoint, *, untrained: int | None = None
    ) -> builtin_proof.Judged:
        if untrained not in kept:
            kept[untrained] = make(checkpoint, untrained=untrained)
        return kept[untrained]

    for module in (builtin_proof, builtin_stages):
        monkeypatch.setattr(module, "judge", once)
    found = tmp_path / "found.json"
    builtin_proof.main([str(tmp_path / "run"), "--json", str(found)])
    results = json.loads(found.read_text())
    assert set(results) == {"bands", "untrained", "run"}
    tasks = {"eurosat stage 4", "water cells of 16 px"}
    tasks |= {f"amazon cells of {px} px" for px in (8, 16)}
    assert all(set(one) == tasks for one in results.values())
    assert float(results["bands"]["water cells of 16 px"].split()[0]) > 0.9

    amazon = "amazon, cells of 16 px"
    tasks = {amazon: (*builtin_stages.TASKS[amazon][:2], 4)}
    monkeypatch.setattr(builtin_stages, "TASKS", tasks)
    monkeypatch.setattr(builtin_stages, "MARGINS_PX", ())
    kinds = ("bands", "bands, wide penalties", "all stages", "stage 1, means")
    kinds += ("all stages, components", "bands and all stages, even")
    readings = {one: builtin_stages.READINGS[one] for one in kinds}
    monkeypatch.setattr(builtin_stages, "READINGS", readings)
    builtin_stages.main([str(tmp_path / "run"), "--json", str(found)])
    rows = json.loads(found.read_text())
    assert set(rows) == {f"{amazon}: {one}" for one in kinds}
    assert rows[f"{amazon}: bands"][0] == results["bands"]["amazon cells of 16 px"]
    assert len(rows[f"{amazon}: all stages"]) == 4


def test_a_probe_tells_what_is_plain_and_not_what_is_noise() -> None:
    """Whole groups are held out: what tells groups apart says nothing of classes."""
    rng = np.random.default_rng(0)
    groups_N = np.repeat(np.arange(40), 5)
    labels_N = groups_N % 2
    own_ND = np.eye(40, dtype=np.float32)[groups_N]
    plain = Samples(
        features_ND=labels_N[:, None].astype(np.float32),
        labels_N=labels_N,
        groups_N=groups_N,
    )
    noise = Samples(
        features_ND=own_ND + rng.normal(0, 0.01, own_ND.shape).astype(np.float32),
        labels_N=labels_N,
        groups_N=groups_N,
    )
    assert builtin_proof.probe(plain).accuracy == 1
    verdict = builtin_proof.probe(noise)
    assert verdict.accuracy < 0.7
    low, high = np.quantile(verdict.draws_R, [0.025, 0.975])
    assert low < verdict.accuracy < high


class Averages(builtin_proof.Judged):
    """Stages are averages of two bands, plus the average of all that is seen."""

    def __init__(self) -> None:
        self.bands = ("B1", "B2")
        two_wide = Size(depths=(1, 1, 1, 1), dims=(2, 2, 2, 2))
        self.encoder = Encoder(EncoderConfig(size=two_wide, bands=2))

    def maps(self, x_CHW: Floats) -> tuple[Floats, ...]:
        """Return maps of 2, 4, 8 and 16 px."""
        seen_C11 = x_CHW.mean((1, 2), keepdims=True)
        return tuple(bands_of_cells(px)(x_CHW)[:2] + seen_C11 for px in (2, 4, 8, 16))


@pytest.fixture(name="pixels_CHW")
def _pixels() -> Floats:
    return np.random.default_rng(0).normal(size=(2, 48, 64)).astype(np.float32)


def test_stages_are_brought_to_the_cells_of_the_task(pixels_CHW: Floats) -> None:
    """Finer stages by mean and deviation, a coarser one by what covers the cell."""
    averages = Averages()
    columns = builtin_stages.columns_of(averages)
    found_Dhw = builtin_stages.cells(averages, 8, pixels_CHW)
    own_Dhw = bands_of_cells(8)(pixels_CHW)
    seen_C11 = pixels_CHW.mean((1, 2), keepdims=True)
    assert found_Dhw.shape == (20, 6, 8)
    np.testing.assert_array_equal(found_Dhw[:4], own_Dhw)
    for stage in (1, 2, 3):
        mean_Chw = found_Dhw[columns[stage, "mean"]]
        np.testing.assert_allclose(mean_Chw, own_Dhw[:2] + seen_C11, atol=1e-6)
    deviation_Chw = found_Dhw[columns[1, "std"]]
    pairs = pixels_CHW[:, :8, :8].reshape(2, 4, 2, 4, 2).mean((2, 4))
    np.testing.assert_allclose(deviation_Chw[:, 0, 0], pairs.std((1, 2)), rtol=1e-4)
    coarse_Chw = averages.maps(pixels_CHW)[3].repeat(2, 1).repeat(2, 2)
    np.testing.assert_array_equal(found_Dhw[columns[4, "mean"]], coarse_Chw)
    assert not found_Dhw[columns[4, "std"]].any()


def test_a_cell_sees_its_margin_and_no_more(pixels_CHW: Floats) -> None:
    """All of the scene: as `cells`. Nothing around: as the cell by itself."""
    averages = Averages()
    whole_Dhw = builtin_stages.cells(averages, 16, pixels_CHW)
    every_Dhw = builtin_stages.cells_alone(averages, 16, 64, pixels_CHW)
    np.testing.assert_array_equal(every_Dhw, whole_Dhw)
    none_Dhw = builtin_stages.cells_alone(averages, 16, 0, pixels_CHW)
    own_Dhw = builtin_stages.cells(averages, 16, pixels_CHW[:, 16:32, 32:48])
    np.testing.assert_array_equal(none_Dhw[:, 1, 2], own_Dhw[:, 0, 0])
    some_Dhw = builtin_stages.cells_alone(averages, 16, 16, pixels_CHW)
    near_Dhw = builtin_stages.cells(averages, 16, pixels_CHW[:, 16:48, 16:64])
    np.testing.assert_array_equal(some_Dhw[:, 2, 2], near_Dhw[:, 1, 1])


def test_colour_is_found_where_it_is_and_not_in_noise() -> None:
    rng = np.random.default_rng(0)
    bands_NC, noise_NC = rng.normal(size=(2, 200, 2)).astype(np.float32)
    none_NC = np.zeros_like(bands_NC)
    stages = [bands_NC @ [[1, 2], [3, 4]], noise_NC, bands_NC**2, noise_NC]
    parts = [bands_NC, none_NC, *(x for one in stages for x in (one, none_NC))]
    samples = Samples(
        features_ND=np.concatenate(parts, axis=1),
        labels_N=np.arange(200) % 2,
        groups_N=np.arange(200) // 5,
    )
    columns = builtin_stages.columns_of(Averages())
    shares = [builtin_stages.colour(samples, columns, [n]) for n in (1, 2, 3)]
    assert shares[0] > 0.99
    assert max(shares[1:]) < 0.1


def test_readings_take_their_columns_and_drop_what_is_the_same_everywhere() -> None:
    columns = builtin_stages.columns_of(Averages())
    features_ND = np.arange(40, dtype=np.float32).reshape(2, 20)
    features_ND[1, columns[4, "std"]] = features_ND[0, columns[4, "std"]]
    samples = Samples(features_ND=features_ND, labels_N=np.arange(2))

    def taken(stages: tuple[int, ...], *, deviation: bool = True) -> list[float]:
        reading = builtin_stages.Reading(stages=stages, deviation=deviation)
        seen = builtin_stages.read(samples, columns, reading)
        return [float(value) for value in seen.features_ND[0]]

    assert taken((0,), deviation=False) == [0, 1, 2, 3]
    assert taken((1,), deviation=False) == [4, 5]
    assert taken((1, 4)) == [4, 5, 6, 7, 16, 17]


@pytest.mark.parametrize("name", ["patch8", "distilled"])
def test_an_encoder_goes_on_from_the_one_in_the_box(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What has its shape is its own at first; what is kept can be judged."""
    monkeypatch.setattr(builtin_continue, "_EPOCHS", 1)
    monkeypatch.setattr(builtin_continue, "_BATCH", 2)
    data = write_dataset(
        tmp_path / "data",
        tiles=5,
        tile_px=128,
        splits={"train": [*range(4)], "val": [4], "test": []},
    )
    start = load_encoder(builtin_continue.START)
    recipe = builtin_continue.recipe_of(name, 4, 4)
    looks = torch.from_numpy(
        np.random.default_rng(0).standard_normal((2, 12, 112, 112))
    )
    model = builtin_continue.network(recipe, start, looks.float())
    same = {k: v.equal(start.state[k]) for k, v in model.encoder.state_dict().items()}
    assert {key for key, is_same in same.items() if not is_same} == (
        {"stem.0.weight"} if name == "patch8" else set()
    )
    builtin_continue.train(name, data, tmp_path / "runs", images=4)
    kept = load_encoder(tmp_path / "runs" / name)
    assert kept.config.patch_px == (8 if name == "patch8" else 16)
    assert kept.facts["init"] == builtin_continue.START.name
    assert not kept.state["stages.0.0.pwconv1.weight"].equal(
        start.state["stages.0.0.pwconv1.weight"]
    )


def test_a_teacher_says_what_it_sees_of_each_patch() -> None:
    """Mean and deviation of a patch's cells; the deepest map has one cell a patch."""
    recipe = builtin_continue.recipe_of("distilled", 64, 1)
    x_NBHW = torch.from_numpy(np.random.default_rng(0).normal(size=(1, 12, 112, 112)))
    x_NBHW = x_NBHW.float()
    model = builtin_continue.network(
        recipe, load_encoder(builtin_continue.START), x_NBHW
    )
    assert isinstance(model, builtin_continue.Distilling)
    said_PD = model.say(x_NBHW)[0]
    patch_BQ = x_NBHW[0, :, 16:32, 32:48].flatten(1)
    torch.testing.assert_close(said_PD[7 + 2, :12], patch_BQ.mean(1))
    torch.testing.assert_close(said_PD[7 + 2, 12:24], patch_BQ.std(1))
    deepest_Dhw = model.teacher(x_NBHW)[0]
    torch.testing.assert_close(said_PD[7 + 2, -320:], deepest_Dhw[:, 1, 2])
