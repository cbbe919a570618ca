"""What an evaluation came to, as JSON that grows by one cell of the table at a time."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.metadata import version
from typing import TYPE_CHECKING

import msgspec

from mmearth_infer.disk import disk_errors, file_beside
from mmearth_infer.errors import StoreError
from mmearth_training.evaluate.settings import Mode  # noqa: TC001 -- msgspec

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

RESULTS = "results.json"
"""Name of the file in the folder of an evaluation."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """One cell of the table."""

    model: str
    """Name of the encoder."""

    sha256: str
    """Digest of its weights; empty for a baseline by name."""

    task: str
    """Name of the data set."""

    mode: Mode
    """What was trained."""

    partition: str
    """Which samples it was trained on."""

    metric: str
    """The metric of the paper for this task."""

    value: float
    """What it came to on the test split, from 0 to 1."""

    majority: float | None
    """The same for a model that never looks at an image; None for segmentation."""

    scores: dict[str, dict[str, float]]
    """All metrics by split."""

    samples: dict[str, int]
    """Samples a split."""

    elapsed_s: float
    """Time it took."""

    versions: dict[str, str]
    """What computed it."""

    @property
    def key(self) -> tuple[str, str, str, str, str]:
        """What tells cells apart."""
        return (self.model, self.sha256, self.task, self.mode, self.partition)


def versions() -> dict[str, str]:
    """Return the versions of what computes results."""
    return {name: version(name) for name in ("mmearth-infer", "torch", "torchmetrics")}


def read_results(out: Path) -> list[Result]:
    """Return the finished cells of an evaluation; none where nothing is.

    Raises:
        StoreError: If the file holds something else.

    """
    path = out / RESULTS
    if not path.exists():
        return []
    try:
        return msgspec.json.decode(path.read_bytes(), type=list[Result])
    except (OSError, msgspec.DecodeError) as error:
        raise StoreError(
            f"`{path}` cannot be read: {error}", hint="start anew with --overwrite"
        ) from error


def write_results(out: Path, results: Sequence[Result]) -> None:
    """Replace the file as a whole.

    Raises:
        StoreError: If the disk does not take it.

    """
    text = msgspec.json.format(msgspec.json.encode(list(results)), indent=1)
    with disk_errors(out), file_beside(out / RESULTS) as aside:
        aside.write_bytes(text)
