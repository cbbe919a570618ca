"""The JSON files of a data set, read and checked.

What they say is never trusted: they come with the data.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from mmearth_infer.errors import DataError
from mmearth_training.modalities import MODALITIES

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

_HUGE: Final = 1e300
_HINT: Final = "compare the file with its source"

SPLITS: Final = ("train", "val", "test")
"""Names of the splits; all but the first may be empty, as they are when published."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredStatistics:
    """One entry of the statistics file, as it stands there."""

    mean: tuple[float | None, ...]
    """Mean a channel; None where the file has no number, as for B10 of L2A."""

    std: tuple[float | None, ...]
    """Standard deviation a channel; likewise."""


def read_json(path: Path) -> Any:  # noqa: ANN401 -- whatever the file holds
    """Parse a file; NaN and infinity, which Python writes, become None."""
    try:
        return json.loads(path.read_bytes(), parse_constant=lambda _: None)
    except (OSError, ValueError, RecursionError) as error:
        if not path.exists():
            raise DataError(
                f"there is no `{path.name}` in `{path.parent}`",
                hint="a data set is NAME.h5, NAME_splits.json, NAME_band_stats.json",
            ) from error
        raise DataError(
            f"`{path}` cannot be read as JSON: {error}",
            hint="the file may be cut off; compare it with its source",
        ) from error


def parse_splits(raw: Any, source: str) -> Mapping[str, tuple[int, ...]]:  # noqa: ANN401
    """Check the splits: whole numbers, each once in all of them."""
    if not isinstance(raw, dict) or "train" not in raw:
        raise DataError(
            f"`{source}` has no split `train`", hint="it maps train, val, test to rows"
        )
    splits = {name: raw.get(name, []) for name in SPLITS}
    seen: dict[int, str] = {}
    for name, rows in splits.items():
        if not isinstance(rows, list):
            raise DataError(
                f"split `{name}` in `{source}` is not a list of rows", hint=_HINT
            )
        for row in rows:
            if type(row) is not int or row < 0:
                raise DataError(
                    f"split `{name}` in `{source}` has a row `{row}`", hint=_HINT
                )
            if row in seen:
                raise DataError(
                    f"`{source}` has row {row} in `{seen[row]}` and again in `{name}`",
                    hint="a tile belongs to one split, or what is measured means less",
                )
            seen[row] = name
    if not splits["train"]:
        raise DataError(f"split `train` in `{source}` is empty", hint=_HINT)
    return {name: tuple(rows) for name, rows in splits.items()}


def parse_statistics(raw: Any, source: str) -> Mapping[str, StoredStatistics]:  # noqa: ANN401
    """Check NAME_band_stats.json, but for whether it has all that a run needs.

    Raises:
        DataError: If it is not a mapping to lists of numbers of one length.

    """
    if not isinstance(raw, dict):
        raise DataError(f"`{source}` does not map modalities to statistics", hint=_HINT)
    entries = {}
    for key, entry in raw.items():
        figures = []
        for figure in ("mean", "std"):
            values = entry.get(figure) if isinstance(entry, dict) else None
            if not isinstance(values, list) or not all(map(_is_figure, values)):
                raise DataError(
                    f"`{source}` has no list of numbers as `{figure}` of `{key}`",
                    hint=_HINT,
                )
            figures.append(tuple(None if v is None else float(v) for v in values))
        if len(figures[0]) != len(figures[1]):
            raise DataError(
                f"`{source}` has {len(figures[0])} means and {len(figures[1])} "
                f"standard deviations of `{key}`",
                hint=_HINT,
            )
        entries[key] = StoredStatistics(mean=figures[0], std=figures[1])
    return entries


def parse_synthetic(raw: Any, source: str) -> tuple[str, ...]:  # noqa: ANN401
    """Return the modalities that NAME_provenance.json calls synthetic.

    Raises:
        DataError: If it does not say.

    """
    synthetic = raw.get("synthetic") if isinstance(raw, dict) else None
    if not isinstance(synthetic, dict):
        raise DataError(
            f"`{source}` does not say which modalities are synthetic", hint=_HINT
        )
    return tuple(name for name in MODALITIES if name in synthetic)


def _is_figure(value: object) -> bool:
    """Tell whether a value is a number a float can hold, or is missing."""
    return value is None or (type(value) in {int, float} and abs(value) < _HUGE)  # type: ignore[arg-type]
