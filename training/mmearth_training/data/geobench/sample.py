"""One sample of GEO-Bench: an HDF5 file with a dataset a band."""

from __future__ import annotations

import re
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

import h5py
import numpy as np

from mmearth_infer.errors import DataError
from mmearth_training.data.layout import DAMAGED, reason

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

MAX_SIDE_PX: Final = 1024
"""What no image of GEO-Bench is larger than."""

_DATE: Final = re.compile(r"_\d{4}-\d{2}-\d{2}.*")


@contextmanager
def open_sample(
    folder: Path, sample: str
) -> Iterator[tuple[h5py.File, dict[str, str]]]:
    """Open a sample; give the names of its datasets by their name without a date.

    `04 - Red` and `04 - Red_2019-11-05` are the same band: data sets that have dates
    write them behind the name.

    Raises:
        DataError: If the file is missing or damaged, now or while it is read.

    """
    path = folder / f"{sample}.hdf5"
    try:
        with h5py.File(path, "r") as file:
            names: dict[str, str] = {}
            for stored in file:
                plain = _DATE.sub("", stored)
                if plain in names:
                    raise DataError(
                        f"sample `{sample}` holds `{plain}` of several dates",
                        hint="GEO-Bench v1.0 has one date a sample",
                    )
                names[plain] = stored
            yield file, names
    except (OSError, RuntimeError, ValueError, KeyError) as error:
        raise DataError(
            f"cannot read `{path}`: {reason(error)}", hint=DAMAGED
        ) from error


def square_dataset(file: h5py.File, name: str, sample: str) -> h5py.Dataset:
    """Return a dataset after a look at where it lies and what it is.

    Raises:
        DataError: If it lies in another file, or is no square of numbers.

    """
    inside = isinstance(file.get(name, getlink=True), h5py.HardLink)
    dataset = file[name] if inside else None
    if not isinstance(dataset, h5py.Dataset) or dataset.external or dataset.is_virtual:
        raise DataError(
            f"`{name}` of sample `{sample}` lies in another file",
            hint="a sample is one file; another could be any file of yours",
        )
    shape = dataset.shape
    square = len(shape) == 2 and 0 < shape[0] == shape[1] <= MAX_SIDE_PX  # noqa: PLR2004
    chunk = np.prod(dataset.chunks or 1)  # read as a whole, whatever is asked
    if not square or dataset.dtype.kind not in "iuf" or chunk > MAX_SIDE_PX**2:
        raise DataError(
            f"`{name}` of sample `{sample}` is {shape} of {dataset.dtype}",
            hint=f"images are squares of numbers, of {MAX_SIDE_PX} px at the most",
        )
    return dataset
