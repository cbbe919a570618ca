"""Compiled inference and embeddings for Sentinel-2.

The names below are the Python interface; they are imported when first used, so that
`import mmearth_infer` stays cheap.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mmearth_infer.errors import MMEarthError
    from mmearth_infer.grid.window import Window
    from mmearth_infer.read.options import SceneOptions
    from mmearth_infer.run.config import EmbedConfig
    from mmearth_infer.run.embed import embed
    from mmearth_infer.run.report import Report
    from mmearth_infer.write.open_store import Embedding, open_store

__all__ = [
    "EmbedConfig",
    "Embedding",
    "MMEarthError",
    "Report",
    "SceneOptions",
    "Window",
    "embed",
    "open_store",
]

_HOMES = {
    "EmbedConfig": "mmearth_infer.run.config",
    "Embedding": "mmearth_infer.write.open_store",
    "MMEarthError": "mmearth_infer.errors",
    "Report": "mmearth_infer.run.report",
    "SceneOptions": "mmearth_infer.read.options",
    "Window": "mmearth_infer.grid.window",
    "embed": "mmearth_infer.run.embed",
    "open_store": "mmearth_infer.write.open_store",
}


def __getattr__(name: str) -> Any:  # noqa: ANN401 -- a module's names are of any type
    """Import a public name from its home on first use."""
    if name not in _HOMES:
        raise AttributeError(f"module `{__name__}` has no attribute `{name}`")
    return getattr(import_module(_HOMES[name]), name)
