"""What is in each image, from the JSON files beside the samples.

`label_map.json` lists the samples of each class; `label_stats.json` has a number a
class for each sample, 1 for those it shows.

Shapes: N samples, K classes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

from mmearth_infer.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from mmearth_training.data.geobench.folder import GeobenchFolder

LABEL_MAP: Final = "label_map.json"
"""Samples by class."""

LABEL_STATS: Final = "label_stats.json"
"""Shares of classes by sample."""

_ATTRIBUTE: Final = "label"


def read_labels(folder: GeobenchFolder, samples: Sequence[str]) -> NDArray[np.int64]:
    """Return classes `(N,)`, or for several labels 0 and 1, `(N, K)`.

    Args:
        folder: A data set with labels of images.
        samples: Which of its samples.

    Raises:
        DataError: If a sample has no label but the pickled one, or no possible one.

    """
    known = _known(folder)
    rows = []
    for sample in samples:
        listed = known.get(sample)
        label = (
            folder.read_attribute(sample, _ATTRIBUTE)
            if listed is None
            else np.asarray(listed)
        )
        if label is None:
            raise DataError(
                f"sample `{sample}` of `{folder.task.name}` has a pickled label only",
                hint=f"`{LABEL_MAP}` or `{LABEL_STATS}` has to list it: pickles are "
                "not opened",
            )
        rows.append(_checked(label, folder, sample))
    return np.stack(rows)


def _known(folder: GeobenchFolder) -> Mapping[str, int | list[float]]:
    """Return labels by sample, as the first of the two files that is there says."""
    path = folder.path / LABEL_MAP
    if path.is_file() and folder.task.kind == "multiclass":
        by_class = folder.read_json(path, dict[int, list[str]])
        return {name: label for label, names in by_class.items() for name in names}
    path = folder.path / LABEL_STATS
    if not path.is_file():
        return {}
    return folder.read_json(path, dict[str, int | list[float]])


def _checked(
    label: NDArray[np.generic], folder: GeobenchFolder, sample: str
) -> NDArray[np.int64]:
    """Return one label as it is learnt."""
    classes = folder.task.classes
    numbers = label.astype(np.float64)
    row = numbers.shape == (classes,) and bool(np.isin(numbers, (0, 1)).all())
    if folder.task.kind == "multilabel" and row:
        return numbers.astype(np.int64)
    if folder.task.kind == "multiclass":
        if row and numbers.sum() == 1:
            return np.int64(numbers.argmax())  # type: ignore[return-value]  # 0 axes
        if not numbers.shape and numbers in range(classes):
            return np.int64(numbers)  # type: ignore[return-value]  # likewise
    raise DataError(
        f"sample `{sample}` of `{folder.task.name}` has the label {label.tolist()}",
        hint=f"it has {classes} classes, counted from 0",
    )
