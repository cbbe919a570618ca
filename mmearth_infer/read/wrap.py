"""Puts on a scene what the user asked for: a mask, and an area around it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mmearth_infer.read.area import AreaSource
from mmearth_infer.read.asked import bbox_area, read_area
from mmearth_infer.read.masked import MaskedSource

if TYPE_CHECKING:
    from mmearth_infer.read.options import SceneOptions
    from mmearth_infer.seams import Source


def wrapped(source: Source, options: SceneOptions) -> Source:
    """Return the scene with the mask and the area of the options, or itself.

    Raises:
        SceneError: If the scene has no classes to mask by, or nothing in the area.
        MissingExtraError: If the area's file takes what is not installed.

    """
    if options.mask:
        source = MaskedSource(source, options.mask)
    if options.aoi is not None:
        source = AreaSource(source, read_area(options.aoi, source.scene.geobox))
    if options.bbox is not None:
        source = AreaSource(source, bbox_area(options.bbox, source.scene.geobox))
    return source
