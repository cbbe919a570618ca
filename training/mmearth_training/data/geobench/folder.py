"""A data set of GEO-Bench on disk: partitions, statistics, one HDF5 file a sample.

The files also hold pickles (`task_specs.pkl`, the attribute `pickle` of each sample).
None is ever opened: a pickle can run code, and nothing in it is needed (ADR 0020).

Shapes: B bands, H W pixels.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Annotated, Final

import msgspec
import numpy as np

from mmearth_infer.contract.normalize import Statistics
from mmearth_infer.errors import DataError, ManifestError
from mmearth_training.data.files import SPLITS
from mmearth_training.data.geobench.sample import open_sample, square_dataset
from mmearth_training.data.layout import DAMAGED, reason

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path
    from typing import TypeVar

    from numpy.typing import NDArray

    from mmearth_training.data.geobench.tasks import GeobenchTask

    T = TypeVar("T")

DEFAULT_PARTITION: Final = "default"
"""The partition with all samples."""

LABEL: Final = "label"
"""Dataset of a sample that holds the class of each pixel."""

_COLLECTIONS: Final = ("", "classification_v1.0", "segmentation_v1.0")
_SPLIT_NAMES: Final = dict(zip(SPLITS, ("train", "valid", "test"), strict=True))
_SAFE: Final = re.compile(r"[\w\- .]+", flags=re.ASCII)
_LEAST_MEAN_DN: Final = 5.0
_MOST_REFLECTANCE: Final = 100.0
_HINT_FILES: Final = "unpack the data set again, as GEO-Bench v1.0 publishes it"

_Name = Annotated[str, msgspec.Meta(max_length=200)]


class _BandStats(msgspec.Struct, frozen=True):
    """What is read of a band's statistics."""

    mean: float
    """In digital numbers."""

    std: float
    """Likewise."""


