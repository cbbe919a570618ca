"""Several scenes on one grid, read as one."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Final

import numpy as np
from affine import Affine

from mmearth_infer.errors import BandError, SceneError
from mmearth_infer.grid.geobox import GeoBox
from mmearth_infer.grid.validity import present
from mmearth_infer.grid.window import Window
from mmearth_infer.read.acquired import acquired_together
from mmearth_infer.seams import Source

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from mmearth_infer.seams import Scene

_TOLERANCE_PX: Final = 0.01
_NOBODY: Final = 255


class MosaicSource(Source):
    """Scenes that share CRS and grid, as one scene that covers all of them.

    A pixel is that of the first scene, in the order given, that holds data in any
    band there; where none does, it is nodata. A pixel is never of two scenes.
    """

    def __init__(self, parts: Sequence[Source]) -> None:
        """Put scenes side by side; they stay the caller's to close.

        Raises:
            SceneError: If they do not share grid and level.
            BandError: If they give different bands.

        """
        if len(parts) >= _NOBODY:
            raise SceneError(
                f"{len(parts)} scenes are too many for one mosaic",
                hint=f"give fewer than {_NOBODY}, or a VRT of them",
            )
        self._parts = tuple(parts)
        scenes = [part.scene for part in parts]
        for scene in scenes[1:]:
            _check_alike(scenes[0], scene)
        boxes = [scene.geobox for scene in scenes]
        first = boxes[0]
        corners = [_place(first, box) for box in boxes]
        top = min(row for row, _ in corners)
        left = min(col for _, col in corners)
        self._places = tuple(
            Window(row=row - top, col=col - left, height=box.height, width=box.width)
            for (row, col), box in zip(corners, boxes, strict=True)
        )
        geobox = GeoBox(
            crs=first.crs,
            transform=first.transform @ Affine.translation(left, top),
            height=max(place.row + place.height for place in self._places),
            width=max(place.col + place.width for place in self._places),
        )
        self._owner: tuple[Window, NDArray[np.uint8]] | None = None
        self._classified: bool | None = None
        self.scene = _described(scenes, geobox)

    @property
    def fingerprint(self) -> str:
        """Those of the parts, in their order."""
        return " ".join(part.fingerprint for part in self._parts)

    def read(self, window: Window) -> NDArray[np.uint16]:
        """Return `dn_CHW`, each pixel from the first scene that holds it."""
        shape = (window.height, window.width)
        dn_CHW = np.zeros((len(self.scene.bands), *shape), dtype=np.uint16)
        owner_HW = np.full(shape, _NOBODY, dtype=np.uint8)
        for number, (part, place) in enumerate(
            zip(self._parts, self._places, strict=True)
        ):
            shared = window.shared_with(place)
            if shared is None:
                continue
            here = shared.seen_from(window).slices
            if not (owner_HW[here] == _NOBODY).any():
                continue
            part_CHW = part.read(shared.seen_from(place))
            fills_HW = (owner_HW[here] == _NOBODY) & present(part_CHW)
            np.copyto(dn_CHW[(slice(None), *here)], part_CHW, where=fills_HW)
            owner_HW[here][fills_HW] = number
        self._owner = window, owner_HW
        return dn_CHW

    def classes(self, window: Window) -> NDArray[np.uint8] | None:
        """Return `scl_HW`, of the scene that each pixel is from, 0 where of none.

        None unless all scenes have classes.
        """
        if self._classified is None:
            corner = Window(row=0, col=0, height=1, width=1)
            self._classified = all(p.classes(corner) is not None for p in self._parts)
        if not self._classified:
            return None
        if self._owner is None or self._owner[0] != window:
            self.read(window)
        assert self._owner is not None
        owner_HW = self._owner[1]
        classes_HW = np.zeros(owner_HW.shape, dtype=np.uint8)
        for number in np.unique(owner_HW[owner_HW != _NOBODY]).tolist():
            place = self._places[number]
            shared = window.shared_with(place)
            assert shared is not None
            here = shared.seen_from(window).slices
            given_HW = self._parts[number].classes(shared.seen_from(place))
            assert given_HW is not None
            mine_HW = owner_HW[here] == number
            classes_HW[here][mine_HW] = given_HW[mine_HW]
        return classes_HW


def _place(first: GeoBox, box: GeoBox) -> tuple[int, int]:
    """Return row and column of a grid's corner on the first one's."""
    (left, _, _, top), (first_left, _, _, first_top) = box.bounds, first.bounds
    return (
        round((top - first_top) / first.transform.e),
        round((left - first_left) / first.transform.a),
    )


def _check_alike(first: Scene, scene: Scene) -> None:
    """Refuse scenes that cannot share a grid, a model input and a level."""
    a, b = first.geobox, scene.geobox
    names = f"`{first.name}` and `{scene.name}`"
    if a.crs != b.crs:
        raise SceneError(
            f"{names} have different CRS: {a.crs.to_string()[:40]} and "
            f"{b.crs.to_string()[:40]}",
            hint="embed them apart, or warp one with `rio warp`",
        )
    scale = max(
        abs(b.transform.a / a.transform.a - 1), abs(b.transform.e / a.transform.e - 1)
    )
    row, col = _place(a, b)
    off = max(
        abs((b.bounds[3] - a.bounds[3]) / a.transform.e - row),
        abs((b.bounds[0] - a.bounds[0]) / a.transform.a - col),
    )
    if scale * max(b.height, b.width) > _TOLERANCE_PX or off > _TOLERANCE_PX:
        raise SceneError(
            f"{names} are not on one grid: their pixels lie {off:.3g} of a pixel "
            f"apart, their sizes {scale:.3g} of it",
            hint="embed them apart, or warp one onto the other with `rio warp --like`",
        )
    if first.level != scene.level:
        raise SceneError(
            f"{names} are of different levels: {first.level} and {scene.level}",
            hint="give scenes of one level; --product corrects a wrong one",
        )
    if first.bands != scene.bands:
        raise BandError(
            f"{names} have different bands: {' '.join(first.bands)} and "
            f"{' '.join(scene.bands)}",
            hint="give scenes with the same bands",
        )


def _described(scenes: Sequence[Scene], geobox: GeoBox) -> Scene:
    """Return the mosaic's decisions, made of those of its parts."""
    first = scenes[0]
    return replace(
        first,
        name=" + ".join(scene.name for scene in scenes),
        geobox=geobox,
        bands_evidence=_each(scenes, [scene.bands_evidence for scene in scenes]),
        level_evidence=_each(scenes, [scene.level_evidence for scene in scenes]),
        offset_dn=min(scene.offset_dn for scene in scenes),
        offset_evidence=_each(
            scenes, [f"{s.offset_dn}: {s.offset_evidence}" for s in scenes]
        ),
        acquired=acquired_together(scene.acquired for scene in scenes),
        warnings=tuple(dict.fromkeys(n for scene in scenes for n in scene.warnings)),
        notes=tuple(dict.fromkeys(n for scene in scenes for n in scene.notes)),
    )


def _each(scenes: Sequence[Scene], said: Sequence[str]) -> str:
    """Return what is said of all, or of each after its name."""
    if len(set(said)) == 1:
        return said[0]
    pairs = zip(scenes, said, strict=True)
    return "; ".join(f"{scene.name}: {text}" for scene, text in pairs)
