"""int8: weights a channel, activations a tensor, ranges measured on real scenes."""

from __future__ import annotations

import logging
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
from onnxruntime.quantization import (
    CalibrationDataReader,
    QuantFormat,
    QuantType,
    quantize_static,
)

from mmearth_infer.contract.manifest import MEAN_INPUT, PIXELS_INPUT, STD_INPUT

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from mmearth_export.calibrate import Tile


class _Reader(CalibrationDataReader):  # type: ignore[misc]  # it has no types
    """Feeds tiles to ONNX Runtime's calibration."""

    def __init__(self, tiles: Sequence[Tile]) -> None:
        self._feeds = _feeds(tiles)

    def get_next(self) -> dict[str, Any] | None:
        """Return the inputs of the next tile, None after the last."""
        return next(self._feeds, None)


def quantize(
    graph: onnx.ModelProto, tiles: Sequence[Tile], *, signed: bool = False
) -> onnx.ModelProto:
    """Return a graph whose constant matrix products are in int8.

    Convolutions stay in fp32: in int8 they gain a tenth of the speed, and the first of
    them sees pixels, whose range on a few scenes is not that of all
    (docs/benchmarks/engines.md). Activations are unsigned, which VNNI multiplies with
    signed weights in one step; signed ones ran at four fifths of the speed.

    Args:
        graph: In fp32, with frozen GRN.
        tiles: What activations are measured on.
        signed: Signed and symmetric activations, all that TensorRT knows.

    """
    logger = logging.getLogger()
    level = logger.level
    logger.setLevel(logging.ERROR)  # it recommends a preparation that changes nothing
    try:
        with TemporaryDirectory() as folder:
            before, after = Path(folder) / "fp32.onnx", Path(folder) / "int8.onnx"
            onnx.save(graph, before)
            quantize_static(
                before,
                after,
                _Reader(tiles),
                quant_format=QuantFormat.QDQ,
                op_types_to_quantize=["MatMul"],
                per_channel=True,
                activation_type=QuantType.QInt8 if signed else QuantType.QUInt8,
                weight_type=QuantType.QInt8,
                extra_options={
                    "MatMulConstBOnly": True,
                    "ActivationSymmetric": signed,
                    "WeightSymmetric": True,
                },
            )
            return onnx.load(after)
    finally:
        logger.setLevel(level)


def _feeds(tiles: Sequence[Tile]) -> Iterator[dict[str, Any]]:
    """Yield the inputs of each tile."""
    for tile in tiles:
        yield {
            PIXELS_INPUT: tile.dn_1CHW,
            MEAN_INPUT: np.asarray(tile.numbers.mean, np.float32),
            STD_INPUT: np.asarray(tile.numbers.std, np.float32),
        }
