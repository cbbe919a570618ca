"""Data sets in the layout of GEO-Bench v1.0, small, with classes planted in them.

Names, attributes and quirks are the published ones (ADR 0020). The pickles, which
nothing may ever open, make a file when they are.
"""

from __future__ import annotations

import json
import os
import pickle
from typing import TYPE_CHECKING, Any, Final

import h5py
import numpy as np
from numpy.typing import NDArray

from mmearth_training.data.geobench.tasks import TASKS

if TYPE_CHECKING:
    from pathlib import Path


WAVELENGTHS: Final = (
    *("B1", "B2", "B3", "B4", "B5", "B6", "B7", "B8", "B8A"),
    *("B9", "B10", "B11", "B12"),
)
NAMES: Final = (
    "01 - Coastal aerosol",
    "02 - Blue",
    "03 - Green",
    "04 - Red",
    "05 - Vegetation Red Edge",
    "06 - Vegetation Red Edge",
    "07 - Vegetation Red Edge",
    "08 - NIR",
    "08A - Vegetation Red Edge",
    "09 - Water vapour",
    "10 - SWIR - Cirrus",
    "11 - SWIR",
    "12 - SWIR",
)
"""What the bands are called in the files, in the order they are listed there."""

EUROSAT_ORDER: Final = (*WAVELENGTHS[:8], "B9", "B10", "B11", "B12", "B8A")
"""What EuroSAT's files hold in truth under those names."""

SAR: Final = ("01 - VH.Real", "02 - VH.Imaginary", "03 - VV.Real", "04 - VV.Imaginary")
Label = int | list[int] | NDArray[np.int64]
"""Of one class, of several, of a map."""

COUNTS: Final = {"train": 24, "valid": 9, "test": 12}


class _Trap:
    """Makes a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return (os.mkdir, (str(self.path),))


def content_of(task: str) -> dict[str, str]:
    """Return the band that is stored under each name."""
    if task == "m-eurosat":
        return dict(zip(NAMES, EUROSAT_ORDER, strict=True))
    every = dict(zip(NAMES, WAVELENGTHS, strict=True))
    left_out = {"B10"}
    if task == "m-so2sat":
        left_out |= {"B1", "B9"}
    return {name: band for name, band in every.items() if band not in left_out}


def write_geobench(
    root: Path,
    task: str,
    *,
    side_px: int = 32,
    counts: dict[str, int] | None = None,
    shuffled: bool = False,
    seed: int = 0,
) -> Path:
    """Write a data set and return its folder.

    Classes 0 to 2 occur, and each brightens every third band: of an image, or of one
    half of a map. B10 is always dark.

    Args:
        root: The folder of GEO-Bench.
        task: Name of a task.
        side_px: Side of the images.
        counts: Samples by split.
        shuffled: Give the labels to other samples.
        seed: Of noise and shuffling.

    """
    kind = TASKS[task].kind
    suite = "segmentation_v1.0" if kind == "segmentation" else "classification_v1.0"
    folder = root / suite / task
    folder.mkdir(parents=True)
    rng = np.random.default_rng(seed)
    names: dict[str, list[str]] = {}
    values: dict[str, Label] = {}
    sums: dict[str, list[NDArray[np.float64]]] = {}
    number = 0
    for split, count in (counts or COUNTS).items():
        for _ in range(count):
            name = f"id_{number:04d}"
            names.setdefault(split, []).append(name)
            value, dn = plant(kind, number, side_px, rng)
            values[name] = value
            number += 1
            if task == "m-so2sat":
                dn = {band: dn_HW / 10_000 for band, dn_HW in dn.items()}
            _write_sample(folder, task, name, dn, value)
            for stored, band in content_of(task).items():
                sums.setdefault(stored, []).append(dn[band])
    if shuffled:
        every = list(values)
        values = dict(
            zip(every, [values[n] for n in rng.permutation(every)], strict=True)
        )
    _write_labels(folder, task, values)
    scale = 10_000 if task == "m-so2sat" else 1
    _write_json(
        folder / "band_stats.json",
        {
            stored: {
                "min": float(np.min(dn) * scale),
                "max": float(np.max(dn) * scale),
                "mean": float(np.mean(dn) * scale),
                "std": float(np.std(dn) * scale),
                "median": float(np.median(dn) * scale),
            }
            for stored, dn in sums.items()
        },
    )
    _write_json(folder / "default_partition.json", names)
    for share in (0.5, 1.0):
        few = names["train"][: int(len(names["train"]) * share)]
        _write_json(
            folder / f"{share:.2f}x_train_partition.json", {**names, "train": few}
        )
    (folder / "task_specs.pkl").write_bytes(pickle.dumps(_Trap(folder / "TRAPPED")))
    return folder


def plant(
    kind: str, number: int, side_px: int, rng: np.random.Generator
) -> tuple[Label, dict[str, NDArray[np.float32]]]:
    """Return the label of a sample and its digital numbers by band."""
    dn = {
        band: np.rint(rng.normal(1500 + 100 * place, 60, (side_px, side_px)))
        for place, band in enumerate(WAVELENGTHS)
    }
    dn["B10"] = np.rint(rng.normal(15, 2, (side_px, side_px)))
    bright: tuple[NDArray[np.bool_] | int, ...]
    value: Label
    if kind == "multiclass":
        value = number % 3
        bright = tuple(int(value == n) for n in range(3))
    elif kind == "multilabel":
        value = [(number >> n) & 1 for n in range(3)]
        bright = tuple(value)
    else:
        value = np.zeros((side_px, side_px), np.int64)
        value[:, : side_px // 2] = number % 2
        value[:, side_px // 2 :] = 2
        bright = tuple(value == n for n in range(3))
    for place, band in enumerate(WAVELENGTHS):
        if band != "B10":
            dn[band] += 2000 * bright[place % 3]
    return value, {band: dn_HW.astype(np.float32) for band, dn_HW in dn.items()}


def _write_sample(
    folder: Path, task: str, name: str, dn: dict[str, NDArray[np.float32]], value: Label
) -> None:
    """Write one HDF5 file, as `write_sample_hdf5` of GEO-Bench does."""
    date = "_2019-11-05" if task == "m-cashew-plant" else ""
    with h5py.File(folder / f"{name}.hdf5", "w") as file:
        for stored, band in content_of(task).items():
            file.create_dataset(f"{stored}{date}", data=dn[band])
        if task == "m-so2sat":
            for stored in SAR:
                file.create_dataset(stored, data=np.full_like(dn["B2"], -100))
        if isinstance(value, np.ndarray):
            file.create_dataset("Cloud Probability" + date, data=np.zeros_like(value))
            file.create_dataset("label", data=value)
        file.attrs["pickle"] = str(pickle.dumps(_Trap(folder / "TRAPPED")))


def _write_labels(folder: Path, task: str, values: dict[str, Label]) -> None:
    """Write `label_map.json`, or `label_stats.json` of several labels and of maps."""
    classes = TASKS[task].classes
    if TASKS[task].kind == "multiclass":
        by_class: dict[str, list[str]] = {}
        for name, value in values.items():
            by_class.setdefault(str(value), []).append(name)
        _write_json(folder / "label_map.json", by_class)
        return
    stats = {}
    for name, value in values.items():
        if isinstance(value, np.ndarray):
            counted = np.bincount(value.flat, minlength=classes)
            stats[name] = (counted / counted.sum()).tolist()
        else:
            assert isinstance(value, list)
            stats[name] = value + [0] * (classes - len(value))
    _write_json(folder / "label_stats.json", stats)


def _write_json(path: Path, content: object) -> None:
    path.write_text(json.dumps(content, indent=2))