class GeobenchFolder:
    """One data set; its files are opened when they are read, and closed."""

    def __init__(self, root: Path, task: GeobenchTask) -> None:
        """Find the folder.

        Args:
            root: The folder of the data set, of its collection
                (`classification_v1.0`, `segmentation_v1.0`), or of both.
            task: Which one it is.

        Raises:
            DataError: If there is none.

        """
        self.task = task
        names = (task.name, *task.also)
        places = [root / part / name for part in _COLLECTIONS for name in names]
        if root.resolve().name in names:
            places.insert(0, root)
        found = [path for path in places if self._partition_file(path).is_file()]
        if not found:
            raise DataError(
                f"there is no `{task.name}` with a `default_partition.json` in "
                f"`{root}`",
                hint="--data is the folder that holds `classification_v1.0` and "
                "`segmentation_v1.0`, or the data sets themselves",
            )
        self.path = found[0]

    def partition(self, name: str = DEFAULT_PARTITION) -> Mapping[str, tuple[str, ...]]:
        """Return the names of the samples of each split, `train`, `val` and `test`.

        Raises:
            DataError: If there is no such partition, a split has no samples, or one
                sample is in two.

        """
        path = self._partition_file(self.path, name)
        if not _SAFE.fullmatch(name) or not path.is_file():
            known = sorted(
                one.name.removesuffix("_partition.json")
                for one in self.path.glob("*_partition.json")
            )
            raise DataError(
                f"`{self.task.name}` has no partition `{name}`",
                hint=f"it has {', '.join(known)}",
            )
        stored = self.read_json(path, dict[str, list[_Name]])
        splits = {ours: tuple(stored.get(s, ())) for ours, s in _SPLIT_NAMES.items()}
        every = [sample for samples in splits.values() for sample in samples]
        for sample in every:
            if not _SAFE.fullmatch(sample) or sample.startswith("."):
                raise DataError(
                    f"`{path.name}` names `{sample}`, which is no name of a sample",
                    hint=_HINT_FILES,
                )
        if len(set(every)) < len(every):
            twice = next(one for one in every if every.count(one) > 1)
            raise DataError(
                f"`{path.name}` has the sample `{twice}` twice",
                hint="what is tested on must not be trained on",
            )
        for split in ("train", "test"):
            if not splits[split]:
                raise DataError(
                    f"`{path.name}` has no sample to {split} on", hint=_HINT_FILES
                )
        return splits

    def statistics(self, bands: Sequence[str]) -> Statistics:
        """Return mean and deviation of bands in digital numbers, as published.

        Raises:
            DataError: If a band has none, or they are not what they were published as.

        """
        path = self.path / "band_stats.json"
        known = self.read_json(path, dict[str, msgspec.Raw])
        numbers: list[_BandStats] = []
        for stored in map(self.task.stored, bands):
            if stored not in known:
                raise DataError(
                    f"`{path.name}` of `{self.task.name}` has no band `{stored}`",
                    hint=f"it has {', '.join(known)}",
                )
            numbers.append(_decoded(known[stored], _BandStats, path))
        if self.task.dn_per_unit > 1 and min(n.mean for n in numbers) < _LEAST_MEAN_DN:
            raise DataError(
                f"`{path.name}` of `{self.task.name}` is in reflectance",
                hint="the published one is in reflectance times 10000",
            )
        if self.task.renamed:
            self._check_names(known, path)
        try:
            return Statistics(
                mean=tuple(one.mean for one in numbers),
                std=tuple(one.std for one in numbers),
            )
        except ManifestError as error:
            raise DataError(f"`{path}`: {error}", hint=_HINT_FILES) from error

    def _check_names(self, known: Mapping[str, msgspec.Raw], path: Path) -> None:
        """Hold shifted names against the one band that is dark on any ground, B10."""
        stored = {self.task.stored(band): band for band in self.task.renamed}
        means = {
            stored[name]: _decoded(raw, _BandStats, path).mean
            for name, raw in known.items()
            if name in stored
        }
        if means and min(means, key=lambda band: means[band]) != "B10":
            raise DataError(
                f"bands of `{self.task.name}` are not stored under the names they were "
                f"published with: `{self.task.stored('B10')}` does not hold B10",
                hint="ADR 0020 lists the names; corrected copies are not read",
            )

    def read(self, sample: str, bands: Sequence[str]) -> NDArray[np.float32]:
        """Return `dn_BHW` of a sample: digital numbers, bands in the given order.

        Raises:
            DataError: If the file is missing or damaged, or lacks a band.

        """
        with open_sample(self.path, sample) as (file, names):
            read: dict[str, NDArray[np.float32]] = {}
            for stored in map(self.task.stored, bands):
                if stored not in names:
                    raise DataError(
                        f"sample `{sample}` of `{self.task.name}` has no band "
                        f"`{stored}`",
                        hint=f"it has {', '.join(names)}; use an encoder of others",
                    )
                if stored not in read:
                    dataset = square_dataset(file, names[stored], sample)
                    read[stored] = dataset[()].astype(np.float32)
        if len({one.shape for one in read.values()}) > 1:
            raise DataError(f"bands of sample `{sample}` differ in size", hint=DAMAGED)
        dn_BHW = np.stack([read[self.task.stored(band)] for band in bands])
        if not np.isfinite(dn_BHW).all():
            raise DataError(
                f"sample `{sample}` of `{self.task.name}` holds NaN or infinity",
                hint=DAMAGED,
            )
        if self.task.dn_per_unit > 1 and dn_BHW.max() > _MOST_REFLECTANCE:
            raise DataError(
                f"sample `{sample}` of `{self.task.name}` holds {dn_BHW.max():g}, "
                "which is no reflectance",
                hint="its published pixels are reflectance from 0 to 2.8",
            )
        return dn_BHW * np.float32(self.task.dn_per_unit)

    def read_classes(self, sample: str) -> NDArray[np.int16]:
        """Return `classes_HW` of a sample.

        Raises:
            DataError: If the file is missing or damaged, or holds a class too many.

        """
        with open_sample(self.path, sample) as (file, names):
            if LABEL not in names:
                raise DataError(f"sample `{sample}` has no `{LABEL}`", hint=DAMAGED)
            classes_HW = square_dataset(file, names[LABEL], sample)[()]
        low, high = classes_HW.min(), classes_HW.max()
        if low < 0 or high >= self.task.classes or (classes_HW % 1).any():
            raise DataError(
                f"labels of sample `{sample}` reach from {low} to {high}",
                hint=f"`{self.task.name}` has classes 0 to {self.task.classes - 1}",
            )
        whole_HW: NDArray[np.int16] = classes_HW.astype(np.int16)
        return whole_HW

    def read_attribute(self, sample: str, name: str) -> NDArray[np.generic] | None:
        """Return a plain number, or numbers, that a sample has as an attribute.

        Raises:
            DataError: If the file is missing or damaged.

        """
        with open_sample(self.path, sample) as (file, _):
            if name not in file.attrs:
                return None
            value = np.asarray(file.attrs[name])
        return value if value.dtype.kind in "iuf" else None

    def read_json(self, path: Path, kind: type[T]) -> T:
        """Return the content of a JSON file of the data set.

        Raises:
            DataError: If it is missing, or holds something else.

        """
        try:
            content = path.read_bytes()
        except OSError as error:
            raise DataError(
                f"cannot read `{path}`: {error.strerror}", hint=_HINT_FILES
            ) from error
        return _decoded(content, kind, path)

    @staticmethod
    def _partition_file(folder: Path, name: str = DEFAULT_PARTITION) -> Path:
        return folder / f"{name}_partition.json"


def _decoded(content: bytes | msgspec.Raw, kind: type[T], path: Path) -> T:
    """Return JSON of one kind."""
    try:
        return msgspec.json.decode(content, type=kind)
    except (msgspec.DecodeError, RecursionError) as error:
        raise DataError(
            f"`{path}` is not what GEO-Bench publishes: {reason(error)}",
            hint=_HINT_FILES,
        ) from error
