"""What a store says about how it was made.

No clock and no path stands in it: the same scene, model and settings give the same
store to the byte. Times are in the report of the run.
"""

from __future__ import annotations

from importlib.metadata import version
from typing import TYPE_CHECKING, Any, Final

import msgspec

if TYPE_CHECKING:
    from mmearth_infer.contract.manifest import Output
    from mmearth_infer.engine.compiled import CompiledModel
    from mmearth_infer.engine.model import ModelFile
    from mmearth_infer.grid.plan import TilePlan
    from mmearth_infer.seams import Scene

DISTRIBUTION: Final = "mmearth-infer"
"""Name of this package on the index."""

PROVENANCE_SCHEMA: Final = 1
"""Version of the structure below."""


def provenance(
    model: CompiledModel, scene: Scene, output: Output, plan: TilePlan
) -> dict[str, Any]:
    """Return the attribute `mmearth` of a store."""
    manifest, runtime = model.file.manifest, model.runtime
    return {
        "schema": PROVENANCE_SCHEMA,
        "model": {
            "name": manifest.name,
            "digest": f"sha256:{model.file.digest}",
            "stage": output.stage,
            "trained": manifest.provenance.trained,
            "manifest": msgspec.to_builtins(manifest),
        },
        "scene": {
            "name": scene.name,
            "bands": list(scene.bands),
            "bands_evidence": scene.bands_evidence,
            "product_level": scene.level,
            "product_level_evidence": scene.level_evidence,
            "offset_dn": scene.offset_dn,
            "offset_evidence": scene.offset_evidence,
            "scale": scene.scale,
            "shape_px": [scene.geobox.height, scene.geobox.width],
            "warnings": list(scene.warnings),
        },
        "tiling": {
            "stride_px": output.stride_px,
            "window_px": plan.window_px,
            "halo_px": plan.halo_px,
            "grn_scope": manifest.grn.scope,
        },
        "engine": {
            "name": runtime.name,
            "version": runtime.version,
            "device": runtime.device,
            "precision": manifest.precision,
        },
        "version": version(DISTRIBUTION),
    }


def geoemb(model: ModelFile, scene: Scene, output: Output) -> dict[str, Any]:
    """Return the values of the geo-embeddings convention."""
    high_m, _ = scene.geobox.cells(output.stride_px).pixel_m()
    return {
        "type": "pixel",
        "dimensions": output.channels,
        "model": f"urn:sha256:{model.digest}",
        "source_data": [scene.name],
        "data_type": "float32",
        "gsd": round(high_m, 3),
        "build_version": f"{DISTRIBUTION} {version(DISTRIBUTION)}",
    }
