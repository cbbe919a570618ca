"""Planted data sets, and an encoder so small that a cell takes a second."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING

import pytest
import torch

from mmearth_infer.contract.bands import MMEARTH_BANDS
from mmearth_infer.contract.normalize import pretraining_statistics
from mmearth_training.model.encoder import Encoder
from tests.helpers.geobench import write_geobench
from tests.helpers.trained import write_trained
from tests.helpers.unets import CONFIG

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(scope="session")
def geobench(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three tasks, one of each kind."""
    root = tmp_path_factory.mktemp("geobench")
    counts = {"train": 48, "valid": 9, "test": 24}
    write_geobench(root, "m-eurosat", counts=counts)
    write_geobench(root, "m-bigearthnet", counts=counts)
    write_geobench(root, "m-cashew-plant", counts={"train": 12, "valid": 4, "test": 6})
    return root


@pytest.fixture(scope="session")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twelve bands, patches of 8 px, initial weights."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        state = Encoder(CONFIG).state_dict()
    return write_trained(
        tmp_path_factory.mktemp("encoder") / "small",
        weights={f"encoder.{name}": weight for name, weight in state.items()},
        encoder={
            **asdict(CONFIG.size),
            "size": "custom",
            "bands": MMEARTH_BANDS,
            "patch_px": CONFIG.patch_px,
            "original_stem": False,
            "grn": "batch",
            "grn_eps": 1e-6,
        },
        statistics={
            level: asdict(numbers)
            for level, numbers in pretraining_statistics(MMEARTH_BANDS).items()
        },
    )
