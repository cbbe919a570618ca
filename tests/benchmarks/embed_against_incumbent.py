"""`mmearth embed` beside the script people write today, in one process.

The incumbent: a rasterio window loop, standardisation in numpy, the eager PyTorch
encoder with the arithmetic of the published code, a numpy array on disk. Both see
the same windows with the same halo, and their results are compared. The incumbent's
model is built before the clock starts; ours is opened from its file on the clock.

    python -m tests.benchmarks.embed_against_incumbent [--repeats 5] [--size atto]
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import rasterio
import torch
import xarray
from rasterio.windows import Window as RasterWindow

from mmearth_export.artifact import write_verified
from mmearth_export.describe import describe
from mmearth_infer import EmbedConfig, embed
from mmearth_infer.contract.bands import MMEARTH_BANDS
from mmearth_infer.contract.manifest import Provenance
from mmearth_infer.contract.normalize import pretraining_statistics
from mmearth_infer.grid.plan import plan_tiles
from mmearth_infer.run.tiling import DEFAULT_HALO_PX, DEFAULT_WINDOW_PX
from mmearth_training.model.encoder import SIZES, Encoder, EncoderConfig
from tests.helpers.data import MAJORTOM

SETTINGS = ((112, 0), (224, 0), (DEFAULT_WINDOW_PX, DEFAULT_HALO_PX["window"]))
"""Window and halo: the training crop, twice that, and the default."""


@dataclass(frozen=True)
class Result:
    """Both on one setting."""

    window_px: int
    halo_px: int
    incumbent_s: float
    ours_s: float
    apart: float
    """Largest difference of the results over the largest value."""

    @property
    def ratio(self) -> float:
        """How many times as fast ours is."""
        return self.incumbent_s / self.ours_s


def build_encoder(size: str) -> Encoder:
    """Return an encoder with random weights; speed does not depend on them."""
    encoder = Encoder(EncoderConfig(size=SIZES[size]))
    generator = torch.Generator().manual_seed(0)
    for weight in encoder.parameters():
        noise = torch.randn(weight.shape, generator=generator)
        weight.data = noise / max(weight[0].numel(), 4) ** 0.5
    return encoder.eval()


def export(encoder: Encoder, size: str, out: Path) -> None:
    """Export the encoder through the same gate as any other."""
    manifest = describe(
        encoder.config,
        name=f"{size}-16",
        size_name=size,
        bands=MMEARTH_BANDS,
        stages=(4,),
        crop_px=112,
        provenance=Provenance(trained=True, checkpoint="random, for speed alone"),
    )
    write_verified(encoder, manifest, out)


def incumbent(
    scene: Path, encoder: Encoder, out: Path, window_px: int, halo_px: int
) -> None:
    """Embed a scene the way a script does it, one window at a time."""
    numbers = pretraining_statistics(MMEARTH_BANDS)["l2a"]
    mean = np.float32(numbers.mean)[:, None, None]
    std = np.float32(numbers.std)[:, None, None]
    with rasterio.open(scene) as file, torch.inference_mode():
        plan = plan_tiles(
            height_px=file.height,
            width_px=file.width,
            stride_px=16,
            multiple_px=16,
            window_px=window_px,
            halo_px=halo_px,
        )
        channels = encoder.config.size.dims[-1]
        result = np.lib.format.open_memmap(
            out, "w+", np.float32, (channels, plan.height, plan.width)
        )
        for row in plan.rows:
            for tile in plan.tiles(row):
                seen = tile.cells.times(16)
                pixels = file.read(
                    window=RasterWindow(seen.col, seen.row, seen.width, seen.height),
                    boundless=True,
                )
                x = (pixels.astype(np.float32) - mean) / std
                x[:, (pixels == 0).all(axis=0)] = 0
                features = encoder(torch.from_numpy(x[None]))[0].numpy()
                rows, cols = tile.core.seen_from(tile.cells).slices
                result[(slice(None), *tile.core.slices)] = features[:, rows, cols]
        result.flush()


def measure(
    scene: Path, *, size: str, repeats: int, settings: tuple[tuple[int, int], ...]
) -> list[Result]:
    """Run both in turn and return the medians."""
    encoder = build_encoder(size)
    results = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        model = folder / "m.onnx"
        export(encoder, size, model)
        for window_px, halo_px in settings:
            theirs_s, ours_s = [], []
            for _ in range(repeats):
                began = time.perf_counter()
                incumbent(scene, encoder, folder / "i.npy", window_px, halo_px)
                theirs_s.append(time.perf_counter() - began)
                config = EmbedConfig(
                    scene=str(scene),
                    out=folder / "o.zarr",
                    model=model,
                    window_px=window_px,
                    halo_px=halo_px,
                    blend="none",
                    overwrite=True,
                )
                began = time.perf_counter()
                embed(config)
                ours_s.append(time.perf_counter() - began)
            theirs = np.load(folder / "i.npy")
            with xarray.open_zarr(folder / "o.zarr") as store:
                ours = store["embedding"].to_numpy()
            results.append(
                Result(
                    window_px=window_px,
                    halo_px=halo_px,
                    incumbent_s=statistics.median(theirs_s),
                    ours_s=statistics.median(ours_s),
                    apart=float(np.abs(ours - theirs).max() / np.abs(theirs).max()),
                )
            )
    return results


def main() -> None:
    """Print a table and its ratios."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--size", choices=SIZES, default="atto")
    parser.add_argument("--scene", type=Path, default=MAJORTOM)
    asked = parser.parse_args()
    print(
        f"{asked.scene.name}, {asked.size}/16, GRN window, "
        f"{torch.get_num_threads()} threads, median of {asked.repeats}"
    )
    print("window halo | incumbent   ours | ratio | apart")
    for result in measure(
        asked.scene, size=asked.size, repeats=asked.repeats, settings=SETTINGS
    ):
        print(
            f"{result.window_px:6d} {result.halo_px:4d} | {result.incumbent_s:7.2f} s "
            f"{result.ours_s:5.2f} s | {result.ratio:5.2f} | {result.apart:.1e}"
        )


if __name__ == "__main__":
    main()
