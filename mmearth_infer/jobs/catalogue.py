"""A STAC catalogue of the stores of a job, beside them."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final

from mmearth_infer.disk import Kind, check_output, file_beside
from mmearth_infer.view.stac_item import STAC_VERSION

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

NAME: Final = "catalog.json"
"""What a catalogue is called."""

OURS: Final = "mmearth:job"
"""Key that says which job made it."""


def is_our_catalogue(path: Path) -> bool:
    """Tell whether a file is a catalogue that this module wrote."""
    try:
        return OURS in json.loads(path.read_bytes())
    except (OSError, TypeError, ValueError, RecursionError):
        return False


CATALOGUE: Final = Kind("catalogue of a job", is_our_catalogue)
"""What may be replaced."""


def check_catalogue(folder: Path) -> None:
    """Refuse early to replace a catalogue of somebody else.

    Raises:
        StoreError: If one is there.

    """
    check_output(folder / NAME, CATALOGUE, overwrite=True)


def write_catalogue(folder: Path, *, job: str, items: Sequence[Path]) -> Path:
    """Write the catalogue of items in a folder, and return where.

    Args:
        folder: Where the items are.
        job: What the job is called.
        items: The items, in this folder.

    Raises:
        StoreError: If the disk does not take it.

    """
    out = folder / NAME
    described: dict[str, Any] = {
        "type": "Catalog",
        "stac_version": STAC_VERSION,
        "id": job,
        "description": f"Stores of the batch job {job}",
        OURS: job,
        "links": [
            {"rel": "root", "href": f"./{NAME}", "type": "application/json"},
            *(
                {
                    "rel": "item",
                    "href": f"./{item.name}",
                    "type": "application/geo+json",
                }
                for item in items
            ),
        ],
    }
    with file_beside(out) as aside:
        aside.write_text(json.dumps(described, indent=2) + "\n")
    return out
