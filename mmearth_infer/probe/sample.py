"""Labelled cells of stores: found first, drawn from, and read last.

Shapes: S cells, D channels, h w cells of a window.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

import numpy as np
from affine import Affine

from mmearth_infer.errors import SceneError, StoreError
from mmearth_infer.grid.geobox import GeoBox
from mmearth_infer.probe.codes import NONE, majority

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from mmearth_infer.grid.window import Window
    from mmearth_infer.probe.cells import Cells
    from mmearth_infer.probe.labels import Labels

    Tell = Callable[[int, int], None]

FINE: Final = (4, 16)
"""Fewest and most points a side of a cell at which labels are looked up."""

FEWEST: Final = 100
"""Cells of a class that are kept where cells are drawn, if it has so many."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Places:
    """Cells with a class, in the order of stores and their chunks."""

    names: tuple[str, ...]
    """Names of the classes."""

    class_S: NDArray[np.int64]  # noqa: N815 -- its shape
    """Number of the class of each cell."""

    store_S: NDArray[np.int32]  # noqa: N815 -- likewise
    """Number of the store."""

    row_S: NDArray[np.int32]  # noqa: N815 -- likewise
    """Row in the store's grid."""

    col_S: NDArray[np.int32]  # noqa: N815 -- likewise
    """Column."""

    @property
    def counts(self) -> dict[str, int]:
        """Cells of each class."""
        counts = np.bincount(self.class_S, minlength=len(self.names))
        return dict(zip(self.names, counts.tolist(), strict=True))

    def only(self, kept_S: NDArray[np.bool_]) -> Places:
        """Return some of the cells."""
        return replace(
            self,
            class_S=self.class_S[kept_S],
            store_S=self.store_S[kept_S],
            row_S=self.row_S[kept_S],
            col_S=self.col_S[kept_S],
        )


def check_alike(embeddings: Sequence[Cells]) -> None:
    """Refuse stores whose embeddings mean different things.

    Raises:
        StoreError: Naming the first that differs from the one before.

    """
    first = embeddings[0]
    for other in embeddings[1:]:
        for what, one, another in (
            ("made by model", first.model_digest, other.model_digest),
            ("of finer stages", first.finer_stages, other.finer_stages),
            ("of stage", first.stage, other.stage),
            ("of channels", first.channels, other.channels),
        ):
            if one != another:
                raise StoreError(
                    f"`{first.path}` is {what} {one}, `{other.path}` {another}",
                    hint="one probe reads the embeddings of one model and its stages",
                )


def find_places(
    embeddings: Sequence[Cells],
    labels: Sequence[Labels],
    *,
    min_share: float,
    tell: Tell,
) -> Places:
    """Find the cells that labels give a class.

    A cell has the class of most of its area, if that is `min_share` of it at least;
    of most of its points, where labels are points. Cells that two files give
    different classes have none.

    Args:
        embeddings: Stores, of one model and its stages.
        labels: Where which class is.
        min_share: Least share of a cell that is of its class, above 0.
        tell: Is told how many windows are done, and how many there are.

    Raises:
        SceneError: If no cell has a class, with what lies where.

    """
    known: dict[str, int] = {}
    found: list[
        tuple[int, NDArray[np.int64], NDArray[np.int32], NDArray[np.int32]]
    ] = []
    largest = 0.0
    windows = [(n, w) for n, e in enumerate(embeddings) for w in e.chunks()]
    for done, (number, window) in enumerate(windows, start=1):
        class_hw = np.full((window.height, window.width), NONE, dtype=np.int64)
        for one in labels:
            share = _add(one, embeddings[number], window, min_share, known, class_hw)
            largest = max(largest, share)
        row, col = (axis.astype(np.int32) for axis in np.nonzero(class_hw >= 0))
        found.append((number, class_hw[row, col], row + window.row, col + window.col))
        tell(done, len(windows))
    places = _places(known, found)
    if not len(places.class_S):
        raise _nothing(embeddings, labels, largest=largest, min_share=min_share)
    return places


def _add(  # noqa: PLR0913, PLR0917 -- one window of one file
    labels: Labels,
    embedding: Cells,
    window: Window,
    min_share: float,
    known: dict[str, int],
    class_hw: NDArray[np.int64],
) -> float:
    """Add what a file says of a window to `class_hw`; return the largest share."""
    low, high = FINE
    fine = min(max(embedding.stride_px or high, low), high)
    codes_HW = labels.codes(_finer(embedding.geobox, window, fine))
    if codes_HW is None:
        return 0.0
    code_hw, share_hw = majority(codes_HW, fine)
    largest = float(share_hw.max())
    if not labels.whole_cells:
        code_hw[share_hw < min_share] = NONE
    for code in np.unique(code_hw[code_hw != NONE]):
        number = known.setdefault(labels.name_of(int(code)), len(known))
        here_hw = code_hw == code
        contradicted_hw = here_hw & (class_hw != NONE) & (class_hw != number)
        class_hw[here_hw & (class_hw == NONE)] = number
        class_hw[contradicted_hw] = -1
    return largest


