"""A data set and a recipe so small that a run takes a second."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from mmearth_training.config import Recipe, changed
from mmearth_training.run import RunConfig
from tests.helpers.mmearth_data import write_dataset

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


@pytest.fixture(scope="session")
def small_data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Fourteen tiles of 64 px in the published layout, values of noise."""
    splits = {"train": [*range(10)], "val": [10, 11, 12], "test": [13]}
    return write_dataset(
        tmp_path_factory.mktemp("data") / "small", tiles=14, tile_px=64, splits=splits
    )


@pytest.fixture
def small_recipe() -> Recipe:
    """All tasks, narrow decoders, four steps of four samples."""
    return changed(
        Recipe(name="small"),
        save_every_epochs=0.5,
        validate_every_epochs=2.0,
        data={"tile_px": 64, "crop_px": 56},
        model={"patch_px": 8, "decoder_width": 16, "decoders": "shared"},
        optim={
            "epochs": 2,
            "warmup_epochs": 1.0,
            "batch": 4,
            "micro_batch": 4,
            "base_lr": 0.05,
        },
    )


@pytest.fixture
def run_config(
    small_data: Path, small_recipe: Recipe, tmp_path: Path
) -> Callable[..., RunConfig]:
    """Return a run of the small recipe, with fields replaced."""

    def make(
        out: str = "run",
        recipe: Recipe | None = None,
        **fields: Any,  # noqa: ANN401
    ) -> RunConfig:
        return RunConfig(
            recipe=recipe or small_recipe,
            data=fields.pop("data", small_data),
            out=tmp_path / out,
            **{"workers": 0, "device": "cpu", "log_every": 1, **fields},
        )

    return make
