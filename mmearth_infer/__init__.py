"""Compiled inference and embeddings for Sentinel-2.

The names below are the Python interface; they are imported when first used, so that
`import mmearth_infer` stays cheap.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mmearth_infer.api.maps import embed, segment
    from mmearth_infer.api.probes import probe_apply, probe_fit, probe_fuse
    from mmearth_infer.errors import MMEarthError
    from mmearth_infer.grid.window import Window
    from mmearth_infer.read.options import SceneOptions
    from mmearth_infer.run.config import EmbedConfig, SegmentConfig
    from mmearth_infer.run.report import Report
    from mmearth_infer.run.segment import MapReport
    from mmearth_infer.write.open_store import Embedding, open_store

__all__ = [
    "EmbedConfig",
    "Embedding",
    "MMEarthError",
    "MapReport",
    "Report",
    "SceneOptions",
    "SegmentConfig",
    "Window",
    "embed",
    "open_store",
    "probe_apply",
    "probe_fit",
    "probe_fuse",
    "segment",
]

_HOMES = {
    "EmbedConfig": "mmearth_infer.run.config",
    "Embedding": "mmearth_infer.write.open_store",
    "MMEarthError": "mmearth_infer.errors",
    "MapReport": "mmearth_infer.run.segment",
    "Report": "mmearth_infer.run.report",
    "SceneOptions": "mmearth_infer.read.options",
    "SegmentConfig": "mmearth_infer.run.config",
    "Window": "mmearth_infer.grid.window",
    "embed": "mmearth_infer.api.maps",
    "open_store": "mmearth_infer.write.open_store",
    "probe_apply": "mmearth_infer.api.probes",
    "probe_fit": "mmearth_infer.api.probes",
    "probe_fuse": "mmearth_infer.api.probes",
    "segment": "mmearth_infer.api.maps",
}


def __getattr__(name: str) -> Any:  # noqa: ANN401 -- a module's names are of any type
    """Import a public name from its home on first use."""
    if name not in _HOMES:
        raise AttributeError(f"module `{__name__}` has no attribute `{name}`")
    return getattr(import_module(_HOMES[name]), name)
