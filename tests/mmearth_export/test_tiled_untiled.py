"""A local model gives one map however a scene is cut; a window model does not."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
import xarray

from mmearth_export.artifact import write_verified
from mmearth_export.calibrate import freeze, read_windows
from mmearth_infer import EmbedConfig, embed
from mmearth_infer.contract.bands import MMEARTH_BANDS
from mmearth_infer.contract.normalize import pretraining_statistics
from mmearth_infer.read.options import SceneOptions
from mmearth_training.model.encoder import EncoderConfig, Size, receptive_radius_px
from tests.helpers.data import MAJORTOM, needs_data
from tests.helpers.export import manifest_of, random_encoder

if TYPE_CHECKING:
    from pathlib import Path

HALO_PX = 96
WHOLE_PX = 1072
"""A window that holds the scene, 1068 px a side."""

WINDOWS_PX = (256, 320, 448)


def model(folder: Path, scope: str) -> Path:
    """Export a small encoder whose receptive field fits the halo."""
    size = Size(depths=(1, 1, 1, 1), dims=(8, 16, 24, 32))
    config = EncoderConfig(size=size, grn=scope)  # type: ignore[arg-type]
    assert receptive_radius_px(config, 4) <= HALO_PX
    encoder = random_encoder(config)
    if scope == "frozen":
        calibration = read_windows(
            [str(MAJORTOM)],
            bands=MMEARTH_BANDS,
            statistics=pretraining_statistics(MMEARTH_BANDS),
            options=SceneOptions(),
        )
        freeze(encoder, [tile.standardised() for tile in calibration.tiles])
    out = folder / f"{scope}.onnx"
    write_verified(encoder, manifest_of(config), out)
    return out


def embedded(path: Path, folder: Path, window_px: int, halo_px: int) -> np.ndarray:
    out = folder / f"{path.stem}-{window_px}.zarr"
    embed(
        EmbedConfig(
            scene=str(MAJORTOM),
            out=out,
            model=path,
            window_px=window_px,
            halo_px=halo_px,
        )
    )
    with xarray.open_zarr(out) as store:
        found: np.ndarray = store["embedding"].to_numpy()
    return found


@needs_data
@pytest.mark.parametrize("scope", ["frozen", "window"])
def test_tiled_against_untiled(scope: str, tmp_path: Path) -> None:
    path = model(tmp_path, scope)
    whole = embedded(path, tmp_path, WHOLE_PX, 0)
    apart = [
        np.abs(embedded(path, tmp_path, px, HALO_PX) - whole).max()
        / np.abs(whole).max()
        for px in WINDOWS_PX
    ]
    if scope == "frozen":
        assert max(apart) < 1e-5
    else:
        assert min(apart) > 1e-3
