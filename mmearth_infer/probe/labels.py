"""Labels on Earth: polygons, points or a raster, brought to the grid of a store.

Shapes: H W points of a fine grid, several a cell.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from importlib.util import find_spec
from typing import TYPE_CHECKING, Final, Protocol

from mmearth_infer.errors import MissingExtraError, SceneError
from mmearth_infer.probe.raster_labels import open_raster_labels

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    import numpy as np
    from numpy.typing import NDArray

    from mmearth_infer.grid.geobox import GeoBox

RASTERS: Final = (".tif", ".tiff", ".vrt", ".img", ".jp2", ".png")
"""Suffixes of labels that are a raster; others are vector files."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelOptions:
    """What the user says about labels."""

    class_field: str | None = None
    """Field of a vector file that names the class; None if it has only one."""

    names: Mapping[int, str] = field(default_factory=dict)
    """Names of a raster's values; the others are called by their number."""

    ignore: Sequence[int] = ()
    """Values of a raster that are no class."""


class Labels(Protocol):
    """Where on Earth which class is."""

    name: str
    """Name of the file."""

    whole_cells: bool
    """Whether a label tells the class of its whole cell, as points do."""

    colours: Mapping[str, tuple[int, int, int]]
    """Colours that the file has for its classes."""

    def codes(self, box: GeoBox) -> NDArray[np.int32] | None:
        """Return `codes_HW` of a grid, `NONE` without a label; None if all are."""
        ...

    def name_of(self, code: int) -> str:
        """Return the name of the class that a code stands for."""
        ...

    def span(self) -> str:
        """Return where the labels lie, in words."""
        ...

    def outside(self) -> tuple[int, int]:
        """Return how many labels no grid so far has met, and how many there are."""
        ...


def open_labels(path: Path, options: LabelOptions) -> Labels:
    """Open a file of labels.

    Raises:
        SceneError: If it cannot be read, or holds no labels.
        MissingExtraError: If pyogrio is not installed.

    """
    if not path.exists():
        raise SceneError(
            f"there are no labels `{path}`", hint="check the path of --labels"
        )
    if path.suffix.lower() in RASTERS:
        return open_raster_labels(path, names=options.names, ignore=options.ignore)
    if find_spec("pyogrio") is None or find_spec("shapely") is None:
        raise MissingExtraError(f"--labels {path.name}", extra="probe")
    from mmearth_infer.probe.vector_labels import open_vector_labels  # noqa: PLC0415 -- an extra

    return open_vector_labels(path, field=options.class_field)
