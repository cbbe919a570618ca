"""Puts on a scene what the user asked for: a mask, a grid, and an area around them."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from mmearth_infer.read.area import MULTIPLE_PX, AreaSource
from mmearth_infer.read.asked import bbox_area, read_area
from mmearth_infer.read.crop import snapped
from mmearth_infer.read.masked import MaskedSource

if TYPE_CHECKING:
    from mmearth_infer.read.options import SceneOptions
    from mmearth_infer.seams import Source


def wrapped(source: Source, options: SceneOptions) -> Source:
    """Return the scene with mask, grid and area of the options, or itself.

    An area of a scene that is snapped begins on the common grid, too.

    Raises:
        SceneError: If the scene has no classes to mask by, cannot be snapped, or has
            nothing in the area.
        MissingExtraError: If the area's file takes what is not installed.

    """
    if options.mask:
        source = MaskedSource(source, options.mask)
    if options.snap_px is not None:
        source = snapped(source, options.snap_px)
    box = source.scene.geobox
    area = None
    if options.aoi is not None:
        area = read_area(options.aoi, box)
    if options.bbox is not None:
        area = bbox_area(options.bbox, box)
    if area is None:
        return source
    multiple_px = math.lcm(MULTIPLE_PX, options.snap_px or 1)
    return AreaSource(source, area, multiple_px=multiple_px)
