"""GEO-Bench as it is published: bands by what they hold, labels, partitions."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import h5py
import numpy as np
import pytest
import torch

from mmearth_infer.contract.bands import MMEARTH_BANDS, MMEARTH_RGB_BANDS
from mmearth_infer.contract.normalize import Statistics
from mmearth_infer.errors import DataError
from mmearth_training.data.geobench.folder import GeobenchFolder
from mmearth_training.data.geobench.images import Images
from mmearth_training.data.geobench.labels import read_labels
from mmearth_training.data.geobench.tasks import TASKS
from tests.helpers.geobench import COUNTS, content_of, plant, write_geobench

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    Change = Callable[[dict[str, Any]], object]


def folder_of(root: Path, task: str) -> GeobenchFolder:
    write_geobench(root, task, side_px=16)
    return GeobenchFolder(root, TASKS[task])


def planted(task: str, row: int) -> tuple[Any, dict[str, Any]]:
    """Return what was planted in a sample, made again."""
    rng = np.random.default_rng(0)
    for number in range(row):
        plant(TASKS[task].kind, number, 16, rng)
    return plant(TASKS[task].kind, row, 16, rng)


def change_json(path: Path, change: Change) -> None:
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))


@pytest.mark.parametrize("task", TASKS)
def test_each_band_holds_its_own_light(task: str, tmp_path: Path) -> None:
    """Whatever it is stored as, in the order of the model, in digital numbers."""
    folder = folder_of(tmp_path, task)
    _, dn = planted(task, 5)
    filled = {"m-so2sat": {"B1": "B2", "B9": "B8A"}}.get(task, {})
    expected = [dn[filled.get(band, band)] for band in MMEARTH_BANDS]
    np.testing.assert_allclose(
        folder.read("id_0005", MMEARTH_BANDS), expected, rtol=1e-6
    )
    rgb = folder.read("id_0005", MMEARTH_RGB_BANDS)
    np.testing.assert_allclose(rgb, [dn[b] for b in MMEARTH_RGB_BANDS], rtol=1e-6)


@pytest.mark.parametrize("task", TASKS)
def test_statistics_are_those_of_the_pixels(task: str, tmp_path: Path) -> None:
    """So the data are standardised: mean 0, deviation 1, also where names are wrong."""
    folder = folder_of(tmp_path, task)
    splits = folder.partition()
    every = [name for names in splits.values() for name in names]
    x = Images(folder, MMEARTH_BANDS).standardised(
        every, folder.statistics(MMEARTH_BANDS), torch.device("cpu")
    )
    assert x.shape == (sum(COUNTS.values()), 12, 16, 16)
    torch.testing.assert_close(x.mean((0, 2, 3)), torch.zeros(12), rtol=0, atol=1e-3)
    torch.testing.assert_close(x.std((0, 2, 3)), torch.ones(12), rtol=0, atol=1e-3)


def test_the_names_of_eurosat_are_shifted(tmp_path: Path) -> None:
    """As in issue 28 of GEO-Bench: what is called 8A is 9, and so on."""
    task = TASKS["m-eurosat"]
    assert {task.stored(band): band for band in task.renamed} == {
        "08A - Vegetation Red Edge": "B9",
        "09 - Water vapour": "B10",
        "10 - SWIR - Cirrus": "B11",
        "11 - SWIR": "B12",
        "12 - SWIR": "B8A",
    }
    by_name = {band: task.stored(band) for band in (*MMEARTH_BANDS, "B10")}
    assert {stored: band for band, stored in by_name.items()} == content_of(task.name)
    folder = folder_of(tmp_path, "m-eurosat")

    def corrected(stats: dict[str, Any]) -> None:
        wrong, right = "09 - Water vapour", "10 - SWIR - Cirrus"
        stats[wrong], stats[right] = stats[right], stats[wrong]

    change_json(folder.path / "band_stats.json", corrected)
    with pytest.raises(DataError, match="does not hold B10"):
        folder.statistics(MMEARTH_BANDS)


def test_so2sat_is_reflectance_and_says_when_it_is_not(tmp_path: Path) -> None:
    folder = folder_of(tmp_path, "m-so2sat")

    def scaled(stats: dict[str, Any]) -> None:
        for numbers in stats.values():
            numbers["mean"] /= 10_000

    with h5py.File(folder.path / "id_0000.hdf5", "r+") as file:
        assert file["02 - Blue"][()].max() < 1
        file["02 - Blue"][()] *= 10_000
    with pytest.raises(DataError, match="which is no reflectance"):
        folder.read("id_0000", MMEARTH_BANDS)
    change_json(folder.path / "band_stats.json", scaled)
    with pytest.raises(DataError, match="is in reflectance"):
        folder.statistics(MMEARTH_BANDS)


@pytest.mark.parametrize("task", [name for name in TASKS if name != "m-eurosat"])
def test_a_band_that_is_not_there(task: str, tmp_path: Path) -> None:
    folder = folder_of(tmp_path, task)
    with pytest.raises(DataError, match=r"has no band `10 - SWIR - Cirrus`") as caught:
        folder.read("id_0000", ("B2", "B10"))
    assert "02 - Blue" in str(caught.value.hint)


def test_labels_of_one_class(tmp_path: Path) -> None:
    folder = folder_of(tmp_path, "m-eurosat")
    labels = read_labels(folder, ["id_0007", "id_0003", "id_0005"])
    assert labels.tolist() == [1, 0, 2]


def test_labels_from_one_hot_rows_or_an_attribute(tmp_path: Path) -> None:
    """Copies of the benchmark have the one or the other."""
    folder = folder_of(tmp_path, "m-eurosat")
    (folder.path / "label_map.json").unlink()
    stats = {"id_0000": [0] * 9 + [1], "id_0001": 4}
    (folder.path / "label_stats.json").write_text(json.dumps(stats))
    with h5py.File(folder.path / "id_0002.hdf5", "r+") as file:
        file.attrs["label"] = 7
    samples = ["id_0000", "id_0001", "id_0002"]
    assert read_labels(folder, samples).tolist() == [9, 4, 7]
    with pytest.raises(DataError, match=r"`id_0003`.* has a pickled label only"):
        read_labels(folder, ["id_0003"])


def test_labels_of_several_classes(tmp_path: Path) -> None:
    folder = folder_of(tmp_path, "m-bigearthnet")
    labels = read_labels(folder, ["id_0002", "id_0003"])
    assert labels.shape == (2, 43)
    assert labels[:, :3].tolist() == [[0, 1, 0], [1, 1, 0]]
    assert not labels[:, 3:].any()


@pytest.mark.parametrize(
    ("task", "label"),
    [
        ("m-eurosat", 10),
        ("m-eurosat", [0.5, 0.5, *[0] * 8]),
        ("m-bigearthnet", [1, 0, 1]),
        ("m-bigearthnet", 3),
    ],
)
def test_labels_that_cannot_be(task: str, label: object, tmp_path: Path) -> None:
    folder = folder_of(tmp_path, task)
    (folder.path / "label_map.json").unlink(missing_ok=True)
    (folder.path / "label_stats.json").write_text(json.dumps({"id_0000": label}))
    with pytest.raises(DataError, match="has the label"):
        read_labels(folder, ["id_0000"])


def test_maps(tmp_path: Path) -> None:
    """A dataset of the sample; names may carry a date."""
    folder = folder_of(tmp_path, "m-cashew-plant")
    value, _ = planted("m-cashew-plant", 3)
    np.testing.assert_array_equal(folder.read_classes("id_0003"), value)
    with h5py.File(folder.path / "id_0003.hdf5", "r+") as file:
        file["label"][0, 0] = 7
    with pytest.raises(DataError, match="reach from 1 to 7"):
        folder.read_classes("id_0003")


def test_partitions(tmp_path: Path) -> None:
    folder = folder_of(tmp_path, "m-eurosat")
    whole, half = folder.partition(), folder.partition("0.50x_train")
    assert {split: len(names) for split, names in whole.items()} == {
        "train": 24,
        "val": 9,
        "test": 12,
    }
    assert half["train"] == whole["train"][:12]
    assert half["test"] == whole["test"]
    with pytest.raises(DataError, match=r"has no partition `0\.01x_train`") as caught:
        folder.partition("0.01x_train")
    assert "default" in str(caught.value.hint)
    with pytest.raises(DataError, match="has no partition"):
        folder.partition("../m-eurosat/default")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda p: p["test"].append(p["train"][0]), "has the sample `id_0000` twice"),
        (lambda p: p["test"].clear(), "has no sample to test on"),
        (lambda p: p["test"].append("../secret"), "no name of a sample"),
        (lambda p: p.update(test=3), "is not what GEO-Bench publishes"),
    ],
)
def test_partitions_that_cannot_be(
    change: Change, message: str, tmp_path: Path
) -> None:
    folder = folder_of(tmp_path, "m-eurosat")
    change_json(folder.path / "default_partition.json", change)
    with pytest.raises(DataError, match=message):
        folder.partition()


def test_the_folder_may_be_any_of_three(tmp_path: Path) -> None:
    path = write_geobench(tmp_path, "m-eurosat", side_px=8)
    for root in (tmp_path, path.parent, path):
        assert GeobenchFolder(root, TASKS["m-eurosat"]).path == path
    with pytest.raises(DataError, match="there is no `m-so2sat`"):
        GeobenchFolder(tmp_path, TASKS["m-so2sat"])


@pytest.mark.parametrize("task", TASKS)
def test_pickles_are_never_opened(task: str, tmp_path: Path) -> None:
    """Those of the data set would make a folder."""
    folder = folder_of(tmp_path, task)
    samples = folder.partition()["train"]
    folder.statistics(MMEARTH_BANDS)
    Images(folder, MMEARTH_BANDS).dn(samples)
    if TASKS[task].kind == "segmentation":
        folder.read_classes(samples[0])
    else:
        read_labels(folder, samples)
    assert not (folder.path / "TRAPPED").exists()


def test_samples_that_are_damaged_or_lead_elsewhere(tmp_path: Path) -> None:
    folder = folder_of(tmp_path, "m-eurosat")
    whole = folder.path / "id_0000.hdf5"
    content = whole.read_bytes()
    whole.write_bytes(content[: len(content) // 2])
    with pytest.raises(DataError, match=r"cannot read .*id_0000\.hdf5"):
        folder.read("id_0000", MMEARTH_BANDS)
    with h5py.File(folder.path / "id_0001.hdf5", "r+") as file:
        del file["02 - Blue"]
        file["02 - Blue"] = h5py.ExternalLink("id_0002.hdf5", "02 - Blue")
    with pytest.raises(DataError, match="lies in another file"):
        folder.read("id_0001", MMEARTH_BANDS)
    with h5py.File(folder.path / "id_0003.hdf5", "r+") as file:
        del file["02 - Blue"]
        file.create_dataset("02 - Blue", (10**6, 10**6), "f4", chunks=(10**4, 10**4))
    with pytest.raises(DataError, match=r"is \(1000000, 1000000\)"):
        folder.read("id_0003", ("B2",))


def test_images_are_of_one_size_and_kept(tmp_path: Path) -> None:
    folder = folder_of(tmp_path, "m-bigearthnet")
    images = Images(folder, MMEARTH_BANDS)
    first = images.dn(["id_0000"])
    assert images._kept["id_0000"].dtype == np.uint16
    (folder.path / "id_0000.hdf5").unlink()
    np.testing.assert_array_equal(images.dn(["id_0000"]), first)
    other = write_geobench(tmp_path / "other", "m-bigearthnet", side_px=8)
    (other / "id_0001.hdf5").replace(folder.path / "id_0001.hdf5")
    with pytest.raises(DataError, match="is 8 px wide, others are 16 px"):
        images.dn(["id_0001"])


def test_pixels_without_data_are_the_mean(tmp_path: Path) -> None:
    folder = folder_of(tmp_path, "m-eurosat")
    with h5py.File(folder.path / "id_0000.hdf5", "r+") as file:
        for name in file:
            file[name][3, 4] = 0
    numbers = Statistics(mean=(1000.0,) * 12, std=(10.0,) * 12)
    x = Images(folder, MMEARTH_BANDS).standardised(
        ["id_0000"], numbers, torch.device("cpu")
    )
    assert not x[0, :, 3, 4].any()
    assert x[0, :, 3, 5].all()
