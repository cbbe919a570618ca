"""Makes `untrained.onnx`: an encoder of reduced width that has learned nothing.

`python -m tests.helpers.untrained OUT.onnx` writes it again, to the byte where
PyTorch, ONNX and the processor are the same.
"""

from __future__ import annotations

import sys
import zlib
from importlib.metadata import version
from pathlib import Path
from typing import Final

import numpy as np
import torch

from mmearth_export.artifact import write_verified
from mmearth_export.describe import describe
from mmearth_infer.contract.bands import MMEARTH_BANDS
from mmearth_infer.contract.manifest import Provenance
from mmearth_infer.contract.normalize import PRETRAINING_SOURCE
from mmearth_training.model.encoder import Encoder, EncoderConfig, Size

NAME: Final = "untrained-demo"
"""Name in the manifest."""

CONFIG: Final = EncoderConfig(size=Size(depths=(2, 2, 6, 2), dims=(8, 16, 32, 64)))
"""Depth of atto, a fifth of its width: 0.6 MB."""


def untrained_encoder() -> Encoder:
    """Return the encoder with weights drawn by name, the same on every machine."""
    encoder = Encoder(CONFIG)
    for name, weight in encoder.named_parameters():
        rng = np.random.default_rng(zlib.crc32(name.encode()))
        drawn = rng.standard_normal(tuple(weight.shape))
        if weight.ndim > 1:
            drawn /= np.sqrt(weight[0].numel())
        else:
            drawn = drawn / 10 + (1 if name.endswith(".weight") else 0)
        weight.data = torch.from_numpy(drawn.astype(np.float32))
    return encoder.eval()


def write_untrained(out: Path) -> None:
    """Write the encoder to a file."""
    manifest = describe(
        CONFIG,
        name=NAME,
        size_name="custom",
        bands=MMEARTH_BANDS,
        stages=(4,),
        crop_px=112,
        provenance=Provenance(
            trained=False,
            checkpoint="random weights",
            code_version=version("mmearth-infer"),
            statistics=PRETRAINING_SOURCE,
        ),
    )
    write_verified(untrained_encoder(), manifest, out)


if __name__ == "__main__":
    write_untrained(Path(sys.argv[1]))