def _finer(box: GeoBox, window: Window, fine: int) -> GeoBox:
    """Return the grid of a window of cells, `fine` times as fine."""
    corner = box.transform @ Affine.translation(window.col, window.row)
    return GeoBox(
        crs=box.crs,
        transform=corner @ Affine.scale(1 / fine),
        height=window.height * fine,
        width=window.width * fine,
    )


def _places(
    known: dict[str, int],
    found: list[tuple[int, NDArray[np.int64], NDArray[np.int32], NDArray[np.int32]]],
) -> Places:
    """Put what was found together; classes in order of their names."""
    class_S = np.concatenate([classes for _, classes, _, _ in found])
    present = {name for name, number in known.items() if (class_S == number).any()}
    names = tuple(sorted(present, key=_by_number))
    order = np.full(len(known), -1, dtype=np.int64)
    for place, name in enumerate(names):
        order[known[name]] = place
    return Places(
        names=names,
        class_S=order[class_S] if known else class_S,
        store_S=np.concatenate(
            [np.full(len(rows), number, np.int32) for number, _, rows, _ in found]
        ),
        row_S=np.concatenate([rows for *_, rows, _ in found]),
        col_S=np.concatenate([cols for *_, cols in found]),
    )


def _by_number(name: str) -> tuple[bool, int, str]:
    """Return what sorts `2` before `10`, and numbers before words."""
    is_number = name.removeprefix("-").isdecimal()
    return not is_number, int(name) if is_number else 0, name


def _nothing(
    embeddings: Sequence[Cells],
    labels: Sequence[Labels],
    *,
    largest: float,
    min_share: float,
) -> SceneError:
    """Return the error of labels that give no cell a class, and why."""
    named = ", ".join(f"`{one.name}`" for one in labels)
    if largest:
        return SceneError(
            f"{named}: no class covers {min_share:.0%} of any cell, the most is "
            f"{largest:.0%}",
            hint=f"choose --min-share {largest / 2:.2g}, or embed finer cells with "
            "--stage",
        )
    spans = "; ".join(f"`{one.name}` {one.span()}" for one in labels)
    boxes = "; ".join(
        f"`{e.path.name}` {', '.join(f'{v:.10g}' for v in e.geobox.bounds)} in "
        f"{e.geobox.crs.to_string()}"
        for e in embeddings
    )
    return SceneError(
        f"no label lies in a store: labels span {spans}; stores {boxes}",
        hint="check that both are of one place, and the CRS of the labels",
    )


def draw_places(places: Places, most: int, seed: int) -> Places:
    """Draw cells by chance where there are more than `most`.

    Classes keep their shares, but rare ones keep `FEWEST` cells where they have them.
    """
    total = len(places.class_S)
    if total <= most:
        return places
    rng = np.random.default_rng(seed)
    kept_S = np.zeros(total, dtype=bool)
    for number in range(len(places.names)):
        of_S = np.flatnonzero(places.class_S == number)
        count = max(min(len(of_S), FEWEST), len(of_S) * most // total)
        kept_S[rng.choice(of_S, count, replace=False)] = True
    return places.only(kept_S)


def read_features(
    embeddings: Sequence[Cells], places: Places, tell: Tell
) -> tuple[Places, NDArray[np.float32]]:
    """Read the embeddings of cells.

    Args:
        embeddings: The stores.
        places: Which cells.
        tell: Is told how many windows are done, and how many there are.

    Returns:
        The cells whose embeddings are finite, and `features_SD`.

    Raises:
        StoreError: If a store is damaged, or no cell holds data.

    """
    features_SD = np.empty((len(places.class_S), embeddings[0].channels), np.float32)
    windows = [(n, w) for n, e in enumerate(embeddings) for w in e.chunks()]
    first = 0
    for done, (number, window) in enumerate(windows, start=1):
        past = first + _inside(places, first, number, window)
        if past > first:
            block_Dhw = embeddings[number].read(window)
            rows = places.row_S[first:past] - window.row
            cols = places.col_S[first:past] - window.col
            features_SD[first:past] = block_Dhw[:, rows, cols].T
        first = past
        tell(done, len(windows))
    assert first == len(features_SD)
    finite_S: NDArray[np.bool_] = np.logical_and.reduce(
        np.isfinite(features_SD), axis=1
    )
    if not finite_S.any():
        raise StoreError(
            f"none of {len(finite_S)} labelled cells holds data: their embeddings are "
            "NaN",
            hint="labels lie where the scene is nodata or masked",
        )
    return places.only(finite_S), features_SD[finite_S]


def _inside(places: Places, first: int, number: int, window: Window) -> int:
    """Return how many cells from `first` on lie in a window; they are in order."""
    store_S = places.store_S[first:]
    row_S, col_S = places.row_S[first:], places.col_S[first:]
    ahead = min(len(store_S), window.height * window.width)
    inside = (store_S[:ahead] == number) & (row_S[:ahead] >= window.row)
    inside &= (row_S[:ahead] < window.row + window.height) & (
        col_S[:ahead] >= window.col
    )
    inside &= col_S[:ahead] < window.col + window.width
    return ahead if inside.all() else int(np.argmin(inside))
