"""The confusion matrix as a table of commas and lines."""

from __future__ import annotations

import csv
from typing import TYPE_CHECKING

from mmearth_infer.disk import file_beside

if TYPE_CHECKING:
    from pathlib import Path

    from mmearth_infer.contract.probe import ProbeManifest


def save_table(manifest: ProbeManifest, path: Path) -> None:
    """Write a row a true class: cells by predicted class, then its IoU.

    Raises:
        StoreError: If the disk does not take it.

    """
    validation = manifest.validation
    assert validation is not None
    with file_beside(path) as aside, aside.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["true", *manifest.names, "iou"])
        for name, row, iou in zip(
            manifest.names, validation.confusion, validation.iou, strict=True
        ):
            writer.writerow([name, *row, f"{iou:.4f}"])
