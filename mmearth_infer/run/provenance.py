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
    from mmearth_infer.engine.model import ModelFile
    from mmearth_infer.run.prepared import Prepared
    from mmearth_infer.seams import Scene
    from mmearth_infer.write.encode import DtypeChoice

DISTRIBUTION: Final = "mmearth-infer"
"""Name of this package on the index."""

PROVENANCE_SCHEMA: Final = 1
"""Version of the structure below."""


def provenance(made: Prepared, output: dict[str, Any]) -> dict[str, Any]:
    """Return the attribute `mmearth` of a store.

    Args:
        made: The model and the scene.
        output: How the map is kept.

    """
    model, scene, plan, outputs = made.model, made.scene, made.plan, made.outputs
    manifest, runtime = model.file.manifest, model.runtime
    return {
        "schema": PROVENANCE_SCHEMA,
        "model": {
            "name": manifest.name,
            "digest": f"sha256:{model.file.digest}",
            "stages": [output.stage for output in outputs],
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
            "acquired": scene.acquired and str(scene.acquired),
            "acquired_evidence": scene.acquired and scene.acquired.evidence,
            "shape_px": [scene.geobox.height, scene.geobox.width],
            "warnings": list(scene.warnings),
            "notes": list(scene.notes),
        },
        "tiling": {
            "stride_px": outputs[-1].stride_px,
            "window_px": plan.window_px,
            "halo_px": plan.halo_px,
            "blend": made.blend,
            "grn_scope": manifest.grn.scope,
        },
        "engine": {
            "name": runtime.name,
            "version": runtime.version,
            "device": runtime.device,
            "precision": manifest.precision,
        },
        "output": output,
        "version": version(DISTRIBUTION),
    }


def job(said: dict[str, Any], made: Prepared) -> dict[str, Any]:
    """Return everything that decides the bytes of a store.

    More than the store says itself: times of files have no place in it, and the size
    of batches may move the last bit of a sum.

    Args:
        said: What the store says.
        made: The model and the scene.

    """
    files = made.source.fingerprint
    return {**said, "files of the scene": files, "batch size": made.batch_size}


def geoemb(
    model: ModelFile, scene: Scene, output: Output, *, dtype: DtypeChoice
) -> dict[str, Any]:
    """Return the values of the geo-embeddings convention."""
    high_m, _ = scene.geobox.cells(output.stride_px).pixel_m()
    return {
        "type": "pixel",
        "dimensions": output.channels,
        "model": f"urn:sha256:{model.digest}",
        "source_data": [scene.name],
        "data_type": dtype.partition("-")[0],
        "gsd": round(high_m, 3),
        "build_version": f"{DISTRIBUTION} {version(DISTRIBUTION)}",
    }
